"""Outcomes: what became of one token, before the rules decide where the next ones go."""

from __future__ import annotations

import traceback as tracebacks
from dataclasses import dataclass
from typing import TypeAlias

from ..sdk.events import ErrorInfo
from ..sdk.step_context import StepError

TYPE_MAX = 200
MESSAGE_MAX = 2_000
TRACEBACK_MAX = 8_000
"""Characters; the last frames are kept."""
PART_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Succeeded:
    """``output``: JSON bytes."""

    output: bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    """Its ``when`` was false."""

    reason: str = "condition_false"


@dataclass(frozen=True, slots=True)
class Failed:
    error: ErrorInfo


@dataclass(frozen=True, slots=True)
class Parked:
    """Waits in the timers. ``due``: ``+ms`` from now, or a time in ms since the epoch."""

    due: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """This worker cannot run it; another may, after ``delay_ms``."""

    delay_ms: int


Outcome: TypeAlias = Succeeded | Skipped | Failed | Parked | GivenBack


def describe(error: BaseException, node: str, attempt: int, worker: str) -> ErrorInfo:
    """Return what the log keeps of an exception; texts are cut and made valid UTF-8."""
    if isinstance(error, StepError):
        return ErrorInfo(
            type=_clean(error.type, TYPE_MAX),
            message=_clean(str(error), MESSAGE_MAX),
            node=node,
            attempt=attempt,
            worker=worker,
        )
    frames = "".join(_shortened(part) for part in tracebacks.format_exception(error))
    return ErrorInfo(
        type=_clean(type(error).__name__, TYPE_MAX),
        message=_clean(_text_of(error), MESSAGE_MAX),
        node=node,
        attempt=attempt,
        worker=worker,
        traceback=_clean(frames[-TRACEBACK_MAX:], TRACEBACK_MAX),
    )


def _shortened(part: str) -> str:
    """One frame or message of a traceback: a long message must not push the frames out."""
    return part if len(part) <= PART_MAX else f"{part[:PART_MAX]}...\n"


def _text_of(error: BaseException) -> str:
    """Return what an exception says; its ``__str__`` is user code too."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - whatever it raises, the worker lives on
        return f"(its text cannot be had: {type(second).__name__})"


def _clean(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
