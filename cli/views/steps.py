"""Steps of a run as people see them: the last attempt of each node in each scope, and nodes that never began. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from click import style, unstyle

from ...api.reading.steps import NOT_REACHED
from ...api.wire.moments import at_of
from ...api.wire.steps import Step
from ...sdk.stores.status import StepStatus
from ..output import status_text
from ..texts import cut, duration_text
from .spending import spending_text

DONE = frozenset({StepStatus.SUCCEEDED, StepStatus.SKIPPED})
ENDED = DONE | {StepStatus.FAILED, StepStatus.CANCELLED}
STATUS_WIDTH = 10
TIME_WIDTH = 7
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_GLYPHS = {
    StepStatus.SUCCEEDED: ("✓", "green"),
    StepStatus.SKIPPED: ("-", None),
    StepStatus.FAILED: ("✗", "red"),
    StepStatus.CANCELLED: ("✗", "magenta"),
    StepStatus.WAITING: ("⊗", "yellow"),
    StepStatus.RETRYING: ("↻", "yellow"),
    StepStatus.PENDING: ("·", None),
    StepStatus.READY: ("·", "cyan"),
}


def label_of(step: Step) -> str:
    return f"{step.id} {step.scope}" if step.scope else step.id


def progress_text(steps: Sequence[Step]) -> str:
    """``3/5 complete``: those that succeeded, or were skipped before the run's end."""
    done = sum(step.status in DONE and step.reason != NOT_REACHED for step in steps)
    return f"{done:,}/{len(steps):,} complete"


def step_line(step: Step, now: datetime, *, width: int, label_width: int, frame: int | None = None) -> str:
    """One line: glyph, name, status, time, and what there is to say. frame: of the spinner, None: it stands."""
    head = f"{_glyph(step.status, frame)} {label_of(step).ljust(label_width)}  {status_text(str(step.status))}"
    time, note = _time(step, now), _note(step)
    if not time and not note:
        return head
    head += f"{' ' * (STATUS_WIDTH - len(step.status))}  {time.rjust(TIME_WIDTH)}"
    room = width - len(unstyle(head)) - 2
    return f"{head}  {style(cut(note, max(0, room)), dim=True)}" if note else head


def _glyph(status: StepStatus, frame: int | None) -> str:
    if status is StepStatus.RUNNING:
        return style(SPINNER[(frame or 0) % len(SPINNER)] if frame is not None else "▸", fg="cyan")
    sign, colour = _GLYPHS[status]
    return style(sign, fg=colour)


def _time(step: Step, now: datetime) -> str:
    if step.started_at is None or step.status is StepStatus.SKIPPED:
        return ""
    began = at_of(step.started_at)
    end = at_of(step.finished_at) if step.finished_at is not None else now if step.status not in ENDED else began
    # a step says that it has begun only after a while, so its handler may have taken longer than the events tell
    return duration_text(max((end - began).total_seconds(), (step.handler_ms or 0) / 1000))


def _note(step: Step) -> str:
    words = [f"attempt {step.attempts}"] if step.attempts > 1 else []
    if step.waiting_for:
        words.append(f"waiting for {step.waiting_for}")
    elif step.error:
        words.append(f"{step.error.type}: {step.error.message}")
    elif step.reason:
        words.append(step.reason.replace("_", " "))
    if step.models and step.usage and step.cost:
        words.append(f"{', '.join(step.models)}: {spending_text(step.usage, step.cost)}")
    return ", ".join(words)
