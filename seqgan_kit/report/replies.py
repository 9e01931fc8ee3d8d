"""The table of replies: what a dialogue generator said to the same messages as it was trained."""

from collections.abc import Mapping
from html import escape
from itertools import islice

from seqgan_kit.report.metrics import Saved, spread, title

MESSAGES, COLUMNS = 12, 6  # At most so many rows, columns of a phase.


def replies(files: Mapping[str, Saved]) -> str:
    """One row a message, one column an evaluation.

    files: of each phase, the steps and their files, whose lines are a message, a tab, and the reply.
    """
    columns: list[tuple[str, list[list[str]]]] = []
    for phase, saved in files.items():
        for step, path in spread(saved, COLUMNS):
            with path.open(encoding="utf-8", errors="replace") as stream:
                lines = [line.rstrip("\n").split("\t", 1) for line in islice(stream, MESSAGES)]
            columns.append((f"{title(phase)} {step}", [line for line in lines if len(line) == 2]))
    asked = list(dict.fromkeys(message for _, lines in columns for message, _ in lines))
    if not asked:
        return "<p>No replies yet.</p>"
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name, _ in columns)
    body = ""
    for message in asked:
        cells = "".join(f"<td>{escape(dict(lines).get(message, '–'))}</td>" for _, lines in columns)
        body += f'<tr><th scope="row">{escape(message)}</th>{cells}</tr>'
    return f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
