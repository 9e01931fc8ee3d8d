"""Messages: they name options that there are, and what a refusal advises works, followed to its end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import advice
import advice_cli
import advice_dialogue
import advice_images
import advice_imitation
import advice_text
import messages
from seqgan_kit.cli import main

TABLES = {
    "cli": advice_cli,
    "text": advice_text,
    "dialogue": advice_dialogue,
    "imitation": advice_imitation,
    "images": advice_images,
}
CASES = [(use, case) for use, table in TABLES.items() for case in table.CASES]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each use, as it is asked for."""
    found: dict[str, Path] = {}
    root = tmp_path_factory.mktemp("finished")

    class Runs(dict[str, Path]):
        def __missing__(self, use: str) -> Path:
            assert main(TABLES[use].begin(root / use)) == 0
            self[use] = root / use
            return self[use]

    return Runs(found)


@pytest.mark.parametrize(("use", "case"), CASES, ids=[f"{i} {use}: {case.says}" for i, (use, case) in enumerate(CASES)])
def test_advice_is_followed_to_its_end(
    use: str, case: advice.Case, tmp_path: Path, finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a reader of a refusal would do, from what the message says, ends in a run that begins."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    advice.follow(case, tmp_path, finished[use] if re.search(r"\bRUN\b", case.words) else None)


def test_every_option_that_a_message_names_exists() -> None:
    """In any string of the package: in some command that can say it."""
    for text in messages.texts():
        assert not messages.unknown(text.text, messages.known_to(text.file)), text


def test_every_refusal_that_names_an_option_is_provoked(
    tmp_path: Path, finished: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a case whose advice is followed; but for those that are named in LEFT, each with its reason."""
    raised = set()
    for i, (use, case) in enumerate(CASES):
        with advice.inside(tmp_path / str(i)) as folder:
            monkeypatch.setenv("MINARI_DATASETS_PATH", str(folder))
            refusal, _ = advice.provoked(case, folder, run_of(use, case, finished))
            raised.add((refusal.file, refusal.line))
    sites = [site for site in messages.sites() if site.names]
    lacking = [site for site in sites if not any((site.file, line) in raised for line in site.lines)]
    assert not [site for site in lacking if not left(site)], "\n".join(str(site) for site in lacking if not left(site))
    needless = [key for key in LEFT if not any(key == (site.file, part) and part in site.text for site in lacking)]
