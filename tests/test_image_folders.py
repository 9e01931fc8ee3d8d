"""Folders of captioned pictures: three layouts, and every mistake with its file and line."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from seqgan_kit.errors import UserError
from seqgan_kit.images.folders import read
from seqgan_kit.images.records import EXAMPLE, Record
from seqgan_kit.tables import Intake

DATA = os.environ.get("SEQGAN_KIT_DATA")
needs_data = pytest.mark.skipif(DATA is None, reason="SEQGAN_KIT_DATA does not name the folder of real data")

Files = Mapping[str, str | bytes]
Tree = Callable[[Files], Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Makes files of a folder: text and bytes as they are; for names of pictures a picture, whatever is given."""

    def make(files: Files) -> Path:
        root = tmp_path / "data"
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix in (".png", ".jpg"):
                Image.new("RGB", (4, 4)).save(path)
            else:
                path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return root

    return make


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def row(name: str, text: object = "a", **more: object) -> dict[str, object]:
    return {"file_name": name, "text": text, **more}


def mistake(call: Callable[[], object]) -> str:
    """The one line that the user is told."""
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# Hugging Face imagefolder


def test_captions_of_an_imagefolder(tree: Tree) -> None:
    """Any script, white space made single, no caption twice for one picture, and lines in their order."""
    rows = [
        row("b.png", " an  owl\t", captions=["a bird", "an owl", " a\u3000bird ", "сова"]),
        row("in/a.png", "梟", captions=None, other=[1]),
    ]
    root = tree({"metadata.jsonl": "\ufeff" + lines(rows[0]) + "\n  \n" + lines(rows[1]), "b.png": "", "in/a.png": ""})
    assert read(root) == [
        Record(root / "b.png", ("an owl", "a bird", "сова"), None, None),
        Record(root / "in/a.png", ("梟",), None, None),
    ]
    assert read(str(root)) == read(root)


def test_the_example_in_the_messages_works(tree: Tree) -> None:
    """Who does what the error message says gets a data set."""
    more = EXAMPLE.replace("0001", "0002")
    root = tree({"metadata.jsonl": f"{EXAMPLE}\n{more}\n", "images/0001.png": "", "images/0002.png": ""})
    assert [record.captions for record in read(root)] == [("a red bird", "a small bird")] * 2
    assert [record.label for record in read(root)] == ["birds", "birds"]


def test_labels(tree: Tree) -> None:
    """`label` goes before `group`, whole numbers become strings, and empty ones are unknown."""
    given: list[dict[str, object]] = [
        {"label": "owl", "group": "bird"},
        {"group": " a  bird"},
        {"label": 3},
        {"label": None, "group": "bird"},
        {"label": " "},
        {},
        {"label": 0},
    ]
    root = tree(
        {f"{i}.png": "" for i in range(len(given))}
        | {"metadata.jsonl": lines(*(row(f"{i}.png", **more) for i, more in enumerate(given)))}
    )
    assert [record.label for record in read(root)] == ["owl", "a bird", "3", "bird", None, None, "0"]


def test_split_folders(tree: Tree) -> None:
    """train/ and test/ each with a list of their own; names count from there."""
    root = tree(
        {
            "test/metadata.jsonl": lines(row("a.png", "tested")),
            "train/metadata.csv": "file_name,text\nx/a.png,trained\n",
            "test/a.png": "",
            "train/x/a.png": "",
        }
    )
    assert read(root) == [
        Record(root / "train/x/a.png", ("trained",), None, "train"),
        Record(root / "test/a.png", ("tested",), None, "test"),
    ]


def test_one_list_for_both_splits(tree: Tree) -> None:
    """Folders called train or test give the split, at any depth; a file called so does not."""
    names = ["train/a.png", "./test/x/a.png", "other/train/a.png", "train.png"]
    root = tree({"metadata.jsonl": lines(*map(row, names))} | dict.fromkeys(names, ""))
    assert [record.split for record in read(root)] == ["train", "test", "train", None]
    (root / "test/x/a.png").unlink()
    (root / "test/x").rmdir()
    (root / "test").rmdir()
    (root / "test").touch()  # a picture without a suffix
    (root / "metadata.jsonl").write_text(lines(*map(row, ["test", "train.png"])))
    assert [record.split for record in read(root)] == [None, None]


def test_csv(tree: Tree) -> None:
    """Quoted fields may hold commas and line ends; more captions are a list in JSON; line numbers stay true."""
    text = 'file_name, text ,captions,label\r\na.png,"one,\r\ntwo","[""x"", ""y""]",c\r\n\r\nb.png,three,,\r\n'
    root = tree({"metadata.csv": text, "a.png": "", "b.png": ""})
    assert [(r.path.name, r.captions, r.label) for r in read(root)] == [
        ("a.png", ("one, two", "x", "y"), "c"),
        ("b.png", ("three",), None),
    ]
    (root / "b.png").unlink()
    assert f"{root / 'metadata.csv'} line 5: b.png is not there" in mistake(lambda: read(root))


GOOD = json.dumps(row("b.png"))
BAD_LINES = {
    '{"file_name": "a.png", text}': "not JSON (Expecting property name enclosed in double quotes at column 24)",
    '["a.png", "a"]': "['a.png', 'a'] is not a JSON object",
    '{"text": "a"}': "no file_name, only text",
    "{}": "no file_name, only an empty object",
    '{"file_name": "a.png"}': "no text, only file_name",
    '{"file_name": "a.png", "text": ""}': "text is empty",
    '{"file_name": "a.png", "text": " \\u3000\\t"}': "text is empty",
    '{"file_name": "a.png", "text": 3}': "text is 3, not a string",
    '{"file_name": "a.png", "text": null}': "text is None, not a string",
    '{"file_name": "a.png", "text": ["a", 3]}': "text[1] is 3, not a string",
    '{"file_name": "a.png", "text": []}': "text is [], not a string",
    '{"file_name": "a.png", "text": "\\ud83d"}': "text has half a surrogate pair",
    '{"file_name": "a.png", "text": "a", "captions": "b"}': "captions is 'b', not a list",
    '{"file_name": "a.png", "text": "a", "captions": ["b", ""]}': "captions[1] is empty",
    '{"file_name": "a.png", "text": "a", "captions": [null]}': "captions[0] is None, not a string",
    '{"file_name": "a.png", "text": "a", "label": ["b"]}': "label is ['b']: give the name of the class",
    '{"file_name": "a.png", "text": "a", "group": true}': "group is True: give the name of the class",
    '{"file_name": "", "text": "a"}': "file_name is empty",
    '{"file_name": 7, "text": "a"}': "file_name is 7, not a string",
    '{"file_name": "a\\u0000.png", "text": "a"}': "file_name has half a surrogate pair (\\ud800 to \\udfff) or NUL",
    '{"file_name": "\\udc80", "text": "a"}': "file_name has half a surrogate pair",
    '{"file_name": "c.png", "text": "a"}': "c.png is not there",
    '{"file_name": "folder", "text": "a"}': "folder is not there",
    '{"file_name": "' + "x" * 5000 + '", "text": "a"}': "is not there",
    '{"file_name": "loop", "text": "a"}': "loop is not there",
    '{"file_name": "../data/a.png", "text": "a"}': "../data/a.png leads out of the folder",
    '{"file_name": "folder/../a.png", "text": "a"}': "folder/../a.png leads out of the folder",
    '{"file_name": "/etc/passwd", "text": "a"}': "/etc/passwd leads out of the folder",
    '{"file_name": "out.png", "text": "a"}': "out.png leads out of the folder",
    '{"file_name": "away/secret.png", "text": "a"}': "away/secret.png leads out of the folder",
    "[" * 100_000: "JSON that cannot be read (",
    '{"file_name": ' + "1" * 5000 + "}": "JSON that cannot be read (Exceeds the limit",
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:60])
def test_a_bad_line(tree: Tree, line: str) -> None:
    """The file, the line and what is wrong there; nothing is read from outside the folder."""
    root = tree({"metadata.jsonl": f"{GOOD}\n\n{line}\n", "a.png": "", "b.png": "", "folder/x": ""})
    secret = root.parent / "secret.png"
    Image.new("RGB", (4, 4)).save(secret)
    (root / "out.png").symlink_to(secret)
    (root / "away").symlink_to(root.parent)
    (root / "loop").symlink_to(root / "loop")
    told = mistake(lambda: read(root))
    assert told.startswith(f"{root / 'metadata.jsonl'} line 3: ")
    assert BAD_LINES[line] in told


def test_an_absolute_name(tree: Tree) -> None:
    """Even one in the folder: it would be wrong on every other machine."""
    root = tree({"a.png": "", "b.png": ""})
    (root / "metadata.jsonl").write_text(lines(row("a.png"), row(str(root / "b.png"))))
    assert f"line 2: {root / 'b.png'} leads out of the folder" in mistake(lambda: read(root))


def test_links_inside_the_folder_are_followed(tree: Tree) -> None:
    """To other pictures of the folder, also where the folder itself is a link."""
    root = tree({"metadata.jsonl": lines(row("a.png"), row("link.png")), "a.png": "", "b.png": ""})
    (root / "link.png").symlink_to("b.png")
    (root.parent / "elsewhere").symlink_to(root)
    assert [r.path.name for r in read(root.parent / "elsewhere")] == ["a.png", "link.png"]


@pytest.mark.parametrize("again", ["a.png", "./a.png", "link.png"])
def test_several_rows_of_a_picture(tree: Tree, again: str) -> None:
    """By whatever name: they are one picture with the captions of all, and that is told; `..` leads out."""
    root = tree({"metadata.jsonl": lines(row("b.png"), row("a.png"), row(again, "b")), "a.png": "", "b.png": ""})
    (root / "link.png").symlink_to("a.png")
    intake = Intake("data")
    assert [record.captions for record in read(root, intake=intake)] == [("a",), ("a", "b")]
    assert intake.lines() == ["data: 3 rows read, 2 used; 1 MERGED (further rows of a picture)"]
    (root / "metadata.jsonl").write_text(lines(row("b.png"), row("a.png", label="x"), row(again, "b", label="y")))
    told = mistake(lambda: read(root))
    assert f"line 3: {Path(again).name} is on {root / 'metadata.jsonl'} line 2 already, where its label is x" in told
    (root / "metadata.jsonl").write_text(lines(row("b.png"), row("a.png"), row("x/../a.png")))
    assert "line 3: x/../a.png leads out" in mistake(lambda: read(root))


def test_a_picture_in_both_splits(tree: Tree) -> None:
    """A link from test/ to train/ would test on what was trained on."""
    root = tree(
        {"train/metadata.jsonl": lines(row("a.png")), "test/metadata.jsonl": lines(row("a.png")), "train/a.png": ""}
    )
    (root / "test/a.png").symlink_to("../train/a.png")
    assert mistake(lambda: read(root)).startswith(
        f"{root / 'test/metadata.jsonl'} line 1: a.png is on {root / 'train/metadata.jsonl'} line 1 already"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("metadata.jsonl", "metadata.csv"),
        ("metadata.jsonl", "test/metadata.jsonl"),
        ("metadata.csv", "train/metadata.csv"),
        ("train/metadata.jsonl", "train/metadata.csv"),
        ("test/metadata.jsonl", "test/metadata.csv"),
    ],
)
def test_two_lists_of_the_same_pictures(tree: Tree, first: str, second: str) -> None:
    """It is not guessed which one counts."""
    root = tree({first: lines(row("a.png")), second: lines(row("a.png")), "a.png": "", "train/a.png": ""})
    assert mistake(lambda: read(root)) == f"{root} has both {first} and {second}: remove one"


def test_a_file_that_is_not_utf8(tree: Tree) -> None:
    """The line of the first wrong byte is told."""
    content = lines(row("a.png")).encode() + lines(row("b.png", "café")).encode("latin-1")
    root = tree({"metadata.jsonl": content, "a.png": "", "b.png": ""})
    assert f"{root / 'metadata.jsonl'} line 2: not UTF-8 (byte 0xe9" in mistake(lambda: read(root))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file_name,text\na.png\n", "line 2: 1 fields under a header of 2"),
        ('file_name,text\na.png,"x\n', "line 2: a quote opens in this row and never closes"),
        ("file_name,text\na.png,\n", "line 2: text is empty"),
        ("name,text\na.png,x\n", "line 2: no file_name, only name, text"),
        ('file_name,text,captions\na.png,x,"a, b"\n', "line 2: not JSON (Expecting value at column 1)"),
        ("file_name,text\n", "has no pictures"),
        ("", "has no pictures"),
    ],
)
def test_a_bad_csv(tree: Tree, text: str, message: str) -> None:
    """What is wrong, and on which line."""
    root = tree({"metadata.csv": text, "a.png": ""})
    told = mistake(lambda: read(root))
    assert told.startswith(str(root / "metadata.csv"))
    assert message in told


def test_too_few_pictures(tree: Tree) -> None:
    """One picture is no data set."""
    root = tree({"metadata.jsonl": lines(row("a.png")), "a.png": ""})
    assert mistake(lambda: read(root)) == f"{root} has 1 captioned pictures: give 2 or more"


def test_no_such_layout(tree: Tree, tmp_path: Path) -> None:
    """Which layouts are known, what was looked for, and the least that is needed."""
    root = tree({"a.png": "", "classes/b.png": "", "CUB_200_2011/images.txt": "1 a/b.jpg\n"})
    told = mistake(lambda: read(root))
    assert "imagefolder of Hugging Face, nor CUB-200-2011 or Oxford-102 with the captions of Reed et al." in told
    assert "metadata.jsonl or metadata.csv (not there), images.txt (there), jpg/ (not there), text_c10/ (not" in told
    assert told.endswith(EXAMPLE)
    assert f"{root / 'none'} does not exist: give the folder" in mistake(lambda: read(root / "none"))
    assert f"{root / 'a.png'} is a file: give the folder" in mistake(lambda: read(root / "a.png"))
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} is empty: put the pictures there" in mistake(lambda: read(tmp_path / "empty"))


def test_a_folder_that_may_not_be_read(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other refusal of the system is told with its file too. (Run as root, permissions would refuse nothing.)"""
    root = tree({"metadata.jsonl": lines(row("a.png"))})

    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    assert mistake(lambda: read(root)) == f"{root} cannot be read (Permission denied): check its permissions"


# CUB-200-2011

ONE, TWO, THREE = "001.Black_footed_Albatross/B_0046.jpg", "001.Black_footed_Albatross/B_0002.jpg", "002.Wren/W_1.jpg"
BIRDS: dict[str, str | bytes] = {
    "CUB_200_2011/images.txt": f"1 {ONE}\n2 {TWO}\n3 {THREE}\n",
    "CUB_200_2011/image_class_labels.txt": "1 1\n2 1\n3 2\n",
    "CUB_200_2011/classes.txt": "1 001.Black_footed_Albatross\n2 002.Wren\n",
    "CUB_200_2011/train_test_split.txt": "1 0\n2 1\n3 1\n",
    "CUB_200_2011/bounding_boxes.txt": "1 60.0 27.0 325.0 304.0\n2 139.0 30.0 153.0 264.0\n3 1.5 2.0 3.0 4.0\n",
    **{f"CUB_200_2011/images/{name}": "" for name in (ONE, TWO, THREE)},
}
BIRD_TEXTS: dict[str, str | bytes] = {
    f"text_c10/{name.replace('.jpg', '.txt')}": f"bird {i}\n a \ufffd\ufffd bird\n\nbird {i} \n"
    for i, name in enumerate((ONE, TWO, THREE))
}


def under(folder: str, files: Files) -> dict[str, str | bytes]:
    return {folder + name: content for name, content in files.items()}


@pytest.mark.parametrize("place", ["", "cvpr2016_cub/", "CUB_200_2011/"])
def test_birds(tree: Tree, place: str) -> None:
    """Pictures, captions wherever Reed's folder is, classes, boxes and CUB's own split."""
    root = tree(BIRDS | under(place, BIRD_TEXTS))
    images, albatross = root / "CUB_200_2011/images", "001.Black_footed_Albatross"
    assert read(root) == [
        Record(images / ONE, ("bird 0", "a bird"), albatross, "test", (60.0, 27.0, 325.0, 304.0)),
        Record(images / TWO, ("bird 1", "a bird"), albatross, "train", (139.0, 30.0, 153.0, 264.0)),
        Record(images / THREE, ("bird 2", "a bird"), "002.Wren", "train", (1.5, 2.0, 3.0, 4.0)),
    ]


def test_birds_in_the_folder_itself(tree: Tree) -> None:
    """CUB_200_2011 can be given, too, if the captions are in it; without its split and boxes they are unknown."""
    root = tree(BIRDS | under("CUB_200_2011/", BIRD_TEXTS)) / "CUB_200_2011"
    (root / "bounding_boxes.txt").unlink()
    (root / "train_test_split.txt").unlink()
    assert [(r.path, r.split, r.box) for r in read(root)] == [
        (root / "images" / name, None, None) for name in (ONE, TWO, THREE)
    ]


@pytest.mark.parametrize("place", ["cvpr2016_cub/", "cvpr2016_cub/text_c10/", ""])
def test_birds_with_classes_apart(tree: Tree, place: str) -> None:
    """Reed's lists of classes go before CUB's split, under which classes are on both sides."""
    apart = {"trainvalclasses.txt": "002.Wren\n", "testclasses.txt": "\n001.Black_footed_Albatross \n"}
    root = tree(BIRDS | under("cvpr2016_cub/", BIRD_TEXTS) | under(place, dict(apart)))
    assert [record.split for record in read(root)] == ["test", "test", "train"]


CUB = "CUB_200_2011/"
LEFT_OUT = f"text_c10/{TWO.replace('.jpg', '.txt')}"
BAD_BIRDS: dict[str, tuple[str, str | bytes | None, str]] = {
    "no picture": (CUB + "images/" + TWO, None, f"images.txt line 2: {TWO} is not there"),
    "no captions": (LEFT_OUT, None, f"images.txt line 2: its captions, ROOT/{LEFT_OUT}, are not there"),
    "blank captions": (LEFT_OUT, " \n\ufffd\n", f"{LEFT_OUT} has no captions"),
    "empty captions": (LEFT_OUT, "", f"{LEFT_OUT} has no captions"),
    "latin-1 captions": (LEFT_OUT, "a\ncafé".encode("latin-1"), f"{LEFT_OUT} line 2: not UTF-8"),
    "no box": (
        CUB + "bounding_boxes.txt",
        "1 1 1 1 1\n",
        "images.txt line 2: picture 2 is missing from bounding_boxes",
    ),
    "short box": (CUB + "bounding_boxes.txt", "1 1 1 1\n", "bounding_boxes.txt line 1: '1 1 1' is no box"),
    "endless box": (CUB + "bounding_boxes.txt", "1 1 nan 1 1\n", "line 1: the box '1 nan 1 1' is empty or endless"),
    "empty box": (CUB + "bounding_boxes.txt", "1 1 1 0 1\n", "line 1: the box '1 1 0 1' is empty or endless"),
    "no half": (CUB + "train_test_split.txt", "1 0\n2 1\n", "images.txt line 3: picture 3 is missing from train_test"),
    "bad half": (CUB + "train_test_split.txt", "1 0\n2 yes\n3 1", "train_test_split.txt line 2: 'yes' says nothing"),
    "twice": (CUB + "images.txt", f"1 {ONE}\n2 {ONE}\n", "line 2: B_0046.jpg is on ROOT/"),
    "same number": (
        CUB + "images.txt",
        f"1 {ONE}\n1 {TWO}\n",
        "images.txt line 2: picture 1 is on ROOT/",
    ),
    "no name": (CUB + "images.txt", f"1 {ONE}\n\n2\n", "images.txt line 3: '2' has no value"),
    "climbs": (CUB + "images.txt", "1 ../../../x/y.jpg\n", "images.txt line 1: ../../../x/y.jpg leads out"),
    "no pictures": (CUB + "images.txt", "\n", "has 0 captioned pictures"),
    "one list of classes": ("testclasses.txt", "002.Wren\n", "ROOT/trainvalclasses.txt is not there, though"),
    "second captions": ("x/text_c10/a.txt", "", "has several picture sets (ROOT/text_c10 and ROOT/x/text_c10)"),
    "second birds": ("x/images.txt", "", "has several picture sets (ROOT/CUB_200_2011 and ROOT/x)"),
}


@pytest.mark.parametrize("case", BAD_BIRDS)
def test_bad_birds(tree: Tree, case: str) -> None:
    """Every list is checked, with its line."""
    name, content, message = BAD_BIRDS[case]
    files = BIRDS | BIRD_TEXTS
    if content is None:
        files.pop(name)
    else:
        files[name] = content
    root = tree(files)
    assert message.replace("ROOT", str(root)) in mistake(lambda: read(root))


@pytest.mark.parametrize(
    ("trained", "tested", "message"),
    [
        ("001.Black_footed_Albatross", "003.X", "images.txt line 3: its class 002.Wren is in neither"),
        ("002.Wren", "001.Black_footed_Albatross\n002.Wren", "testclasses.txt line 2: the class 002.Wren is in trainv"),
    ],
)
def test_bad_lists_of_classes(tree: Tree, trained: str, tested: str, message: str) -> None:
    """Every class is on one side, none on both."""
    root = tree(BIRDS | BIRD_TEXTS | {"trainvalclasses.txt": trained, "testclasses.txt": tested})
    assert message in mistake(lambda: read(root))


def test_captions_outside_the_folder(tree: Tree) -> None:
    """Links are no way out for captions either."""
    root = tree(BIRDS | BIRD_TEXTS)
    secret = root.parent / "secret.txt"
    secret.write_text("secret")
    (root / LEFT_OUT).unlink()
    (root / LEFT_OUT).symlink_to(secret)
    assert f"{root / LEFT_OUT} is a link that leaves {root}" in mistake(lambda: read(root))


# Oxford-102

FLOWERS: dict[str, str | bytes] = {
    "imagelabels.mat": b"MATLAB 5.0",
    "setid.mat": b"MATLAB 5.0",
    "jpg/image_00001.jpg": "",
    "jpg/image_00002.jpg": "",
    "jpg/image_06734.jpg": "",
    "text_c10/class_00077/image_00001.txt": "purple petals\nlong stem\npurple  petals\n",
    "text_c10/class_00077/image_00002.txt": "white\n",
    "text_c10/class_00001/image_06734.txt": "pink\n",
    "text_c10/class_00001.t7": b"\0",
}


@pytest.mark.parametrize(("place", "texts"), [("", ""), ("102flowers/", "cvpr2016_flowers/")])
def test_flowers(tree: Tree, place: str, texts: str) -> None:
    """Classes are those of the captions' folders; without lists of classes the split is unknown."""
    files = {(texts if name.startswith("text") else place) + name: content for name, content in FLOWERS.items()}
    root = tree(files)
    pictures = root / place / "jpg"
    assert read(root) == [
        Record(pictures / "image_06734.jpg", ("pink",), "class_00001", None),
        Record(pictures / "image_00001.jpg", ("purple petals", "long stem"), "class_00077", None),
        Record(pictures / "image_00002.jpg", ("white",), "class_00077", None),
    ]


def test_flowers_with_classes_apart(tree: Tree) -> None:
    """The split of Reed et al."""
    root = tree(FLOWERS | {"trainvalclasses.txt": "class_00077\n", "testclasses.txt": "class_00001\n"})
    assert [record.split for record in read(root)] == ["test", "train", "train"]
    (root / "testclasses.txt").write_text("class_00002\n")
    told = mistake(lambda: read(root))
    assert told.startswith(f"{root / 'text_c10/class_00001/image_06734.txt'}: its class class_00001 is in neither")


def test_bad_flowers(tree: Tree) -> None:
    """Captions without a picture, with one outside the folder, or twice for one."""
    root = tree(FLOWERS)
    text, picture = root / "text_c10/class_00077/image_00002.txt", root / "jpg/image_00002.jpg"
    picture.rename(root.parent / "x.jpg")
    assert f"{text} is for {picture}, which is not there" in mistake(lambda: read(root))
    picture.symlink_to(root.parent / "x.jpg")
    assert f"{text} is for {picture}, a link that leaves {root}" in mistake(lambda: read(root))
    again = root / "text_c10/class_00078/image_00001.txt"
    picture.unlink()
    Image.new("RGB", (4, 4)).save(picture)
    again.parent.mkdir()
    again.write_text("x")
    first = root / "text_c10/class_00077/image_00001.txt"
    assert f"{again} has captions for image_00001.jpg, and so has {first}" in mistake(lambda: read(root))


# Real data


@needs_data
def test_emoji() -> None:
    """Against the list as `json` reads it: 2,009 pictures, each with its text first and all its other captions."""
    root = Path(DATA or "", "emoji")
    if not root.is_dir():
        pytest.skip(f"SEQGAN_KIT_DATA has no emoji: {root} is missing")
    raw = [json.loads(line) for line in (root / "metadata.jsonl").read_text("utf-8").splitlines()]
    records = read(root)
    assert len(records) == len(raw) == 2009
    for record, wanted in zip(records, raw, strict=True):
        assert record.path.samefile(root / wanted["file_name"])
        assert record.captions[0] == wanted["text"]
        assert set(record.captions) == {wanted["text"], *wanted["captions"]}
        assert len(set(record.captions)) == len(record.captions)
        assert record.label == (wanted["group"] or None)
    assert {record.split for record in records} == {None}
