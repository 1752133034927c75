"""Scripts: what people outside do during a rehearsal, and what handlers answer from try to try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..compiler.durations import parse_duration

Kind = Literal[
    "cancel", "pause", "resume", "signal", "approve", "reject", "complete", "fail", "cancel_step", "force_succeed",
    "force_skip", "child_ended",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Say:
    """One command; ``child_ended`` is for a rehearsal itself.

    ``step``, ``scope`` (as the log has it): which step it is about; ``name``: of a signal. ``data``: of a signal or a
    decision, and the output of a step that is completed or forced.
    """

    kind: Kind
    step: str = ""
    scope: str = ""
    name: str = ""
    data: Any = None
    by: str = "test"
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Cue:
    """``say`` comes ``ms`` after the beginning of the run or, with ``step``, after that step began to wait."""

    say: Say
    ms: int
    step: str = ""


def after(duration: str | float, say: Say) -> Cue:
    """Say it so long after the beginning of the run: ``"10m"``, or seconds. Raises ValueError."""
    return Cue(say=say, ms=_ms(duration))


def when_waiting(step: str, say: Say, *, delay: str | float = 0) -> Cue:
    """Say it so long after ``step`` has begun to wait for a person, a signal or somebody outside; each time anew."""
    return Cue(say=say, ms=_ms(delay), step=step)


@dataclass(frozen=True)
class Attempts:
    """See ``attempts``."""

    outcomes: tuple[Any, ...] = field(default=())

    def __call__(self, attempt: int) -> Any:
        return self.outcomes[min(attempt, len(self.outcomes)) - 1]


def attempts(*outcomes: Any) -> Attempts:
    """What a step comes to at its first try, its second ...; the last one stays. Exceptions are raised."""
    if not outcomes:
        raise ValueError("attempts() needs at least one outcome")
    return Attempts(outcomes)


Mock = Callable[..., Any] | Attempts | BaseException | Any
"""A function as a step has it, ``attempts(...)``, an exception that is raised, or else the output itself."""


def _ms(duration: str | float) -> int:
    ms = parse_duration(duration)
    if ms is None:
        raise ValueError(f"{duration!r} is no duration like 250ms, 30s, 10m or 2d")
    return ms
