"""Folders of pictures as people and other tools have them: each row and picture is used, or told."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import runs
from seqgan_kit.cli import main
from seqgan_kit.cli.parsing import parse
from seqgan_kit.errors import UserError
from seqgan_kit.images import folders
from seqgan_kit.images.records import Record
from seqgan_kit.images.sources import DataConfig, Source, load
from seqgan_kit.tables import Intake

SIDE = 16
SMALL = "--second.side 0 --style.steps 0 --joint.steps 0 --discriminator.matching 0"


def paint(path: Path, shade: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIDE, SIDE), (shade % 256, shade // 256, 100)).save(path)
    return path


def content(path: Path, shade: int) -> bytes:
    return paint(path, shade).read_bytes()


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def read(root: Path, **options: Any) -> tuple[list[Record], Intake]:
    intake = Intake(str(root))
    found = folders.read(root, intake=intake, **options)
    assert intake.balanced
    return found, intake


def loaded(root: Path, **options: Any) -> Source:
    return load(DataConfig(path=str(root), side=SIDE, **options), SIDE, 0)


def mistake(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


# Lists of captions


def coco(root: Path, part: str, count: int, first: int = 0) -> Path:
    """Pictures in PART2017/, two captions each, in annotations/captions_PART2017.json."""
    ids = range(first, first + count)
    for i in ids:
        paint(root / f"{part}2017" / f"{i:012d}.jpg", i)
    images = [{"id": i, "file_name": f"{i:012d}.jpg", "width": SIDE} for i in ids]
    captions = [{"id": 9, "image_id": i, "caption": f"{word} picture {i}\n"} for i in ids for word in ("a", "one")]
    path = root / "annotations" / f"captions_{part}2017.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"info": {}, "images": images, "annotations": captions}))
    return path


def test_coco_s_captions(tmp_path: Path) -> None:
    """Each annotation is a row; the lists' names are the splits; other lists of COCO are none."""
    coco(tmp_path, "train", 5)
    path = coco(tmp_path, "val", 3, first=5)
    (tmp_path / "annotations" / "instances_val2017.json").write_text('{"images": [], "annotations": []}')
    paint(tmp_path / "val2017" / "more.jpg", 99)
    found, intake = read(tmp_path)
    assert [(one.path.name, one.captions, one.split) for one in found][4:6] == [
        ("000000000004.jpg", ("a picture 4", "one picture 4"), "train"),
        ("000000000005.jpg", ("a picture 5", "one picture 5"), "validation"),
    ]
    assert (intake.read, intake.used, intake.merged.total(), intake.dropped.total()) == (17, 8, 8, 1)
    found, intake = read(path)
    assert [one.path.name for one in found] == [f"{i:012d}.jpg" for i in (5, 6, 7)]
    broken = json.loads(path.read_text())
    broken["annotations"][1]["image_id"] = 77
    broken["annotations"][3] = "a caption"
    path.write_text(json.dumps(broken))
    told = mistake(lambda: read(path))
    assert "annotation 2: no picture in `images` has its image_id" in told
    assert "2 of 12 rows can't be used" in told
    assert read(path, drop=True)[1].used == 3


def test_flickr8k_s_captions(tmp_path: Path) -> None:
    """NAME.jpg#0, a tab and a caption a line; the lists of names are the splits, lemmas are left aside."""
    for i in range(6):
        paint(tmp_path / "Flicker8k_Dataset" / f"{i}_a.jpg", i)
    lines = "".join(f"{i}_a.jpg#{n}\tA dog , number {n} of {i} .\n" for i in range(6) for n in range(2))
    (tmp_path / "Flickr8k.token.txt").write_text(lines)
    (tmp_path / "Flickr8k.lemma.token.txt").write_text(lines)
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("0_a.jpg\n1_a.jpg\n2_a.jpg\n3_a.jpg\n")
    (tmp_path / "Flickr_8k.testImages.txt").write_text("4_a.jpg\n5_a.jpg\n")
    for root in (tmp_path, tmp_path / "Flickr8k.token.txt"):
        found, intake = read(root)
        assert found[5].captions == ("A dog , number 0 of 5 .", "A dog , number 1 of 5 .")
        assert [one.split for one in found] == ["train"] * 4 + ["test"] * 2
        assert (intake.read, intake.used, intake.merged.total()) == (12, 6, 6)
    (tmp_path / "Flickr8k.token.txt").write_text(f"{lines}no caption\n8_a.jpg#0\tlost\n")
    told = mistake(lambda: read(tmp_path))
    assert "Flickr8k.token.txt line 13: 'no caption' has no caption" in told
    assert "2 of 14 rows can't be used" in told
    outside = tmp_path.with_name(f"{tmp_path.name}_outside.txt")
    outside.write_text("0_a.jpg\n")
    (tmp_path / "Flickr_8k.devImages.txt").symlink_to(outside)
    assert "is a link that leaves" in mistake(lambda: read(tmp_path))


# Splits


def split_folder(root: Path, names: dict[str, int], **more: Any) -> Path:
    """One metadata.jsonl over folders with so many pictures each."""
    rows = [f"{folder}/{i}.png" for folder, count in names.items() for i in range(count)]
    for shade, name in enumerate(rows):
        paint(root / name, shade)
    lines = [json.dumps({"file_name": name, "text": f"a picture {i}", **more}) for i, name in enumerate(rows)]
    (root / "metadata.jsonl").write_text("\n".join(lines))
    return root


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev", "Val"])
def test_a_validation_is_held_out_where_no_test_is(tmp_path: Path, name: str) -> None:
    """By whatever name; with a test, it is left out, and that is told."""
    source = loaded(split_folder(tmp_path / "a", {"train": 12, name: 8}))
    assert (len(source.train), len(source.held_out)) == (12, 8)
    assert "splits: 12 train, 8 validation" in source.told
    source = loaded(split_folder(tmp_path / "b", {"train": 12, "test": 4, name: 8}))
    assert (len(source.train), len(source.held_out)) == (12, 4)
    assert source.told[0].endswith("24 pictures read, 16 used; 8 DROPPED (of the validation, since there is a test)")


def test_splits_at_any_depth_and_pictures_of_none(tmp_path: Path) -> None:
    """The folder nearest to the root counts; what is in no split is trained on, and told, not lost."""
    source = loaded(split_folder(tmp_path, {"images/train/test": 5, "images/test/birds": 3, "images/more": 2}))
    assert (len(source.train), len(source.held_out)) == (7, 3)
    assert "2 pictures have no split: they are trained on" in source.told


def test_only_training_pictures_are_split_by_share(tmp_path: Path) -> None:
    """As if there were no folder train/; it is told that the share is held out."""
    source = loaded(split_folder(tmp_path, {"train": 20}))
    assert (len(source.train), len(source.held_out)) == (18, 2)
    assert any(line.startswith("held out: 2 of 20 pictures at random") for line in source.told)


def test_a_column_of_splits(tmp_path: Path) -> None:
    """It wins over folders; a name that is none is refused with those that are, or left out with a count."""
    rows = [
        {"file_name": f"{i}.png", "text": f"picture {i}", "split": "dev" if i % 4 == 0 else "train"} for i in range(8)
    ]
    for i in range(8):
        paint(tmp_path / f"{i}.png", i)
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = loaded(tmp_path)
    assert (len(source.train), len(source.held_out)) == (6, 2)
    rows[3]["split"] = "holdout"
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    told = mistake(lambda: loaded(tmp_path))
    assert "metadata.jsonl line 4: split is 'holdout': give one of train, " in told
    assert "--data.bad_rows drop" in told
    source = loaded(tmp_path, bad_rows="drop")
    assert len(source.train) == 5
    assert "8 pictures read, 7 used; 1 DROPPED (bad, --data.bad_rows drop)" in source.told[0]


def test_pictures_without_a_row_are_counted(tmp_path: Path) -> None:
    """In the first line."""
    root = split_folder(tmp_path, {"train": 4, "test": 2})
    paint(root / "train" / "extra.png", 99)
    assert f"7 pictures read, 6 used; 1 DROPPED ({folders.UNLISTED})" in loaded(root).told[0]


# Formats of neighbours


def test_metadata_in_parquet(tmp_path: Path) -> None:
    """As in JSON lines."""
    rows = [{"file_name": f"{i}.png", "text": f"picture {i}", "captions": ["a", f"b{i}"]} for i in range(3)]
    for i in range(3):
        paint(tmp_path / f"{i}.png", i)
    parquet(tmp_path / "metadata.parquet", rows)
    found, _ = read(tmp_path)
    assert [record.captions for record in found] == [(f"picture {i}", "a", f"b{i}") for i in range(3)]


@pytest.mark.parametrize("layout", ["file", "shards", "saved"])
def test_a_table_that_holds_its_pictures(tmp_path: Path, layout: str) -> None:
    """{image: {bytes, path}, text}: one parquet, shards with splits in their names, and `save_to_disk` with splits."""
    rows = [
        {"image": {"bytes": content(tmp_path / "x.png", i), "path": None}, "text": f"picture {i}"} for i in range(6)
    ]
    root = tmp_path / "data"
    if layout == "file":
        parquet(root / "birds.parquet", rows)
        source = loaded(root / "birds.parquet", held_out=0.34)
    elif layout == "shards":
        parquet(root / "data" / "train-00000-of-00001.parquet", rows[:4])
        parquet(root / "data" / "validation-00000-of-00001.parquet", rows[4:])
        source = loaded(root)
    else:
        datasets = pytest.importorskip("datasets")
        features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
        parts = {
            name: datasets.Dataset.from_list(some, features=features)
            for name, some in (("train", rows[:4]), ("test", rows[4:]))
        }
        datasets.DatasetDict(parts).save_to_disk(root)
        source = loaded(root)
    assert (len(source.train), len(source.held_out)) == (4, 2)
    for part in (source.train, source.held_out):
        for i, pixels in enumerate(part.pixels):
            shade = int(pixels[0, 0, 0])
            assert part.captions[part.caption_ids[part.first[i]]] == f"picture {shade}", "the picture has its caption"


def test_which_column_holds_the_captions(tmp_path: Path) -> None:
    """The only one that is called so, and that is told; of two, none is guessed, and the option that is named works."""
    rows = [
        {
            "image": {"bytes": content(tmp_path / "x.png", i), "path": None},
            "caption": f"a {i}",
            "more": {"alt": f"b {i}"},
        }
        for i in range(3)
    ]
    parquet(tmp_path / "one.parquet", rows)
    found, intake = read(tmp_path / "one.parquet")
    assert [record.captions for record in found] == [("a 0",), ("a 1",), ("a 2",)]
    assert f"captions are the column 'caption' of {tmp_path / 'one.parquet'}" in intake.notes
    parquet(tmp_path / "two.parquet", [row | {"prompt": ["c", f"d {i}"]} for i, row in enumerate(rows)])
    told = mistake(lambda: read(tmp_path / "two.parquet"))
    assert "several columns that may hold captions ('caption', 'prompt')" in told
    assert "--data.column" in told
    found, _ = read(tmp_path / "two.parquet", column="prompt")
    assert [record.captions for record in found] == [("c", "d 0"), ("c", "d 1"), ("c", "d 2")]
    found, _ = read(tmp_path / "two.parquet", column="more.alt")
    assert found[1].captions == ("b 1",)


def test_options_that_say_nothing_of_a_layout_are_refused(tmp_path: Path) -> None:
    """A column where there is no table, names where there is nothing but one."""
    for i in range(3):
        paint(tmp_path / f"bird {'x' * i}.png", i)
    assert f"--data.column caption: {tmp_path} has no metadata.jsonl" in mistake(
        lambda: read(tmp_path, column="caption", captions_from="names")
    )
    (tmp_path / "list.csv").write_text("file_name,text\n")
    told = mistake(lambda: read(tmp_path / "list.csv", captions_from="names"))
    assert "--data.captions_from names" in told
    assert "is a table: leave it out, or give the folder" in told
    assert len(read(tmp_path, captions_from="names")[0]) == 3


def test_csv_with_several_rows_a_picture(tmp_path: Path) -> None:
    """Each row a caption, as Flickr's sets have it: one picture, and the rows are told."""
    for i in range(3):
        paint(tmp_path / "Images" / f"{i}.png", i)
    lines = ["image,caption", *(f'Images/{i}.png,"{word}, number {i}"' for i in range(3) for word in ("one", "other"))]
    (tmp_path / "captions.csv").write_text("\n".join(lines))
    told = mistake(lambda: read(tmp_path))
    assert f"give --data.path {tmp_path / 'captions.csv'} if that names the pictures" in told
    found, intake = read(tmp_path / "captions.csv")
    assert [record.captions for record in found] == [(f"one, number {i}", f"other, number {i}") for i in range(3)]
    assert "6 rows read, 3 used; 3 MERGED (further rows of a picture)" in intake.lines()[0]


def test_texts_beside_pictures(tmp_path: Path) -> None:
    """NAME.txt beside NAME.png, a caption a line; what has no partner, on either side, is told."""
    for i in range(4):
        paint(tmp_path / f"{i}.png", i)
        (tmp_path / f"{i}.txt").write_text(f"picture {i}\r\n\n  another   one\n")
    (tmp_path / "3.txt").rename(tmp_path / "stray.txt")
    others = [".a", ".b", ".c", ".d", ".e", ".pdf"]
    for suffix in others:
        (tmp_path / f"notes{suffix}").touch()
    found, intake = read(tmp_path)
    assert [record.captions for record in found] == [(f"picture {i}", "another one") for i in range(3)]
    assert "4 pictures read, 3 used; 1 DROPPED (no text of that name beside them)" in intake.lines()[0]
    assert f"texts without a picture beside them: 1, the first is {tmp_path / 'stray.txt'}" in intake.notes
    assert f"files that were not read: {', '.join(f'1 {suffix}' for suffix in others)}" in intake.notes


NAMES = {
    "vertical stripes blue white": "vertical stripes blue white",
    "a_red-brown_bird": "a red-brown bird",
    "a-red-bird": "a red bird",
    "0017_a red bird (2)": "a red bird",
    "00001-3-two blue circles_004": "two blue circles",
    "Ж сова": "Ж сова",
    "7 dwarfs": "dwarfs",
    "0001": None,
    "(3)": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_captions_in_names(name: str) -> None:
    """Signs between words are blanks; counters at the ends are left out; a number alone is no caption."""
    assert (folders._named(name)[0] or None) == NAMES[name]


def test_names_and_classes_are_asked_for(tmp_path: Path) -> None:
    """Without a list it is not guessed what the captions are: both ways are shown, and work when they are followed."""
    for i, name in enumerate(["a red bird_1", "a red bird_2", "a blue bird", "0004"]):
        paint(tmp_path / ("train" if i else "test") / "001.Tree_sparrow" / f"{name}.png", i)
    told = mistake(lambda: read(tmp_path))
    assert "--data.captions_from names if the files are named after what they show, as 'a red bird'" in told
    assert "--data.captions_from classes if their folders are, as 'Tree sparrow'" in told
    found, intake = read(tmp_path, captions_from="classes")
    assert {(record.captions, record.label) for record in found} == {(("Tree sparrow",), "Tree sparrow")}
    assert sorted(str(record.split) for record in found) == ["test", "train", "train", "train"]
    told = mistake(lambda: read(tmp_path, captions_from="names"))
    assert "0004.png has no caption (the name is a number)" in told
    assert "--data.bad_rows drop" in told
    found, intake = read(tmp_path, captions_from="names", drop=True)
    assert sorted(record.captions for record in found) == [("a blue bird",), ("a red bird",), ("a red bird",)]
    assert "4 pictures read, 3 used; 1 DROPPED" in intake.lines()[0]
    assert "2 REPAIRED (numbers of names left out of captions)" in intake.lines()[0]
    (tmp_path / "x.png").parent.mkdir(exist_ok=True)
    paint(tmp_path / "x.png", 5)
    assert "x.png has no caption (in no folder of a class)" in mistake(lambda: read(tmp_path, captions_from="classes"))


def test_links_into_the_blobs_of_the_cache(tmp_path: Path) -> None:
    """A snapshot of Hugging Face's cache is links to ../../blobs; links to or from elsewhere lead out."""
    repository = tmp_path / "datasets--me--birds"
    root, blobs = repository / "snapshots" / "0123abc", repository / "blobs"
    (root / "train").mkdir(parents=True)
    for i in range(4):
        paint(blobs / f"{i}.png", i).rename(blobs / f"{i}{'f' * 40}")
        (root / "train" / f"{i}.png").symlink_to(f"../../../blobs/{i}{'f' * 40}")
    (blobs / "list").write_text("".join(f'{{"file_name": "train/{i}.png", "text": "a {i}"}}\n' for i in range(4)))
    (root / "metadata.jsonl").symlink_to("../../blobs/list")
    found, _ = read(root)
    assert [record.split for record in found] == ["train"] * 4
    assert loaded(root).train.pixels[:, 2].eq(100).all(), "the blobs are what is decoded"
    secret = paint(tmp_path / "secret.png", 9)
    (root / "train" / "2.png").unlink()
    (root / "train" / "2.png").symlink_to(secret)
    assert "line 3: train/2.png leads out of the folder" in mistake(lambda: read(root))
    (root / "train" / "2.png").unlink()
    (root / "train" / "2.png").symlink_to(paint(repository / "other.png", 9))
    assert "line 3: train/2.png leads out of the folder" in mistake(lambda: read(root)), (
        "of the repository, but no blob"
    )
    plain = tmp_path / "plain"
    shutil.move(repository, plain)
    assert "leads out of the folder" in mistake(lambda: read(plain / "snapshots" / "0123abc"))


# Odd pictures


def test_one_odd_picture_does_not_refuse_a_folder(tmp_path: Path) -> None:
    """Refused, with an option that works: the others are used, and what was seen of them is told."""
    root = split_folder(tmp_path, {"train": 6, "test": 3})
    (root / "train" / "1.png").write_bytes((root / "train" / "1.png").read_bytes()[:60])
    (root / "test" / "2.png").write_bytes(b"no picture")
    told = mistake(lambda: loaded(root))
    assert f"{root / 'train' / '1.png'} can't be decoded" in told
    assert "--data.bad_rows drop" in told
    source = loaded(root, bad_rows="drop")
    assert (len(source.train), len(source.held_out)) == (5, 2)
    assert "9 pictures read, 7 used; 2 DROPPED (bad, --data.bad_rows drop)" in source.told[0]
    assert source.train.captions[1] == "a picture 2", "captions stay with their pictures"
    assert int(source.train.pixels[1, 0, 0, 0]) == 2


def test_what_was_seen_of_pictures_is_told(tmp_path: Path) -> None:
    """Enlarged, cut, grey, transparent, animated, turned and CMYK ones, also from the cache."""
    root = tmp_path / "data"
    split_folder(root, {"train": 9, "test": 2})
    folder = root / "train"
    Image.new("RGB", (8, 8)).save(folder / "0.png")
    Image.new("RGB", (40, 20)).save(folder / "1.png")
    Image.new("L", (20, 20)).save(folder / "2.png")
    Image.new("RGBA", (20, 20), (0, 0, 0, 9)).save(folder / "3.png")
    Image.new("RGBA", (20, 20), (0, 0, 0, 255)).save(folder / "4.png")
    Image.new("RGB", (20, 20)).save(folder / "5.gif", save_all=True, append_images=[Image.new("RGB", (20, 20), "red")])
    (folder / "5.gif").rename(folder / "5.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 20)).save(folder / "6.jpg", exif=exif)
    (folder / "6.jpg").rename(folder / "6.png")
    Image.new("CMYK", (20, 20)).save(folder / "7.jpg")
    (folder / "7.jpg").rename(folder / "7.png")
    wanted = (
        "pictures: 1 CMYK: made RGB, 1 animated: first frame, 1 cut to a square, 1 enlarged, 1 grey, "
        "1 transparent: put on white, 1 turned by EXIF"
    )
    for _ in range(2):
        assert wanted in loaded(root, cache=str(tmp_path / "cache")).told


def test_copies_across_the_split_are_told(tmp_path: Path) -> None:
    """Pictures of the test that are trained on, copies in training, and captions in both."""
    root = split_folder(tmp_path, {"train": 6, "test": 3})
    for name in ("test/0.png", "test/1.png", "train/3.png"):
        shutil.copy(root / "train" / "0.png", root / name)
    told = loaded(root).told
    assert "2 of 3 held-out pictures are in training, too, pixel by pixel" in told
    assert "1 of 6 pictures of training repeat another one, pixel by pixel" in told
    lines = (root / "metadata.jsonl").read_text().replace("picture 7", "picture 1")
    (root / "metadata.jsonl").write_text(lines)
    assert "1 of 3 held-out captions are in training, too" in loaded(root).told


@pytest.mark.parametrize("kind", ["files", "table"])
def test_copies_are_on_one_side(tmp_path: Path, kind: str) -> None:
    """Whatever their captions, and with them what has the caption of one. Old runs divide as they did."""
    for i in range(24):
        paint(tmp_path / f"{i}.png", i // 3)  # each three times
    rows = [{"file_name": f"{i}.png", "text": f"a {i} b"} for i in range(24)]
    rows[23]["text"] = rows[0]["text"]
    root = tmp_path
    if kind == "files":
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        root = tmp_path / "a.parquet"  # its rows are of files beside it
        parquet(root, rows)
    for share in (0.1, 0.4):
        found = loaded(root, held_out=share)
        assert "24 files are copies of 8: those of one are on one side" in found.told
        assert not any("in training, too" in line for line in found.told)
        sides = [{int(caption.split()[1]) // 3 for caption in part.captions} for part in (found.train, found.held_out)]
        assert not sides[0] & sides[1]
        assert (7 in sides[0]) == (0 in sides[0])
    assert any("held-out pictures are in training, too" in line for line in loaded(root, reading=1).told)


def test_an_old_run_of_pictures_goes_on_with_its_division(tmp_path: Path) -> None:
    """The config.yaml of an earlier version does not say how it reads."""
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "config.yaml").write_text("data: {side: 16}\n")
    assert parse(["--config", str(tmp_path / "config.yaml")], "images")[0].data.reading == 1
    assert parse(["--data.side", "16"], "images")[0].data.reading == 2


# Every row is used or told


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "bytes", "texts"])
@pytest.mark.parametrize("seed", range(4))
def test_rows_in_are_rows_used_and_rows_told(tmp_path: Path, kind: str, seed: int) -> None:
    """Generated folders with quotes, carriage returns, blanks, missing fields, duplicates, long lines, odd splits, rows
    without a picture, pictures without a row and damaged ones."""
    rng = random.Random(f"{kind} {seed}")
    rows: list[dict[str, Any]] = []
    good: set[str] = set()
    read_in = 0
    for i in range(rng.randint(12, 30)):
        fault = rng.choice(["", "", "", "", "no file", "blank", "twice", "no row", "damaged", "split", "no field"])
        fault = fault if i > 3 else ""
        folder = rng.choice(["", "train/", "x/Validation/", "test/a/"]) if kind != "bytes" else ""
        name = f"{folder}{i}.png"
        caption = rng.choice(['a "quoted", word', "an\r\nend", "x" * 9000, "plain", " two  blanks\t", "сова; \u2028 x"])
        row = {"file_name": name, "text": f"{caption} {i}", "split": ""}
        path = paint(tmp_path / name, i)
        if fault == "damaged":
            path.write_bytes(path.read_bytes()[:50])
        if fault == "no file":
            path.unlink()
        read_in += 1
        if fault == "no row" or (fault == "no file" and kind == "texts"):
            read_in -= kind == "bytes" or not path.exists()
            continue
        row |= {"blank": {"text": " \n "}, "split": {"split": "holdout"}}.get(fault, {})
        if fault == "no field":
            del row["text"]
        rows.append(row)
        if fault == "twice":
            rows.append(row | {"text": f"again {i}"})
            read_in += kind != "texts"
        if fault in ("", "twice") or (fault == "split" and kind == "texts"):
            good.add(name)
    write(tmp_path, kind, rows)
    path = tmp_path / "all.parquet" if kind == "bytes" else tmp_path
    source = loaded(path, bad_rows="drop", held_out=0.4)
    counts = [int(number) for number in re.findall(r"(\d+) (?:pictures|rows) read, (\d+) used", source.told[0])[0]]
    told = [int(number) for number in re.findall(r"(\d+) (?:DROPPED|MERGED)", source.told[0])]
    assert counts[0] == read_in
    assert counts[0] == counts[1] + sum(told)
    assert counts[1] == len(source.train) + len(source.held_out)
    splits = {name: name.split("/")[-2] if "/" in name else "" for name in good}
    by_folder = {"a", ""} <= {*splits.values()} or {"a", "train"} <= {*splits.values()}
    unused = {name for name in good if splits[name] == "Validation"} if by_folder else set()
    assert counts[1] == len(good - unused)
    assert {int(part.pixels[i, 0, 0, 0]) for part in (source.train, source.held_out) for i in range(len(part))} == {
        int(Path(name).stem) for name in good - unused
    }


def write(root: Path, kind: str, rows: list[dict[str, Any]]) -> None:
    """The list of the pictures, or the texts beside them."""
    if kind == "jsonl":
        (root / "metadata.jsonl").write_bytes("\r\n".join(map(json.dumps, rows)).encode())
    elif kind == "csv":
        with open(root / "metadata.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["file_name", "text", "split"])
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "parquet":
        parquet(root / "metadata.parquet", rows)
    elif kind == "bytes":
        for row in rows:
            path = root / row.pop("file_name")
            row["image"] = {"bytes": path.read_bytes(), "path": path.name} if path.exists() else None
        parquet(root / "all.parquet", rows)
    else:
        for row in rows:
            path = (root / row["file_name"]).with_suffix(".txt")
            text = row.get("text", "")
            path.write_text(f"{path.read_text()}\n{text}" if path.exists() else text, encoding="utf-8")


# Advice followed to its end


def test_forty_pictures_with_the_default_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Refused before anything is trained, and what the refusal names trains to the end."""
    root = tmp_path / "data"
    for i in range(40):
        paint(root / f"{'red' if i % 2 else 'blue'} picture {i // 2 * 'very '}much.png", i)
    words = f"{SMALL} --adversarial.rounds 2 --evaluation.feature_steps 2 --evaluation.matcher_steps 2 --data.side 16"
    small = "--generator.width 4 --generator.noise 4 --generator.text 8"
    command = [
        "train",
        "images",
        "--data.path",
        str(root),
        "--run.folder",
        str(tmp_path / "run"),
        *words.split(),
        *small.split(),
    ]
    assert main(command) == 1
    assert "--data.captions_from names" in capsys.readouterr().err
    command += ["--data.captions_from", "names"]
    assert main(command) == 1
    told = runs.errors(capsys.readouterr().err)[0]
    assert "has 36 pictures, fewer than --adversarial.batch_size 64" in told
    assert not (tmp_path / "run").exists()
    assert main([*command, "--adversarial.batch_size", "36"]) == 0
    out = capsys.readouterr().out
    assert "left out: kernel_distance, for which 4 pictures and 4 held-out ones are too few" in out
