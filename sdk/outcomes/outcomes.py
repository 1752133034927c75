"""Outcomes: what became of one token, before the rules decide where the next ones go."""

from __future__ import annotations

import traceback as tracebacks
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TypeAlias

from ..events import ErrorInfo
from ..retry_after import RETRY_AFTER_MS_MAX
from ..sealing.sealing import seal_error
from ..secrets.redaction import REDACTOR
from .failures import FINAL, Failure, classify
from .step_context import StepError

OUTSIDE = "outside"
"""Why a step waits that was handed out."""
TYPE_MAX = 200
MESSAGE_MAX = 2_000
TRACEBACK_MAX = 8_000
"""Characters; the last frames are kept."""
PART_MAX = 1_000
OURS = frozenset({"courante", "anyio", "asyncio"})


@dataclass(frozen=True, slots=True)
class Succeeded:
    """``output``: JSON bytes."""

    output: bytes


@dataclass(frozen=True, slots=True)
class Cached:
    """An output that was kept is taken. ``output``: JSON bytes; ``kept``: these, or a reference to them.

    ``key``: what it was kept under; ``run_id``: of the run that made it. Where nothing looks into it, ``output`` may be
    the reference too.
    """

    output: bytes
    kept: bytes
    key: str
    run_id: str


@dataclass(frozen=True, slots=True)
class Opened:
    """A map has items. ``output``: their list as JSON bytes; ``count``: of the items, also those of before.

    ``more``: the signal that brings others, and how many ms it waits for that (None: without limit). ``refused``: how
    many were too many. ``early``: so many signals that have come since it was released are taken with its own.
    """

    output: bytes
    count: int
    more: tuple[str, int | None] | None = None
    refused: int = 0
    early: int = 0


@dataclass(frozen=True, slots=True)
class Skipped:
    """Its ``when`` was false."""

    reason: str = "condition_false"


@dataclass(frozen=True, slots=True)
class Failed:
    """``error``: what the log keeps. ``failure``: what decides on another try."""

    error: ErrorInfo
    failure: Failure = FINAL


@dataclass(frozen=True, slots=True)
class Parked:
    """Waits in the timers. ``due``: ``+ms`` from now, or a time in ms since the epoch."""

    due: str


@dataclass(frozen=True, slots=True)
class Waits:
    """Waits for a signal of one of ``names``. ``reason``: signal, approval, outside, child. Times in ms, None: without.

    ``said``: what else the log is to say, ``payload``: and of what payload. None but for a child run.
    """

    reason: str
    names: tuple[str, ...]
    expires_ms: int | None = None
    escalates_ms: int | None = None
    said: Mapping[str, object] = field(default_factory=dict[str, object])
    payload: bytes | None = None


@dataclass(frozen=True, slots=True)
class AsksMutex:
    """Waits until no other token of the run holds the mutex of its node."""


@dataclass(frozen=True, slots=True)
class AsksSlot:
    """Waits until fewer than ``limit`` tokens of all runs hold a slot of that name. ``fair``: whose turn it is."""

    name: str
    limit: int
    fair: str = ""


@dataclass(frozen=True, slots=True)
class AsksPace:
    """Waits until the bucket of that name has a token for it: ``limit`` of them, full again within ``per_ms``."""

    name: str
    limit: int
    per_ms: int


@dataclass(frozen=True, slots=True)
class AsksBudget:
    """Waits until what a call can take at most is reserved. ``cost``: in billionths of the budget's currency."""

    tokens: int
    cost: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """This worker cannot run it, or not now: whoever comes first may, after ``delay_ms``."""

    delay_ms: int


Outcome: TypeAlias = (
    Succeeded
    | Cached
    | Opened
    | Skipped
    | Failed
    | Parked
    | Waits
    | AsksMutex
    | AsksSlot
    | AsksPace
    | AsksBudget
    | GivenBack
)


def failed(
    error: BaseException, node: str, attempt: int, worker: str, *, retry_after_ms_max: int = RETRY_AFTER_MS_MAX
) -> Failed:
    """Return the outcome of an attempt that ended in an exception.

    In its texts secrets are masked; they are cut, made valid UTF-8, and encrypted where payloads are.
    """
    failure = classify(error, retry_after_ms_max=retry_after_ms_max)
    code = error.type if isinstance(error, StepError) else ""
    REDACTOR.reread()
    info = ErrorInfo(
        type=_clean(code or type(error).__name__, TYPE_MAX),
        message=_clean(REDACTOR.redact(text_of(error)), MESSAGE_MAX),
        kind=failure.kind,
        failure_class=failure.name,
        node=node,
        attempt=attempt,
        worker=worker,
        traceback="" if code else _traceback_of(error),
    )
    return Failed(seal_error(info), failure)


def _traceback_of(error: BaseException) -> str:
    """Return the end of the traceback, without our own frames above the step's.

    Only what is kept of it is read for secrets, before anything is cut.
    """
    kept: list[str] = []
    room = TRACEBACK_MAX
    for part in reversed(tracebacks.format_exception(type(error), error, _begin_of_step(error.__traceback__))):
        kept.append(_shortened(REDACTOR.redact(part)))
        room -= len(kept[-1])
        if room <= 0:
            break
    return _clean("".join(reversed(kept))[-TRACEBACK_MAX:], TRACEBACK_MAX)


def _begin_of_step(whole: TracebackType | None) -> TracebackType | None:
    """The first frame that is neither ours nor of what we call a step with; all of them where there is no such one."""
    at = whole
    while at is not None and str(at.tb_frame.f_globals.get("__name__")).partition(".")[0] in OURS:
        at = at.tb_next
    return at or whole


def _shortened(part: str) -> str:
    """One frame or message of a traceback: a long message must not push the frames out."""
    return part if len(part) <= PART_MAX else f"{part[:PART_MAX]}...\n"


def text_of(error: BaseException) -> str:
    """Return what an exception says; its ``__str__`` is user code too."""
    try:
        return str(error)
    except Exception as second:  # noqa: BLE001 - whatever it raises, the worker lives on
        return f"(its text cannot be had: {type(second).__name__})"


def _clean(text: str, limit: int) -> str:
    return text[:limit].encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
