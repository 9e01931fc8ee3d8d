"""The pictures of a report: grids of samples while training, and those that a run draws at its end."""

import base64
import math
from collections.abc import Collection, Mapping, Sequence
from html import escape
from pathlib import Path

from seqgan_kit.errors import UserError
from seqgan_kit.files import parsed, read_bytes
from seqgan_kit.report.metrics import Saved, number, title

SIGNATURE = b"\x89PNG\r\n\x1a\n"
LIMIT = 12_000_000  # Bytes of base64 that the pictures of a page may take.
CAPTIONS, COLUMNS, LENGTH = 16, 8, 400  # At most so many of a grid are listed; pictures in a row; characters of one.
FOLDER, NEAREST = "pictures", "nearest"
EXPLAINED = {
    "interpolation": "Each row goes in even steps from one held-out caption to another, with the same noise. Pictures "
    "that change gradually: what lies between captions was learnt, too; a jump: only the captions were.",
    "walk": "Each row shows one caption, while the noise goes from one draw to another. What the caption says should "
    "stay, and all else change; pictures that are all alike ignore the noise.",
    NEAREST: "In each row: a sample; the training picture nearest to it; a real held-out picture of the caption; the "
    "training picture nearest to that. Distances are the root mean square difference of pixels, from 0 to 1. Where "
    "samples are far nearer to training pictures than real ones are, the training pictures were learnt by heart.",
}


def is_png(path: Path) -> bool:
    """Whether there is such a file, and it begins as a PNG does."""
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(SIGNATURE)) == SIGNATURE


def drawn(run: Path) -> list[Path]:
    """The PNGs of RUN/pictures: those that `EXPLAINED` explains, then others by name."""
    found = [path for path in sorted((run / FOLDER).glob("*.png")) if is_png(path)]
    order = list(EXPLAINED)
    return sorted(found, key=lambda path: order.index(path.stem) if path.stem in order else len(order))


def fitting(run: Path, samples: Mapping[str, Saved]) -> set[Path]:
    """PNGs that fit on one page: those of RUN/pictures, then the grids of all phases, the newest first.

    samples: of each phase.
    """
    ages = range(max(map(len, samples.values()), default=0))
    grids = [saved[-1 - age][1].with_suffix(".png") for age in ages for saved in samples.values() if age < len(saved)]
    room, found = LIMIT, set()
    for path in [*drawn(run), *filter(is_png, grids)]:
        size = 4 * math.ceil(path.stat().st_size / 3)
        if size > room:
            break  # What is older must not stay where what is newer goes.
        room -= size
        found.add(path)
    return found


def image(path: Path, alternative: str) -> str:
    """The picture, a PNG or GIF, within the page. alternative: the text for who does not see it."""
    content = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{escape(alternative)}" src="data:image/{path.suffix[1:]};base64,{content}">'


def listed(lines: Sequence[str]) -> str:
    """A numbered list of captions; long ones are cut."""
    cut = (f"{line[:LENGTH]}{'…' * (len(line) > LENGTH)}" for line in lines)
    return f"<ol>{''.join(f'<li>{escape(line)}</li>' for line in cut)}</ol>"


def grid(path: Path, captions: Sequence[str], phase: str, step: int) -> str:
    """Samples with the captions of the first ones. path: the PNG. captions: of the pictures in reading order."""
    first = captions[:CAPTIONS]
    told = f"Grid of samples of phase {title(phase)} at step {step}, {COLUMNS} in a row; the captions follow"
    more = f"; the first {len(first)} captions" if len(captions) > len(first) else ""
    return f"{image(path, told)}<small>{COLUMNS} in a row, read from left to right{more}:</small>{listed(first)}"


def figures(run: Path, shown: Collection[Path]) -> str:
    """RUN/pictures, each with what it shows, how to read it, and what is in its rows; nothing where there are none.

    shown: the PNGs that fit. Raises UserError for a nearest.json that holds no numbers.
    """
    found, text = drawn(run), ""
    for path in found:
        if path not in shown:
            continue
        name, rows = title(path.stem), path.with_suffix(".txt")
        told = EXPLAINED.get(path.stem, "")
        measured = f" {_nearest(run)}".rstrip() if path.stem == NEAREST else ""
        lines = rows.read_text("utf-8", errors="replace").splitlines() if rows.is_file() else []
        text += (
            f"<figure><figcaption><b>{escape(name)}</b><br><small>{escape(told + measured)}</small></figcaption>"
            f"{image(path, f'Pictures: {name}. {told}'.strip())}{listed(lines) if lines else ''}</figure>"
        )
    left_out = [path.name for path in found if path not in shown]
    note = f"<p><small>{escape(', '.join(left_out))} would make this page too large.</small></p>" if left_out else ""
    return f'<div class="grids">{text}</div>{note}' if text or note else ""


def _nearest(run: Path) -> str:
    """The distances of RUN/pictures/nearest.json in words; nothing where there is no such file."""
    path = run / FOLDER / f"{NEAREST}.json"
    if not path.is_file():
        return ""
    try:
        found = parsed(read_bytes(path))
        of_samples, of_real = (float(found[f"nearest_train_{kind}"]) for kind in ("sample", "held_out"))
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: no numbers of nearest_train_sample and _held_out; correct or delete it.") from error
    return f"Median distance: samples {number(of_samples)}, real held-out pictures {number(of_real)}."
