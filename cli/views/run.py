"""A run as people see it, in lines. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from click import style

from ...api.wire.moments import Moment, at_of
from ...api.wire.runs import RunShown
from ...api.wire.steps import Step
from ...sdk.stores.status import RunStatus, StepStatus
from ..output import status_text
from ..texts import age_text, count_text, cut_lines, duration_text, printable
from .approvals import asking_line
from .child_runs import child_lines, parent_line
from .spending import spending_text
from .steps import ENDED, label_of, progress_text, step_line
from .traces import trace_lines

LABEL_MAX = 32


def head_lines(run: RunShown, now: datetime) -> list[str]:
    """Run, workflow, status and who started it, progress; the run that it goes on from."""
    lines = [
        f"{style('run', bold=True)}       {run.run_id}",
        f"{style('workflow', bold=True)}  {run.workflow} version {run.version}",
        f"{style('status', bold=True)}    {status_text(str(run.status))}{_when(run, now)}",
        f"{style('steps', bold=True)}     {progress_text(run.steps)}",
    ]
    if run.base_run_id is not None:
        lines.append(f"{style('base', bold=True)}      {run.base_run_id}, of which it is a {run.trigger}")
    if run.parent is not None:
        lines.append(f"{style('parent', bold=True)}    {parent_line(run.parent)}")
    if spent := spending_text(run.usage, run.cost):
        lines.append(f"{style('spent', bold=True)}     {spent}")
    if run.tags:
        lines.append(f"{style('tags', bold=True)}      {', '.join(run.tags)}")
    if run.forgotten is not None:
        by = f" by {run.forgotten.by}" if run.forgotten.by else ""
        why = f": {run.forgotten.reason}" if run.forgotten.reason else ""
        at = run.forgotten.at
        lines.append(f"{style('forgotten', bold=True)} {at}{by}{why}; its values are gone")
    if run.archived is not None:
        where = f"moved to {run.archived.path or 'an archive'}" if run.archived.is_kept else "deleted"
        lines.append(f"{style('archived', bold=True)}  its log was {where} by retention, {run.archived.at}")
    if run.is_halted:
        lines.append(style("halted: the log and the rules disagree; see 'courante replay --verify'", fg="red"))
    return lines


def step_lines(run: RunShown, now: datetime, *, width: int, rows_max: int, frame: int | None = None) -> list[str]:
    """A line per step; where there are too many, those that are under way or have failed come first."""
    steps = run.steps
    if len(steps) > rows_max:
        steps = sorted(steps, key=_urgency)[: max(1, rows_max - 1)]
    label_width = min(LABEL_MAX, max((len(label_of(step)) for step in steps), default=0))
    lines = [step_line(step, now, width=width, label_width=label_width, frame=frame) for step in steps]
    if len(run.steps) > len(steps):
        lines.append(style(f"  and {count_text(len(run.steps) - len(steps), 'more step')}", dim=True))
    return lines


def call_lines(run: RunShown, width: int) -> list[str]:
    """A line for each call of a tool."""
    return trace_lines([(label_of(step), step.trace) for step in run.steps if step.trace], width)


def outcome_lines(run: RunShown) -> list[str]:
    """The output, or why there is none."""
    if run.error is not None:
        place = f"step {run.error.node}: " if run.error.node else ""
        text = cut_lines(f"{place}{run.error.type}: {run.error.message}")
        return [f"{style('error:', fg='red', bold=True)} {text}"]
    if run.status == "COMPLETED" and (run.forgotten is not None or run.archived is not None):
        return []
    if run.status == "COMPLETED":
        return [json.dumps(run.output, ensure_ascii=False, indent=2)]
    return [f"{style('reason:', bold=True)} {run.reason}"] if run.reason else []


def children_lines(run: RunShown) -> list[str]:
    """A line for each run that is a step of it."""
    return child_lines(run.children)


def approval_lines(run: RunShown, now: datetime) -> list[str]:
    """A line for each decision that the run waits for."""
    return [f"{style('decision:', fg='yellow', bold=True)} {asking_line(each, now)}" for each in run.approvals]


def alert_lines(run: RunShown) -> list[str]:
    """A line for each alert about the run."""
    return [f"{style('alert:', fg='red', bold=True)} {alert.message} [{alert.kind}]" for alert in run.alerts]


def _when(run: RunShown, now: datetime) -> str:
    who = " ".join(printable(run.by or "").split())
    if run.started_at is None:
        age = f", accepted {age_text((now - at_of(run.created_at)).total_seconds())}"
        return f"{age} from {who}" if who else age
    age = f", started {age_text((now - at_of(run.started_at)).total_seconds())}{f' by {who}' if who else ''}"
    return f"{age}, {'took' if run.finished_at else 'so far'} {took_text(run.started_at, run.finished_at, now)}"


def took_text(started_at: Moment, finished_at: Moment | None, now: datetime) -> str:
    """How long it has taken, until now where it goes on."""
    end = now if finished_at is None else at_of(finished_at)
    return duration_text((end - at_of(started_at)).total_seconds())


_ORDER = [StepStatus.FAILED, StepStatus.RUNNING, StepStatus.RETRYING, StepStatus.WAITING, StepStatus.READY]


def _urgency(step: Step) -> tuple[int, float]:
    """Failures and what is under way first, then what ended last, then what is to come."""
    if step.status in _ORDER:
        return _ORDER.index(step.status), 0.0
    if step.status in ENDED and step.finished_at is not None:
        return len(_ORDER), -at_of(step.finished_at).timestamp()
    return len(_ORDER) + 1, 0.0


def utc_now() -> datetime:
    return datetime.now(UTC)


def following_command(run: RunShown) -> str:
    """The command that a person is likely to want next; nothing after a run that went well."""
    if run.error is not None and run.error.node and run.is_final:
        return f"courante dlq show {run.run_id}"
    if run.error is not None and run.error.type == "OUTPUT_ERROR":
        return f"courante events {run.run_id}"
    if run.is_final:
        return "" if run.status is RunStatus.COMPLETED else f"courante retry {run.run_id}"
    if run.approvals:
        return f"courante approve {run.run_id}{f' {run.approvals[0].step}' if len(run.approvals) > 1 else ''}"
    if any(step.waiting_for == "budget" for step in run.steps):
        return f"courante budget {run.run_id} --add-tokens N, or --add-cost AMOUNT"
    return (
        f"courante resume {run.run_id}" if run.status is RunStatus.PAUSED else f"courante status {run.run_id} --watch"
    )
