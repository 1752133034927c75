"""A run as people see it, in lines. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from click import style

from ..api.reading.runs import RunView
from ..api.reading.steps import StepView
from ..sdk.stores.runs import RunRow
from ..sdk.stores.status import StepStatus
from .approvals_view import asking_line
from .child_runs_view import child_lines, parent_line
from .output import status_text
from .spending_view import spending_text
from .steps_view import ENDED, progress_text, step_line
from .texts import age_text, count_text, cut_lines, duration_text, iso
from .traces_view import trace_lines

LABEL_MAX = 32


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
    if view.forgotten is not None:
        by = f" by {view.forgotten.by}" if view.forgotten.by else ""
        why = f": {view.forgotten.reason}" if view.forgotten.reason else ""
        at = iso(view.forgotten.forgotten_at)
        lines.append(f"{style('forgotten', bold=True)} {at}{by}{why}; its values are gone")
    if view.archived is not None:
        where = f"moved to {view.archived.path}" if view.archived.path else "deleted"
        lines.append(f"{style('archived', bold=True)}  its log was {where} by retention, {iso(view.archived.at)}")
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
    if run.status == "COMPLETED" and (view.forgotten is not None or view.archived is not None):
        return []
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
