"""A run as people see it: read in a few queries, shown as lines or as one JSON object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from click import style

from ..compiler.ir import Ir, decode_ir
from ..sdk.spending.spent import Spent
from ..sdk.stores.alerts import Alert, list_alerts
from ..sdk.stores.approvals import list_approvals
from ..sdk.stores.children import ChildRow, ParentRow, children_of, parents_of
from ..sdk.stores.connection import Connection
from ..sdk.stores.errors import UnknownRun
from ..sdk.stores.payloads import event_payload
from ..sdk.stores.runs import RunRow, get_run, list_steps
from ..sdk.stores.spending import spending_of_attempts, spending_of_runs
from ..sdk.stores.status import StepStatus
from ..sdk.stores.traces import list_traces
from ..sdk.stores.workflows import get_ir
from .approvals_view import ApprovalView, approval_view, asking_line
from .child_runs_view import child_json, child_lines, parent_json, parent_line
from .output import status_text
from .spending_view import cost_json, spending_text, usage_json
from .steps_view import ENDED, StepView, progress_text, step_line, step_views
from .texts import age_text, count_text, cut_lines, duration_text, iso
from .traces_view import trace_lines, traced_nodes

LABEL_MAX = 32


@dataclass(frozen=True)
class RunView:
    """``output``: None until the run is COMPLETED. ``approvals``: decisions that it waits for.

    ``alerts``: what only a person can change. ``parent``: the step that the run is; ``children``: the runs that are
    steps of it. ``spent``: by calls of models, by currency.
    """

    run: RunRow
    steps: list[StepView]
    output: Any = None
    approvals: Sequence[ApprovalView] = ()
    alerts: Sequence[Alert] = ()
    parent: ParentRow | None = None
    children: Sequence[ChildRow] = ()
    ir: Ir | None = None
    spent: Sequence[Spent] = ()

    @property
    def is_final(self) -> bool:
        return self.run.status.is_final

    def result(self) -> dict[str, object]:
        """What ``courante run`` gives."""
        run = self.run
        return {
            "run_id": run.run_id,
            "status": str(run.status),
            "output": self.output,
            "error": None if run.error is None else msgspec.to_builtins(run.error),
            "started_at": iso(run.started_at),
            "finished_at": iso(run.finished_at),
        }

    def to_json(self) -> dict[str, object]:
        """What ``courante status`` gives."""
        return {
            **self.result(),
            "steps": [step.to_json() for step in self.steps],
            "parent": parent_json(self.parent),
            "children": [child_json(child, self.ir) for child in self.children],
            "alerts": [{"kind": str(a.kind), "message": a.message, "since": iso(a.since)} for a in self.alerts],
            "usage": usage_json(self.spent),
            "cost": cost_json(self.spent),
        }


class RunReader:
    """Reads one run again and again; its IR only once."""

    def __init__(self, conn: Connection, env: str, run_id: str) -> None:
        self._conn = conn
        self._env = env
        self._run_id = run_id
        self._ir: Ir | None = None

    async def read(self, *, with_traces: bool = False) -> RunView:
        """with_traces: what its tools were called with, and gave. Raises UnknownRun."""
        run = await get_run(self._conn, self._run_id)
        if run.env != self._env:
            raise UnknownRun(self._run_id)
        if self._ir is None:
            content = await get_ir(self._conn, self._env, run.ir_hash)
            self._ir = None if content is None else decode_ir(content)
        rows = await list_steps(self._conn, self._run_id)
        output: Any = None
        if run.status.is_final and run.output_seq is not None and run.error is None:
            payload = await event_payload(self._conn, self._env, self._run_id, run.output_seq)
            output = None if payload is None else msgspec.json.decode(payload)
        asking = any(row.status is StepStatus.WAITING and row.reason == "approval" for row in rows)
        found = await list_approvals(self._conn, self._env, run_id=self._run_id) if asking else []
        views = [approval_view(each, self._ir) for each in found]
        alerts = [] if run.status.is_final else await list_alerts(self._conn, self._env, subject=self._run_id)
        parents = await parents_of(self._conn, [self._run_id])
        children = await children_of(self._conn, self._run_id)
        traced = traced_nodes(self._ir) if with_traces else []
        traces = await list_traces(self._conn, self._env, self._run_id, traced)
        spent = (await spending_of_runs(self._conn, [self._run_id])).get(self._run_id, [])
        by_step: dict[tuple[str, str], list[Spent]] = {}
        for one in await spending_of_attempts(self._conn, self._run_id) if spent else ():
            by_step.setdefault((one.node, one.scope), []).append(one.spent)
        steps = step_views(run, self._ir, rows, traces, by_step)
        return RunView(run, steps, output, views, alerts, parents.get(self._run_id), children, self._ir, spent)


def head_lines(view: RunView, now: datetime) -> list[str]:
    """Run, workflow, status, progress."""
    run = view.run
    lines = [
        f"{style('run', bold=True)}       {run.run_id}",
        f"{style('workflow', bold=True)}  {run.workflow} version {run.version}",
        f"{style('status', bold=True)}    {status_text(str(run.status))}{_when(run, now)}",
        f"{style('steps', bold=True)}     {progress_text(view.steps)}",
    ]
    if view.parent is not None:
        lines.append(f"{style('parent', bold=True)}    {parent_line(view.parent)}")
    if view.spent:
        lines.append(f"{style('spent', bold=True)}     {spending_text(view.spent)}")
    if run.tags:
        lines.append(f"{style('tags', bold=True)}      {', '.join(run.tags)}")
    if run.is_halted:
        lines.append(style("halted: the log and the rules disagree; see 'courante replay --verify'", fg="red"))
    return lines


def step_lines(view: RunView, now: datetime, *, width: int, rows_max: int, frame: int | None = None) -> list[str]:
    """A line per step; where there are too many, those that are under way or have failed come first."""
    steps = view.steps
    if len(steps) > rows_max:
        steps = sorted(steps, key=_urgency)[: max(1, rows_max - 1)]
    label_width = min(LABEL_MAX, max((len(step.label) for step in steps), default=0))
    lines = [step_line(step, now, width=width, label_width=label_width, frame=frame) for step in steps]
    if len(view.steps) > len(steps):
        lines.append(style(f"  and {count_text(len(view.steps) - len(steps), 'more step')}", dim=True))
    return lines


def call_lines(view: RunView, width: int) -> list[str]:
    """A line for each call of a tool."""
    return trace_lines([(step.label, step.trace) for step in view.steps if step.trace is not None], width)


def outcome_lines(view: RunView) -> list[str]:
    """The output, or why there is none."""
    run = view.run
    if run.error is not None:
        place = f"step {run.error.node}: " if run.error.node else ""
        text = cut_lines(f"{place}{run.error.type}: {run.error.message}")
        return [f"{style('error:', fg='red', bold=True)} {text}"]
    if run.status == "COMPLETED":
        return [json.dumps(view.output, ensure_ascii=False, indent=2)]
    return [f"{style('reason:', bold=True)} {run.drain_reason}"] if run.drain_reason else []


def children_lines(view: RunView) -> list[str]:
    """A line for each run that is a step of it."""
    return child_lines(list(view.children), view.ir)


def approval_lines(view: RunView, now: datetime) -> list[str]:
    """A line for each decision that the run waits for."""
    return [f"{style('decision:', fg='yellow', bold=True)} {asking_line(each, now)}" for each in view.approvals]


def alert_lines(view: RunView) -> list[str]:
    """A line for each alert about the run."""
    return [f"{style('alert:', fg='red', bold=True)} {alert.message} [{alert.kind}]" for alert in view.alerts]


def _when(run: RunRow, now: datetime) -> str:
    if run.started_at is None:
        return f", accepted {age_text((now - run.created_at).total_seconds())}"
    age = f", started {age_text((now - run.started_at).total_seconds())}"
    seconds = ((run.finished_at or now) - run.started_at).total_seconds()
    return f"{age}, {'took' if run.finished_at else 'so far'} {duration_text(seconds)}"


_ORDER = [StepStatus.FAILED, StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.WAITING, StepStatus.READY]


def _urgency(step: StepView) -> tuple[int, float]:
    """Failures and what is under way first, then what ended last, then what is to come."""
    if step.status in _ORDER:
        return _ORDER.index(step.status), 0.0
    if step.status in ENDED and step.finished_at is not None:
        return len(_ORDER), -step.finished_at.timestamp()
    return len(_ORDER) + 1, 0.0


def utc_now() -> datetime:
    return datetime.now(UTC)
