"""A held attempt: one step that a worker has under way, and what has ended it from outside.

All times are of this process' monotonic clock: only durations are measured with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import TYPE_CHECKING, TypeVar

import anyio

from ..sdk.authoring.cancellation import Cancellation, CancelReason
from ..sdk.outcomes.step_context import StepError
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS

if TYPE_CHECKING:
    import asyncio

    from ..compiler.ir import Node

T = TypeVar("T")


class Ending(Enum):
    """Why an attempt was ended from outside, and what its handler is told."""

    LOST = CancelReason.LEASE_LOST
    """Its token is another worker's, or gone: nothing of it counts."""
    DRAINED = CancelReason.CANCELLED
    """Its run drains."""
    OVERDUE = CancelReason.TIMED_OUT
    SILENT = "silent"
    """It has not shown a sign of life for too long."""
    GIVEN_BACK = CancelReason.STOPPING
    """This worker stops."""


def too_long(ending: Ending, node: Node) -> StepError | None:
    """Return the error of an attempt that has taken too long, None for the other endings."""
    if ending is Ending.OVERDUE:
        return StepError("TIMEOUT", f"the attempt took longer than {node.timeout_ms} ms")
    if ending is Ending.SILENT:
        return StepError("HEARTBEAT_TIMEOUT", f"silent for {node.heartbeat_timeout_ms} ms")
    return None


class HeldAttempt:
    """One attempt under way: ``Context.held_by``. ``report`` and ``tell`` are for any thread, all else is for the loop.

    ``started_at``, ``ends_at`` (never: infinite), ``beaten_at``: its last heartbeat; ``told_at``: when its handler was
    asked to end; ``ended_at``: when it was cancelled. ``task``: what it runs in. ``is_left``: it does not end for all
    that, and nothing of it counts any more. ``details``: of its last heartbeat, as they are stored, where they were not
    sent yet. ``last_report``: those of the attempt before, as JSON. ``has_report``: the run may have details of this
    attempt.
    """

    __slots__ = (
        "_inner",
        "_outer",
        "beaten_at",
        "cancellation",
        "details",
        "ended_at",
        "ending",
        "ends_at",
        "has_report",
        "is_announced",
        "is_left",
        "last_report",
        "send",
        "started_at",
        "task",
        "told_at",
    )

    def __init__(self, send: Callable[[], None], last_report: bytes | None) -> None:
        self.cancellation = Cancellation()
        self.last_report = last_report
        self.has_report = last_report is not None
        self.details = b""
        self.send = send
        self.started_at = self.beaten_at = time.monotonic()
        self.ends_at = self.told_at = self.ended_at = math.inf
        self.is_announced = self.is_left = False
        self.ending: Ending | None = None
        self.task: asyncio.Task[None] | None = None
        self._outer, self._inner = anyio.CancelScope(), anyio.CancelScope()

    @property
    def is_given_back(self) -> bool:
        """Whether another worker goes on with the attempt, if it does not end well now."""
        is_stopping = self.ending is None and self.cancellation.told is CancelReason.STOPPING
        return is_stopping or self.ending is Ending.GIVEN_BACK

    async def run(self, call: Callable[[], Awaitable[T]], is_over: Callable[[], bool]) -> T | BaseException | None:
        """Return what the attempt comes to or raises, None where it was ended. is_over: whether its lane is, too."""
        try:
            with self._outer, self._inner:
                return await call() if self.ending is None else None
        except anyio.get_cancelled_exc_class() as error:
            if is_over():
                raise
            return error  # the step's own doing: it awaited something that was cancelled
        except (Exception, SystemExit, GeneratorExit) as error:  # noqa: BLE001 - user code raises anything, also sys.exit()
            return error
        return None

    def leave(self) -> None:
        """Do not cancel it any more, which would be done in each turn of the loop."""
        self.is_left = True
        self._inner.shield = True

    def report(self, details: bytes) -> None:
        """Take a heartbeat. Its details travel with the next renewal, within about a second; null is none."""
        self.beaten_at = time.monotonic()
        if details != b"null":
            self.has_report = True
            self.details = PAYLOAD_TERMS.encode(details)
            self.send()

    def end(self, ending: Ending) -> None:
        """Cancel it. The first reason counts, but that a lost one is lost."""
        if self.ended_at == math.inf:
            self.ended_at = time.monotonic()
        if self.ending is None or ending is Ending.LOST:
            self.ending = ending
        reason = CancelReason.TIMED_OUT if ending is Ending.SILENT else CancelReason(ending.value)
        self.cancellation.set(reason)
        self._outer.cancel()

    def tell(self, reason: CancelReason) -> None:
        """Ask its handler to end by itself."""
        if self.cancellation.told is None:
            self.told_at = time.monotonic()
            self.cancellation.set(reason)
