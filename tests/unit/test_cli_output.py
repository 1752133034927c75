"""What commands write with: tables, colour, texts, progress lines, logs."""

from __future__ import annotations

import io
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
import structlog
from click import style

from courante.cli.log_output import configure_logs
from courante.cli.output import Output, status_text, wants_colour
from courante.cli.texts import age_text, count_text, cut, cut_lines, duration_text, iso, list_text


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0ms"),
        (0.0421, "42ms"),
        (0.9996, "1.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (154, "2m 34s"),
        (3_599.6, "1h 0m"),
        (11_100, "3h 5m"),
        (187_200, "2d 4h"),
        (-3, "0ms"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    """Two units at most, the larger first."""
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2, "just now"), (59, "59 seconds ago"), (60, "1 minute ago"), (7_300, "2 hours ago"), (86_400, "1 day ago")],
)
def test_ages_read_as_people_say_them(seconds: float, text: str) -> None:
    """One unit, rounded down."""
    assert age_text(seconds) == text


def test_small_texts() -> None:
    """Counts, lists, times and cuts."""
    assert [count_text(1, "node"), count_text(1_200, "node")] == ["1 node", "1,200 nodes"]
    assert list_text(list("abcdef"), 4) == "a, b, c, d and 2 more"
    at = datetime(2026, 1, 31, 13, 0, 0, 7_000, tzinfo=UTC)
    assert iso(at.astimezone()) == "2026-01-31T13:00:00.007Z"
    assert iso(None) is None
    assert cut("a\n b   c", 4) == "a b…"
    assert cut_lines("\n".join("abcd"), 2) == "a\nb\n..."
    assert iso(at + timedelta(microseconds=999)) == "2026-01-31T13:00:00.007Z"


def test_a_pipe_gets_no_colour_and_a_terminal_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR and a dumb terminal turn it off; a pipe never has it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert wants_colour(Terminal())
    assert not wants_colour(io.StringIO())
    pipe, terminal = io.StringIO(), Terminal()
    for stream in (pipe, terminal):
        Output(stdout=stream, stderr=stream).text(style("red", fg="red"))
    assert pipe.getvalue() == "red\n"
    assert terminal.getvalue() == "\x1b[31mred\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colour(Terminal())
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not wants_colour(Terminal())


def test_json_has_stdout_for_itself() -> None:
    """Under ``--json`` texts and tables are dropped, notes go to stderr, and a value is one line."""
    out, err = io.StringIO(), io.StringIO()
    output = Output(is_json=True, stdout=out, stderr=err)
    output.text("for people")
    output.value({"for": "people"})
    output.table(["a"], [["b"]])
    output.step("beginning")
    output.note("beware")
    output.json({"text": "zwei\nZeilen ✓"})
    assert json.loads(out.getvalue()) == {"text": "zwei\nZeilen ✓"}
    assert out.getvalue().count("\n") == 1
    assert err.getvalue() == "beware\n"


def test_people_see_no_json() -> None:
    """Without ``--json`` objects are not written, and values are indented."""
    out = io.StringIO()
    output = Output(stdout=out, stderr=out)
    output.json({"a": 1})
    output.value({"a": 1})
    assert out.getvalue() == '{\n  "a": 1\n}\n'


def test_tables_align_whatever_their_style() -> None:
    """Columns are as wide as their widest cell; colour has no width."""
    out = io.StringIO()
    Output(stdout=out).table(["name", "status"], [["a", status_text("FAILED")], ["longer", "x"]])
    assert out.getvalue() == "name    status\na       FAILED\nlonger  x\n"


def test_tables_end_at_the_edge_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a line that is too long is cut, not wrapped."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    Output(stdout=out).table(["a", "b"], [["x" * 30, "y" * 30]])
    last = out.getvalue().splitlines()[-1]
    assert len(last) == 40
    assert last == "x" * 30 + "  " + "y" * 7 + "…"


def test_what_fits_is_whole_where_its_column_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a column at the edge only those cells are cut that do not fit, and the others keep their colour."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out = Terminal()
    rows = [["x" * 30, status_text("RUNNING"), "w"], ["x" * 30, status_text("COMPLETED"), "w"]]
    Output(stdout=out).table(["run", "status", "workflow"], rows)
    _, runs, ended = out.getvalue().splitlines()
    assert runs.rstrip() == "x" * 30 + "  " + status_text("RUNNING")
    assert ended == "x" * 30 + "  COMPLET…"


def test_a_stream_that_lacks_a_character_gets_an_escape() -> None:
    """An ASCII terminal gets an escape instead of an error."""
    raw = io.BytesIO()
    output = Output(stdout=io.TextIOWrapper(raw, encoding="ascii", write_through=True))
    output.text("✓ ok")
    assert raw.getvalue() == b"\\u2713 ok\n"


def test_errors_have_a_message_of_many_lines_and_a_hint() -> None:
    """The first line stands by the word, the others below it."""
    err = io.StringIO()
    Output(stderr=err).error("code", "first\nsecond", "do this")
    assert err.getvalue() == "error: first\n  second\nhint: do this\n"


def test_logs_are_lines_of_json_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """A time with milliseconds in UTC, the level, the event; below the level nothing."""
    configure_logs("info")
    log = structlog.get_logger()
    log.debug("not_this")
    log.info("worker_started", queues=["default"])
    written = capsys.readouterr()
    assert written.out == ""
    found = json.loads(written.err)
    at = datetime.fromisoformat(found.pop("timestamp"))
    assert abs((datetime.now(UTC) - at).total_seconds()) < 60
    assert found == {"event": "worker_started", "level": "info", "queues": ["default"]}
    assert structlog.get_config()["wrapper_class"] is structlog.make_filtering_bound_logger(logging.INFO)


def test_logs_hold_tracebacks_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    """An exception stays inside of its line."""
    configure_logs("error")
    try:
        int("by design")
    except ValueError:
        structlog.get_logger().exception("it_failed")
    (line,) = capsys.readouterr().err.splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]
