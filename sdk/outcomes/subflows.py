"""Subflows: a step that is a run of another workflow, its child run. What both sides know of each other. Pure.

The step parks and waits for one private signal per attempt; the log says so, with the child's input. From that the
supervisor starts the child, whose id follows from the step, and its end comes back as the command ``child_ended``.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from ..events import ErrorInfo
from ..marking.marking import EXPIRED
from .outcomes import Outcome, Succeeded
from .step_context import StepContext, StepError, encode_json

CHILD = "child"
"""Why a step waits that has a child run; and why that was started."""
ERROR_CHARS_MAX, ERROR_HEAD_CHARS = 1_000, 300


class ChildStatus(StrEnum):
    """How a child run ended; or, of one that is not waited for, that it was accepted; or that it was refused."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"
    STARTED = "STARTED"
    REFUSED = "REFUSED"


class ChildEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the step is told. ``output``: of a run that COMPLETED; ``error``: why another one did not."""

    run_id: str
    status: ChildStatus
    output: Any = None
    error: str = ""


_CODES = {
    ChildStatus.FAILED: "SUBFLOW_FAILED",
    ChildStatus.CANCELLED: "SUBFLOW_CANCELLED",
    ChildStatus.TIMED_OUT: "SUBFLOW_TIMED_OUT",
    ChildStatus.REFUSED: "SUBFLOW_REFUSED",
}


def told_of(error: ErrorInfo | None, status: str) -> str:
    """Why a child run did not complete, in a line: its step, and the error of that.

    A long one lacks its middle: where runs stand below runs, what went wrong at first comes last.
    """
    if error is None:
        return f"the run is {status}"
    place = f"step {error.node}: " if error.node else ""
    text = f"{place}{error.type}: {error.message}"
    left = len(text) - ERROR_CHARS_MAX
    return text if left <= 0 else f"{text[:ERROR_HEAD_CHARS]} ... {text[ERROR_HEAD_CHARS + left + 5 :]}"


def too_deep(depth: int, most: int) -> str:
    """Why a run is refused above which too many stand; nothing where they are not too many."""
    return f"{depth} runs stand above it; at most {most} may (subflow_depth_max)" if depth > most else ""


def hear_child(step: StepContext, word: str) -> Outcome | None:
    """Return what comes of the step by what became of its child run, None where it has not asked for one yet.

    word: why its token came back. Raises StepError.
    """
    if not word:
        return None
    if word == EXPIRED:
        raise StepError("TIMEOUT", f"its child run has not ended within {step.node.timeout_ms} ms")
    end = msgspec.convert(step.released_value, ChildEnd)
    if end.status is ChildStatus.COMPLETED:
        return Succeeded(encode_json(end.output))
    if end.status is ChildStatus.STARTED:
        return Succeeded(encode_json({"run_id": end.run_id}))
    told = end.error if end.status is ChildStatus.REFUSED else f"{end.run_id}: {end.error}"
    raise StepError(_CODES[end.status], told)
