"""Step logs on a terminal: lines in columns, answers as they come, and those of several steps kept apart."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec

from courante.api.wire.events import Numbers
from courante.api.wire.logs import SaidReader
from courante.cli.output import Output
from courante.cli.views.log import LogView
from courante.sdk.logs.step_lines import Piece, StepLine

BAR = " " * 30 + "│ "
LINE = StepLine(
    run_id="r", node="ask", scope="", attempt=1, worker="w", source=1, number=1, at_ms=1_000, level="info", text=""
)
PIECE = Piece(node="", scope="", attempt=1, source=1, number=1, after=1, at_ms=2_000, text="")


def line(text: str, **fields: Any) -> StepLine:
    return msgspec.structs.replace(LINE, text=text, **fields)


def piece(text: str, source: int = 1, **fields: Any) -> Piece:
    return msgspec.structs.replace(PIECE, node=f"ask{source}", source=source, text=text, **fields)


def shown(*said: StepLine | Piece, is_json: bool = False) -> list[str]:
    stdout = io.StringIO()
    view, words = LogView(Output(is_json=is_json, stdout=stdout), "1970-01-01"), SaidReader(Numbers(None))
    for found in said:
        for each in words.said(found):
            view.show(each)
    view.close()
    return stdout.getvalue().splitlines()


def test_an_answer_goes_on_where_it_stopped() -> None:
    """In one block, until a line comes or the attempt is over."""
    assert shown(
        piece("one "), piece("two\nthree "), piece("four"), line("done", number=1), piece("", is_last=True)
    ) == [
        "00:00:02.000  ask1            │ one two",
        f"{BAR}three four",
        "00:00:01.000  ask             done",
    ]


def test_answers_of_several_steps_are_kept_apart() -> None:
    """One is shown as it comes; another waits until it has a line, or is over."""
    assert shown(piece("a1 "), piece("b1 ", 2), piece("a2 "), piece("b2\n", 2), piece("a3 "), piece("b3 ", 2)) == [
        "00:00:02.000  ask1            │ a1 a2 ",
        "00:00:02.000  ask2            │ b1 b2",
        f"{BAR}b3 ",
        "00:00:02.000  ask1            │ a3 ",
    ]
    over = piece("", 2, is_last=True)
    assert shown(piece("a1 "), piece("b1 ", 2), over, piece("a2 ")) == [
        "00:00:02.000  ask1            │ a1 ",
        "00:00:02.000  ask2            │ b1 ",
        "00:00:02.000  ask1            │ a2 ",
    ]


def test_lost_lines_are_told() -> None:
    """A gap in the numbers of one attempt is said where it is, in words and as JSON."""
    said = (line("one", number=2), line("two", number=3), line("three", number=7, attempt=2, level="error"))
    assert shown(*said) == [
        "00:00:01.000  ask             (a line was lost here)",
        "00:00:01.000  ask             one",
        "00:00:01.000  ask             two",
        "00:00:01.000  ask (attempt 2)  (3 lines were lost here)",
        "00:00:01.000  ask (attempt 2)  error: three",
    ]
    found = [json.loads(each) for each in shown(*said, is_json=True)]
    assert [(each["type"], each.get("lines")) for each in found] == [
        ("lost", 1),
        ("line", None),
        ("line", None),
        ("lost", 3),
        ("line", None),
    ]


def test_what_would_steer_a_terminal_is_shown() -> None:
    """Of models, of steps, and in fields."""
    assert shown(line("a\x1b[2Jb\r", fields='{"x\\u0007": "\\u001b]0;t"}'), piece("c\x1bd")) == [
        "00:00:01.000  ask             a\\x1b[2Jb\\r  x\\x07=\\x1b]0;t",
        "00:00:02.000  ask1            │ c\\x1bd",
    ]


def test_another_day_is_said() -> None:
    """Before the first line of it; what was said today needs no date."""
    day_ms = 86_400_000
    assert shown(
        line("one", number=1), line("two", number=2, at_ms=day_ms), line("three", number=3, at_ms=day_ms + 1)
    ) == [
        "00:00:01.000  ask             one",
        "1970-01-02",
        "00:00:00.000  ask             two",
        "00:00:00.001  ask             three",
    ]
