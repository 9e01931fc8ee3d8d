"""What a run of pictures is looked at for: what is drawn at its end, and how the report shows it."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial import geometric_slerp
from torch import Tensor, nn

from seqgan_kit.errors import UserError
from seqgan_kit.images import interpolations as drawing
from seqgan_kit.images.caption_encoders import TextEncoder, Words
from seqgan_kit.images.data import Captioned, captioned
from seqgan_kit.images.grids import GAP, SHOWN, save_grid
from seqgan_kit.images.interpolations import NO_CAPTION, ROWS, STEPS, draw_all, spherical
from seqgan_kit.images.sources import Source
from seqgan_kit.report import curves, metrics, pictures, read_metrics, write_report
from seqgan_kit.report.page import SAMPLE_FILES
from test_report import HOSTILE, Page

pytestmark = pytest.mark.usefixtures("with_curves")
SIDE = 8


class Paint(nn.Module):
    """Flat pictures: red tells the caption, green the noise, and blue what is drawn as conditioning augmentation is."""

    def __init__(self, memory: Tensor | None = None) -> None:
        super().__init__()
        self.config = SimpleNamespace(noise=3)
        self.memory = memory
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, noise: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
        if self.memory is not None:
            return self.memory[torch.arange(len(noise)) % len(self.memory)], noise[:, 0]
        channels = [condition[:, 0] / 8, noise[:, 0] / 4, torch.randn(len(noise)) / 4]
        pixels = torch.stack(channels, dim=1)[:, :, None, None].expand(-1, -1, SIDE, SIDE)
        return pixels, noise[:, 0]


class Lengths(TextEncoder):
    """A caption's vector is how many words it has."""

    dim, name = 1, "lengths"

    def encode(self, captions: Any) -> Tensor:
        return torch.tensor([[float(len(caption.split()))] for caption in captions])

    def unread(self, captions: Any) -> int:
        return 0

    def identity(self) -> str:
        return "lengths"

    def save(self, folder: Path) -> dict[str, Any]:
        return {}


def noisy(count: int, seed: int, side: int = SIDE) -> Captioned:
    """Random pictures, each with a caption of its own, of 1 to 7 words."""
    pixels = torch.randint(0, 256, (count, 3, side, side), generator=torch.Generator().manual_seed(seed))
    told = [[" ".join([f"word{seed}_{i}", *["more"] * (i % 7)])] for i in range(count)]
    return captioned(pixels.to(torch.uint8), told)


def source(train: int = 20, held_out: int = 12, side: int = SIDE) -> Source:
    return Source("noise", noisy(train, 1, side), noisy(held_out, 2, side))


def cells(path: Path, columns: int, side: int = SIDE) -> np.ndarray:
    """The pictures of a grid, (rows, columns, side, side, 3), back at their own size."""
    times = SHOWN // side
    step = side * times + GAP
    whole = np.asarray(Image.open(path).convert("RGB")).astype(int)
    rows = (whole.shape[0] + GAP) // step
    assert whole.shape == (rows * step - GAP, columns * step - GAP, 3)
    starts = [(i * step, j * step) for i in range(rows) for j in range(columns)]
    found = [whole[i : i + side * times : times, j : j + side * times : times] for i, j in starts]
    return np.stack(found).reshape(rows, columns, side, side, 3)


# -- what is drawn -------------------------------------------------------------------------------------------------


def test_interpolation_changes_the_caption_alone(tmp_path: Path) -> None:
    """A row goes in even steps from one held-out caption's vector to the other's, with one noise and one draw."""
    torch.manual_seed(0)
    draw_all(tmp_path, Paint(), Lengths(), source(), True, SIDE)
    shown = cells(tmp_path / "interpolation.png", STEPS)[:, :, 0, 0]
    lines = (tmp_path / "interpolation.txt").read_text().splitlines()
    assert len(lines) == len(shown) == ROWS
    for line, row in zip(lines, shown, strict=True):
        first, last = (len(caption.split()) for caption in line.split(" → "))
        expected = 127.5 * (1 + np.linspace(first, last, STEPS) / 8)
        np.testing.assert_allclose(row[:, 0], expected, atol=0.51)
        assert len(np.unique(row[:, 1])) == len(np.unique(row[:, 2])) == 1
    assert len({tuple(row[0, 1:]) for row in shown}) == ROWS, "each row has noise of its own"
    assert len({caption for line in lines for caption in line.split(" → ")}) == 2 * ROWS


def test_a_walk_changes_the_noise_alone(tmp_path: Path) -> None:
    """In a row the caption and what augmentation draws stay as they are; another row shows another caption."""
    torch.manual_seed(0)
    draw_all(tmp_path, Paint(), Lengths(), source(), True, SIDE)
    shown = cells(tmp_path / "walk.png", STEPS)[:, :, 0, 0]
    lines = (tmp_path / "walk.txt").read_text().splitlines()
    assert len(set(lines)) == len(shown) == ROWS
    for line, row in zip(lines, shown, strict=True):
        np.testing.assert_allclose(row[:, 0], 127.5 * (1 + len(line.split()) / 8), atol=0.51)
        assert len(np.unique(row[:, 1])) > STEPS // 2
        assert len(np.unique(row[:, 2])) == 1


def test_spherical_steps_are_those_of_scipy() -> None:
    """On the unit sphere the steps are geometric_slerp's; vectors of other lengths keep their ends."""
    torch.manual_seed(0)
    one, other = (vector / vector.norm() for vector in torch.randn(2, 6, dtype=torch.float64))
    expected = geometric_slerp(one.numpy(), other.numpy(), np.linspace(0, 1, 9))
    np.testing.assert_allclose(spherical(one, other, 9), expected, atol=1e-6)
    longer = spherical(2 * one.float(), 3 * other.float(), 9)
    np.testing.assert_allclose(longer[[0, -1]], torch.stack([2 * one, 3 * other]), atol=1e-6)
    assert longer.norm(dim=1).min() > 2 - 1e-6


@pytest.mark.parametrize("factor", [1.0, 2.0, -1.0])
def test_between_parallel_vectors_the_line_is_straight(factor: float) -> None:
    """Also where there is no angle, or no one arc: nothing is divided by 0."""
    vector = torch.tensor([1.0, -2.0])
    expected = vector + torch.linspace(0, 1, 5)[:, None] * (factor - 1) * vector
    torch.testing.assert_close(spherical(vector, factor * vector, 5), expected)


def test_nearest_pictures_are_those_of_all_pairs(tmp_path: Path) -> None:
    """Columns, distances and medians as a comparison of all pairs finds them; pictures that are copied are found."""
    data = source(train=30, held_out=12)
    copied = data.train.pixels[[7, 3, 11, 7, 0, 29]]
    draw_all(tmp_path, Paint(copied.float() / 127.5 - 1), Lengths(), data, True, SIDE)
    shown = cells(tmp_path / "nearest.png", 4)
    lines = (tmp_path / "nearest.txt").read_text().splitlines()
    train = data.train.pixels.permute(0, 2, 3, 1).double().numpy()
    by_caption = {
        caption: data.held_out.pixels[i].permute(1, 2, 0).double().numpy()
        for i, caption in enumerate(data.held_out.captions)
    }
    assert len(lines) == len(shown) == 8
    for place, (line, (sample, near, real, other)) in enumerate(zip(lines, shown, strict=True)):
        match = re.fullmatch(r"(.+) \(sample (0\.\d{3}), held-out picture (0\.\d{3})\)", line)
        assert match
        np.testing.assert_array_equal(sample, copied[place % 6].permute(1, 2, 0))
        np.testing.assert_array_equal(near, sample)
        assert float(match[2]) == 0
        np.testing.assert_array_equal(real, by_caption[match[1]])
        distances = np.sqrt(((train - real) ** 2).mean((1, 2, 3))) / 255
        np.testing.assert_array_equal(other, train[distances.argmin()])
        assert float(match[3]) == pytest.approx(distances.min(), abs=5e-4)
    every = [np.sqrt(((train - real) ** 2).mean((1, 2, 3))).min() / 255 for real in by_caption.values()]
    found = json.loads((tmp_path / "nearest.json").read_text())
    assert found == {
        "nearest_train_sample": 0.0,
        "nearest_train_held_out": pytest.approx(sorted(every)[5]),  # torch's median is the lower of the middle two
        "pictures": 12,
    }


def test_large_pictures_are_compared_smaller_and_cut_as_in_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Averaged down to FINEST; of pictures that are kept with a margin the middle counts."""
    monkeypatch.setattr(drawing, "FINEST", 4)
    data = source(side=SIDE + 4)
    draw_all(tmp_path, Paint(), Lengths(), data, True, SIDE)

    def small(pixels: Tensor) -> np.ndarray:
        middle = pixels[:, :, 2:-2, 2:-2].double().numpy()
        return middle.reshape(len(middle), 3, 4, 2, 4, 2).mean((3, 5))

    train, held_out = small(data.train.pixels), small(data.held_out.pixels)
    every = [np.sqrt(((train - real) ** 2).mean((1, 2, 3))).min() / 255 for real in held_out]
    found = json.loads((tmp_path / "nearest.json").read_text())
    assert found["nearest_train_held_out"] == pytest.approx(sorted(every)[5], rel=1e-5)
    assert cells(tmp_path / "nearest.png", 4).shape[0] == 8


def test_without_conditioning_there_is_no_interpolation(tmp_path: Path) -> None:
    """The vectors are 0, and no caption stands beside a walk."""
    draw_all(tmp_path, Paint(), Lengths(), source(), False, SIDE)
    assert not (tmp_path / "interpolation.png").exists()
    assert (tmp_path / "walk.txt").read_text().splitlines() == [NO_CAPTION] * ROWS
    shown = cells(tmp_path / "walk.png", STEPS)[..., 0]
    assert set(np.unique(shown)) == {128}


def test_few_captions_come_again(tmp_path: Path) -> None:
    """Of two held-out pictures rows repeat, and of one there is no interpolation."""
    draw_all(tmp_path / "two", Paint(), Lengths(), source(held_out=2), True, SIDE)
    assert len(set((tmp_path / "two" / "interpolation.txt").read_text().splitlines())) == 1
    assert len(cells(tmp_path / "two" / "nearest.png", 4)) == 2
    draw_all(tmp_path / "one", Paint(), Lengths(), source(held_out=1), True, SIDE)
    assert sorted(path.name for path in (tmp_path / "one").glob("*.png")) == ["nearest.png", "walk.png"]


# -- the report ----------------------------------------------------------------------------------------------------

BASELINES = {
    "real pictures": {"metrics": {"all": 0.97, "frechet_distance": 0.5}},
    "their captions shuffled": {"metrics": {"all": 0.02}},
    "second_real pictures": {"metrics": {"all": 0.99, "frechet_distance": 0.25}},
    "second_first stage, enlarged": {"metrics": {"all": 0.4, "frechet_distance": 30.0}},
}


def make_run(folder: Path, grids: int = 3, phases: tuple[str, ...] = ("adversarial", "second_stage")) -> Path:
    """A run of pictures whose captions are hostile, with everything that a run draws."""
    lines = []
    for phase in phases:
        for step in range(1, grids + 1):
            found = {"eval/all": step / 10, "eval/frechet_distance": 9.0 / step, "generator_loss": 1.0 * step}
            lines.append({"phase": phase, "step": step, "total": grids, **found})
            pixels = torch.full((20, 3, SIDE, SIDE), 7 * step + len(phase), dtype=torch.uint8)
            captions = [f"{HOSTILE} {i}" for i in range(20)]
            save_grid(folder / "samples" / f"{phase}-{step:06d}", pixels, 8, captions)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "run.json").write_text(json.dumps({"task": "images", "finished": True}))
    (folder / "baselines.json").write_text(json.dumps(BASELINES))
    draw_all(folder / "pictures", Paint(), Words(list(source().train.captions), least=1), source(), True, SIDE)
    return folder


def sources(page: Page) -> list[str]:
    return [value for tag, name, value in page.attributes if (tag, name) == ("img", "src")]


def uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def test_grids_are_shown_in_order_with_their_captions(tmp_path: Path) -> None:
    """Each grid is in the page, whole, by phase and step, the newest of each open, with its first captions escaped."""
    run = make_run(tmp_path / "run")
    page = Page(write_report(run))
    grids = [run / "samples" / f"{phase}-{i:06d}.png" for phase in ("adversarial", "second_stage") for i in (1, 2, 3)]
    drawn = [run / "pictures" / f"{name}.png" for name in ("interpolation", "walk", "nearest")]
    assert sources(page) == [uri(path) for path in [*grids, *drawn]]
    found = re.findall(r"<details( open)?><summary>step (\d)", page.text)
    assert found == [("", "1"), ("", "2"), (" open", "3")] * 2
    assert "<script" not in page.text
    for i in range(20):
        assert page.text.count(f".png&quot;&gt; {i}</li>") == (len(grids) if i < pictures.CAPTIONS else 0)
    told = [value for tag, name, value in page.attributes if (tag, name) == ("img", "alt")]
    assert told[2].startswith("Grid of samples of phase adversarial at step 3, 8 in a row")
    assert [text.split(".")[0] for text in told[6:]] == [f"Pictures: {path.stem}" for path in drawn]


def test_what_is_drawn_says_how_to_read_it(tmp_path: Path) -> None:
    """Titles, sentences, the rows' captions, and the measured distances."""
    run = make_run(tmp_path / "run")
    (run / "pictures" / "nearest.json").write_text('{"nearest_train_sample": 0.125, "nearest_train_held_out": 0.5}')
    (run / "pictures" / "more_to_see.png").write_bytes((run / "pictures" / "walk.png").read_bytes())
    text = Page(write_report(run)).text
    part = text[text.index('<h2 id="Pictures">') : text.index('<h2 id="Run">')]
    assert re.findall(r"<b>(.*?)</b>", part) == ["interpolation", "walk", "nearest", "more to see"]
    assert "Median distance: samples 0.1250, real held-out pictures 0.5000." in part
    for name in ("interpolation", "walk", "nearest"):
        assert pictures.EXPLAINED[name] in part
        for line in (run / "pictures" / f"{name}.txt").read_text().splitlines():
            assert f"<li>{line}</li>" in part
    for wrong in ("{", "[1]", '{"nearest_train_sample": 1}'):
        (run / "pictures" / "nearest.json").write_text(wrong)
        with pytest.raises(UserError, match=r"nearest\.json: no numbers of nearest_train_sample"):
            write_report(run)


def test_a_page_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not everything fits, what was drawn at the end comes first, then the newest grids; the page says so."""
    run = make_run(tmp_path / "run")
    drawn = sorted((run / "pictures").glob("*.png"))
    newest = [run / "samples" / f"{phase}-000003.png" for phase in ("adversarial", "second_stage")]
    monkeypatch.setattr(pictures, "LIMIT", sum(len(uri(path)) for path in [*drawn, *newest]))
    page = Page(write_report(run))
    assert sorted(sources(page)) == sorted(uri(path) for path in [*drawn, *newest])
    assert page.text.count("1 of 3 files, more would make this page too large") == 2
    monkeypatch.setattr(pictures, "LIMIT", 100)
    page = Page(write_report(run))
    assert not sources(page)
    assert "interpolation.png, walk.png, nearest.png would make this page too large" in page.text
    assert page.text.count("0 of 3 files, more would make this page too large") == 2


def test_many_grids_are_thinned(tmp_path: Path) -> None:
    """At most twelve of a phase, the first and the last among them."""
    run = make_run(tmp_path / "run", grids=30, phases=("adversarial",))
    page = Page(write_report(run))
    steps = [int(step) for step in re.findall(r"<summary>step (\d+)", page.text)]
    assert len(steps) == SAMPLE_FILES
    assert (steps[0], steps[-1]) == (1, 30)
    assert "12 of 30 files</small>" in page.text


def test_what_is_no_png_is_not_embedded(tmp_path: Path) -> None:
    """Whatever its name says; the captions are listed as texts then."""
    run = make_run(tmp_path / "run", phases=("adversarial",))
    (run / "samples" / "adversarial-000003.png").write_text(HOSTILE)
    (run / "pictures" / "walk.png").write_bytes(b"GIF89a")
    page = Page(write_report(run))
    assert len(sources(page)) == 2 + 2
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in sources(page))
    assert len(re.findall(r"<details", page.text)) == 3


def test_baselines_stand_beside_the_metrics_that_they_have(tmp_path: Path) -> None:
    """Columns of the summary with readable titles; a metric without that baseline has a dash."""
    page = Page(write_report(make_run(tmp_path / "run")))
    head = ["metric", "real pictures", "their captions shuffled", "real pictures (second stage)"]
    head += ["first stage, enlarged (second stage)", "after adversarial", "after second stage", "meaning"]
    assert page.rows[0] == head
    assert [row[:-1] for row in page.rows[1:3]] == [
        ["all ↑ higher", "0.9700", "0.02000", "0.9900", "0.4000", "0.3000", "0.3000"],
        ["frechet distance ↓ lower", "0.5000", "–", "0.2500", "30.00", "3.000", "3.000"],
    ]
    assert "95 %" not in page.text, "these have no intervals"


def test_baselines_are_drawn_where_they_belong(tmp_path: Path) -> None:
    """Dotted lines: those of the second stage at it, the others before it; in a run without it they go through."""
    phases = read_metrics(make_run(tmp_path / "run") / "metrics.jsonl")
    known = metrics.read_baselines(tmp_path / "run" / "baselines.json")

    def dotted(metric: str) -> int:
        drawn, plain = (curves.figure(phases, metric, "a", some) for some in (known, {}))
        return drawn.count("dasharray") - plain.count("dasharray")

    assert [dotted(metric) for metric in ("eval/all", "eval/frechet_distance", "generator_loss")] == [4, 3, 0]
    assert not metrics.baselines_of("all", known), "what training measures is something else"
    places = curves.slots(phases)
    assert curves.stretch("real pictures", places, 2.0) == (0.0, 1.0)
    assert curves.stretch("second_real pictures", places, 2.0) == (1.0, 2.0)
    figure = curves.figure(phases, "eval/all", "a", known)
    assert "second_" not in figure
    assert figure.count(">real pictures<") == 2
    del phases["second_stage"]
    assert [dotted(metric) for metric in ("eval/all", "eval/frechet_distance")] == [2, 1]
    assert curves.stretch("real pictures", curves.slots(phases), 1.0) == (0.0, 1.0)


@pytest.mark.parametrize("wrong", ['{"real pictures": {"metrics": 3}}', '{"real pictures": {"metrics": {"all": "x"}}}'])
def test_wrong_baselines_of_pictures_are_named(tmp_path: Path, wrong: str) -> None:
    """One line that names the file."""
    (tmp_path / "baselines.json").write_text(wrong)
    with pytest.raises(UserError, match=r"baselines\.json: no baselines") as caught:
        metrics.read_baselines(tmp_path / "baselines.json")
    assert "\n" not in str(caught.value)


SCORES = ("colours", "shapes", "colours_and_shapes", "sizes", "positions", "all")
HIGHER = (*SCORES, *(f"unseen_{name}" for name in SCORES), "precision", "recall", "inception_score", "r_precision")
LOWER = ("frechet_distance", "kernel_distance", "generator_loss")
NEITHER = ("discriminator_mismatched", "discriminator_alone", "discriminator_accuracy", "divergence", "diversity")


@pytest.mark.parametrize("name", [*HIGHER, "clip_score", "matched", *LOWER, *NEITHER, "generator_gradient_norm"])
def test_metrics_of_pictures_are_explained(name: str) -> None:
    """Each has a meaning and the direction that it is better in."""
    _, direction, meaning = metrics.about(f"eval/{name}")
    assert meaning
    assert direction == (1 if name in (*HIGHER, "clip_score", "matched") else -1 if name in LOWER else 0)
    assert ("training lacks" in meaning) == name.startswith("unseen_")


def test_phases_of_pictures_have_colours_of_their_own() -> None:
    """Those that one run has can be told apart."""
    phases = ("text_encoder", "adversarial", "second_stage", "style")
    assert len({curves.COLOUR[phase] for phase in phases}) == len(phases)
    assert [metrics.title(phase) for phase in phases] == [
        "text encoder", "adversarial", "second stage", "style encoder",
    ]  # fmt: skip
