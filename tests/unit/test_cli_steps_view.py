"""Steps of a run as they are shown, and the lines of a whole run."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from click import unstyle

from courante.api.reading.runs import RunView
from courante.api.reading.steps import StepView, step_views
from courante.api.wire.runs import RunShown
from courante.cli.documents import dependencies
from courante.cli.live import Progress
from courante.cli.output import Output
from courante.cli.views.run import head_lines, outcome_lines, step_lines
from courante.cli.views.steps import progress_text, step_line
from courante.compiler.analysis import compile_workflow
from courante.compiler.ir import Ir
from courante.compiler.normalize import normalize
from courante.sdk.events import ErrorInfo
from courante.sdk.stores.runs import RunRow, StepRow
from courante.sdk.stores.status import RunStatus, StepStatus

START = datetime(2026, 1, 31, 12, 0, 0, tzinfo=UTC)
NODES = [
    {"id": "a", "type": "noop", "on_error": "sorry"},
    {"id": "b", "type": "noop", "depends_on": "a"},
    {"id": "c", "type": "noop", "depends_on": "b", "loop": {"while": "false", "back_to": "b"}},
    {"id": "d", "type": "noop", "depends_on": "c"},
    {"id": "sorry", "type": "noop"},
]


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def compiled(nodes: object = NODES) -> Ir:
    workflow, _ = normalize({"courante": 1, "id": "w", "nodes": nodes})
    assert workflow is not None
    ir, _ = compile_workflow(workflow)
    assert ir is not None
    return ir


def run_row(status: RunStatus, **fields: object) -> RunRow:
    row = RunRow(
        run_id="run_1",
        env="default",
        partition=0,
        workflow="w",
        version=3,
        ir_hash="",
        status=status,
        trigger="initial",
        base_run_id=None,
        by=None,
        tags=(),
        output_seq=None,
        error=None,
        drain_reason=None,
        is_halted=False,
        created_at=at(0),
        started_at=at(0),
        finished_at=at(90) if status.is_final else None,
    )
    return msgspec.structs.replace(row, **fields)


def step_row(node: str, status: StepStatus, scope: str = "", attempt: int = 1, **fields: object) -> StepRow:
    row = StepRow(
        node=node,
        scope=scope,
        attempt=attempt,
        status=status,
        reason=None,
        worker="w1",
        started_at=at(1),
        finished_at=None,
        due_at=None,
        ms=None,
        error=None,
        output_seq=None,
    )
    return msgspec.structs.replace(row, **fields)


def shown_run(row: RunRow, steps: Sequence[StepView], output: object = None) -> RunShown:
    return RunView(row, list(steps), output).to_wire()


def shown(steps: list[StepView]) -> list[tuple[str, str, str]]:
    return [(step.id, step.scope, str(step.status)) for step in steps]


def test_steps_stand_in_the_order_of_the_document() -> None:
    """Whatever began first, nodes that never began among them; scopes are as people read them."""
    rows = [
        step_row("c", StepStatus.SUCCEEDED, "1", finished_at=at(2)),
        step_row("b", StepStatus.RUNNING, "2"),
        step_row("b", StepStatus.SUCCEEDED, "1", finished_at=at(2)),
        step_row("a", StepStatus.SUCCEEDED, finished_at=at(2)),
    ]
    steps = step_views(run_row(RunStatus.RUNNING), compiled(), rows)
    assert shown(steps) == [
        ("a", "", "SUCCEEDED"),
        ("b", "c#2", "RUNNING"),
        ("b", "c#1", "SUCCEEDED"),
        ("c", "c#1", "SUCCEEDED"),
        ("d", "", "PENDING"),
        ("sorry", "", "PENDING"),
    ]
    assert progress_text([step.to_wire() for step in steps]) == "3/6 complete"


def test_the_last_attempt_is_the_step() -> None:
    """Attempts are counted; what an earlier one failed with is not shown any more."""
    rows = [
        step_row("a", StepStatus.FAILED, attempt=2, error=ErrorInfo(type="Oops", message="no")),
        step_row("a", StepStatus.RETRYING, attempt=1, due_at=at(9)),
        step_row("a", StepStatus.SUCCEEDED, attempt=3, finished_at=at(5)),
    ]
    step = step_views(run_row(RunStatus.RUNNING), compiled(), rows)[0]
    assert (step.attempts, step.status, step.error) == (3, StepStatus.SUCCEEDED, None)


MAPS = [
    {"id": "m", "type": "map", "config": {"items": "input"}},
    {"id": "n", "type": "map", "depends_on": "m", "config": {"items": "item"}},
    {"id": "w", "type": "noop", "depends_on": "n", "loop": {"while": "false", "back_to": "w"}},
    {"id": "inner", "type": "aggregate", "depends_on": "w"},
    {"id": "all", "type": "aggregate", "depends_on": "inner"},
    {"id": "l", "type": "noop", "depends_on": "all", "loop": {"while": "false", "back_to": "m"}},
]


def test_items_are_children_of_their_map() -> None:
    """Counted from 1, with the way to them through outer loops and maps; outside of maps there are none."""
    rows = [
        step_row("m", StepStatus.SUCCEEDED, "2"),
        step_row("n", StepStatus.SUCCEEDED, "2.0"),
        step_row("w", StepStatus.RUNNING, "2.0.3.1"),
    ]
    steps = step_views(run_row(RunStatus.RUNNING), compiled(MAPS), rows)
    assert [(step.id, step.scope, step.child) for step in steps[:3]] == [
        ("m", "l#2", ""),
        ("n", "l#2/m[0]", "l#2/m#1"),
        ("w", "l#2/m[0]/n[3]/w#1", "l#2/m#1/n#4"),
    ]
    assert steps[1].to_wire().child == "l#2/m#1"


def test_an_aggregate_waits_for_the_items_of_its_map() -> None:
    """As long as it has not begun and the run goes on; others of an earlier iteration are shown beside it."""
    rows = [
        step_row("m", StepStatus.SUCCEEDED, "1"),
        step_row("all", StepStatus.SUCCEEDED, "1"),
        step_row("m", StepStatus.SUCCEEDED, "2"),
        step_row("n", StepStatus.FAILED, "2.0"),
        step_row("n", StepStatus.WAITING, "2.1", reason="more"),
    ]
    steps = step_views(run_row(RunStatus.RUNNING), compiled(MAPS), rows)
    assert [(s.id, s.scope, str(s.status), s.waiting_for) for s in steps if s.id in {"inner", "all"}] == [
        ("inner", "l#2/m[1]", "WAITING", "items of n"),
        ("all", "l#1", "SUCCEEDED", None),
        ("all", "l#2", "WAITING", "items of m"),
    ]
    ended = step_views(run_row(RunStatus.FAILED), compiled(MAPS), rows)
    assert not [step for step in ended if step.waiting_for is not None and "items" in step.waiting_for]


@pytest.mark.parametrize(
    ("status", "expected", "reason", "progress"),
    [
        (RunStatus.RUNNING, StepStatus.PENDING, None, "1/5 complete"),
        (RunStatus.COMPLETED, StepStatus.SKIPPED, "branch_not_taken", "5/5 complete"),
        (RunStatus.FAILED, StepStatus.SKIPPED, "not_reached", "1/5 complete"),
    ],
)
def test_what_never_began(status: RunStatus, expected: StepStatus, reason: str | None, progress: str) -> None:
    """Still to come, on a path that was not taken, or not reached before the run failed: only the second is done."""
    steps = step_views(run_row(status), compiled(), [step_row("a", StepStatus.SUCCEEDED, finished_at=at(2))])
    assert {(step.status, step.reason) for step in steps[1:]} == {(expected, reason)}
    assert progress_text([step.to_wire() for step in steps]) == progress


def test_a_step_as_json_has_the_documented_fields() -> None:
    """What it waits for says until when, where that is known."""
    row = step_row("a", StepStatus.WAITING, reason="timer", due_at=at(60))
    step = step_views(run_row(RunStatus.WAITING), compiled(), [row])[0]
    assert msgspec.to_builtins(step.to_wire()) == {
        "id": "a",
        "scope": "",
        "child": None,
        "status": "WAITING",
        "reason": "timer",
        "attempts": 1,
        "started_at": "2026-01-31T12:00:01.000Z",
        "finished_at": None,
        "waiting_for": "timer until 2026-01-31T12:01:00.000Z",
    }


@pytest.mark.parametrize(
    ("step", "line"),
    [
        (StepView(id="a", scope="", status=StepStatus.PENDING), "· a     PENDING"),
        (
            StepView(id="a", scope="", status=StepStatus.SUCCEEDED, started_at=at(0), finished_at=at(154)),
            "✓ a     SUCCEEDED    2m 34s",
        ),
        (StepView(id="a", scope="", status=StepStatus.RUNNING, started_at=at(58)), "▸ a     RUNNING        2.0s"),
        (
            StepView(id="a", scope="", status=StepStatus.WAITING, started_at=at(50), waiting_for="approval"),
            "⊗ a     WAITING         10s  waiting for approval",
        ),
        (
            StepView(
                id="a",
                scope="",
                status=StepStatus.FAILED,
                attempts=3,
                started_at=at(0),
                finished_at=at(0),
                handler_ms=40,
                error=ErrorInfo(type="ValueError", message="boom\nand more"),
            ),
            "✗ a     FAILED         40ms  attempt 3, ValueError: boom and mo…",
        ),
        (
            StepView(id="a", scope="", status=StepStatus.SKIPPED, reason="condition_false", finished_at=at(3)),
            "- a     SKIPPED              condition false",
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, StepView) else "",
)
def test_a_step_is_one_line(step: StepView, line: str) -> None:
    """Glyph, name, status, time so far or taken, and what there is to say, cut at the width."""
    assert unstyle(step_line(step.to_wire(), at(60), width=64, label_width=4)) == line


def test_a_running_step_turns() -> None:
    """The frame chooses the sign of the spinner."""
    step = StepView(id="a", scope="", status=StepStatus.RUNNING, started_at=at(0))
    signs = [unstyle(step_line(step.to_wire(), at(1), width=80, label_width=1, frame=frame))[0] for frame in (0, 1, 10)]
    assert signs == ["⠋", "⠙", "⠋"]


def test_the_head_of_a_run() -> None:
    """Run, workflow, status with age and duration, progress."""
    view = shown_run(
        run_row(RunStatus.COMPLETED, tags=("nightly",)), [StepView(id="a", scope="", status=StepStatus.SUCCEEDED)]
    )
    assert [unstyle(line) for line in head_lines(view, at(210))] == [
        "run       run_1",
        "workflow  w version 3",
        "status    COMPLETED, started 3 minutes ago, took 1m 30s",
        "steps     1/1 complete",
        "tags      nightly",
    ]
    waiting = shown_run(run_row(RunStatus.PENDING, started_at=None), [])
    assert unstyle(head_lines(waiting, at(61))[2]) == "status    PENDING, accepted 1 minute ago"
    theirs = head_lines(shown_run(run_row(RunStatus.COMPLETED, by="ada\x1b\nx"), []), at(210))
    assert unstyle(theirs[2]) == "status    COMPLETED, started 3 minutes ago by ada\\x1b x, took 1m 30s"
    again = head_lines(shown_run(run_row(RunStatus.PENDING, trigger="retry", base_run_id="run_0"), []), at(61))
    assert unstyle(again[4]) == "base      run_0, of which it is a retry"
    asked = head_lines(shown_run(run_row(RunStatus.PENDING, started_at=None, by="ada"), []), at(61))
    assert unstyle(asked[2]) == "status    PENDING, accepted 1 minute ago from ada"


def test_too_many_steps_show_what_matters() -> None:
    """Failures first, then what runs and waits, then what ended last; the others are counted."""
    steps = [StepView(id=f"s{n}", scope="", status=StepStatus.SUCCEEDED, finished_at=at(n)) for n in range(5)]
    steps += [
        StepView(id="p", scope="", status=StepStatus.PENDING),
        StepView(id="r", scope="", status=StepStatus.RUNNING),
    ]
    steps += [StepView(id="f", scope="", status=StepStatus.FAILED, finished_at=at(1))]
    lines = step_lines(shown_run(run_row(RunStatus.RUNNING), steps), at(9), width=80, rows_max=4)
    assert [unstyle(line).split()[1] for line in lines[:3]] == ["f", "r", "s4"]
    assert unstyle(lines[3]).strip() == "and 5 more steps"


def test_the_outcome_is_the_output_or_the_error() -> None:
    """A completed run shows its output, a failed one the step and the error."""
    done = shown_run(run_row(RunStatus.COMPLETED), [], {"a": 1})
    assert outcome_lines(done) == ['{\n  "a": 1\n}']
    error = ErrorInfo(type="ValueError", message="boom", node="a")
    assert (
        unstyle(outcome_lines(shown_run(run_row(RunStatus.FAILED, error=error), []))[0])
        == "error: step a: ValueError: boom"
    )
    assert outcome_lines(shown_run(run_row(RunStatus.RUNNING), [])) == []
    cancelled = shown_run(run_row(RunStatus.CANCELLED, drain_reason="cancelled"), [])
    assert unstyle(outcome_lines(cancelled)[0]) == "reason: cancelled"


def test_dependencies_say_how_a_node_is_reached() -> None:
    """Edges, errors, exhausted loops, milestones and compensations are told apart."""
    nodes = [
        {"id": "a", "type": "noop", "on_error": "e", "compensate": "u"},
        {"id": "b", "type": "noop", "depends_on": "a", "loop": {"while": "false", "back_to": "b", "on_exhausted": "x"}},
        {"id": "e", "type": "noop"},
        {"id": "x", "type": "noop"},
        {"id": "u", "type": "noop"},
        {"id": "m", "type": "noop", "depends_on": "a", "while_waiting": "b"},
    ]
    workflow, found = normalize({"courante": 1, "id": "w", "nodes": nodes})
    assert workflow is not None, found
    assert dependencies(workflow) == {
        "a": "(no dependencies)",
        "b": "(depends on: a)",
        "e": "(when it fails: a)",
        "x": "(when exhausted: b)",
        "u": "(compensates: a)",
        "m": "(depends on: a; only while it waits: b)",
    }


def test_progress_without_a_terminal_is_a_line_per_change() -> None:
    """What has not changed is not said again; what was never begun is not said at all; JSON says nothing."""
    pending = StepView(id="b", scope="", status=StepStatus.PENDING)
    running = StepView(id="a", scope="", status=StepStatus.RUNNING, attempts=1, started_at=at(0))
    done = StepView(id="a", scope="", status=StepStatus.SUCCEEDED, attempts=1, started_at=at(0), finished_at=at(2))
    err = io.StringIO()
    with Progress(Output(stderr=err)) as progress:
        for step in (running, running, done, done):
            progress.show(shown_run(run_row(RunStatus.RUNNING), [step, pending]))
    lines = err.getvalue().splitlines()
    assert lines[0] == "run_1 RUNNING"
    assert [line.split()[:3] for line in lines[1:]] == [["▸", "a", "RUNNING"], ["✓", "a", "SUCCEEDED"]]
    silent = io.StringIO()
    with Progress(Output(is_json=True, stderr=silent)) as progress:
        progress.show(shown_run(run_row(RunStatus.RUNNING), [running]))
    assert silent.getvalue() == ""


def test_progress_on_a_dumb_terminal_is_a_line_per_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing can be redrawn there: without its lines nothing would be seen."""
    monkeypatch.setenv("TERM", "dumb")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    running = StepView(id="a", scope="", status=StepStatus.RUNNING, attempts=1, started_at=at(0))
    with Progress(Output()) as progress:
        progress.show(shown_run(run_row(RunStatus.RUNNING), [running]))
    assert [line.split()[:2] for line in terminal.getvalue().splitlines()] == [["run_1", "RUNNING"], ["▸", "a"]]
