"""Attempts: the steps that a worker has under way, and what ends them before they end by themselves.

Async handlers are cancelled. Plain ones in threads cannot be: they are abandoned, and what they return is void. So are
async ones that do not end though they are cancelled.
All times are of this process' monotonic clock: only durations are measured with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import structlog

from ..sdk.authoring.cancellation import CancelReason
from ..sdk.errors import PayloadUnreadable
from ..sdk.outcomes.step_context import StepError
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS
from .held_attempts import Ending, HeldAttempt
from .leases import Lease

if TYPE_CHECKING:
    import asyncio

    from ..sdk.keys import PartitionKeys
    from .work import Work

STARTED_AFTER_S = 0.1
"""An attempt that runs longer says so with an event of its own."""
LATE = (Ending.OVERDUE, Ending.SILENT, Ending.DRAINED)
"""What a handler may be told without hearing of it."""
UNWIND_S = 4.0
"""How long an attempt that is cancelled may take to end: less than a worker that stops waits for the last of them."""
log = structlog.get_logger()


class Attempts:
    """The attempts of one lane. Touched by the loop alone, but for what says that it may be called from any thread."""

    def __init__(self, partition: PartitionKeys, *, cancel_grace_s: float, send: Callable[[], None]) -> None:
        self._partition = partition
        self._cancel_grace_s = cancel_grace_s
        self._send = send
        self._running: dict[tuple[str, str, str], Work] = {}
        self._is_stopping = self._gives_back = False

    def begin(self, work: Work) -> HeldAttempt:
        """Note an attempt, and when its time is up. In a worker that stops it is told so, or ends at once.

        Raises StepError where the last report cannot be read.
        """
        try:
            last_report = None if work.last_report is None else PAYLOAD_TERMS.decode(work.last_report)
        except PayloadUnreadable as error:
            raise StepError("PAYLOAD_MISSING", f"the details of the last heartbeat cannot be read: {error}") from error
        held = work.held = HeldAttempt(self._send, last_report)
        work.partition = self._partition
        if work.node.timeout_ms is not None:
            held.ends_at = (work.received_at or held.started_at) + work.node.timeout_ms / 1000
        self._running[work.run_id, work.key, work.fence] = work
        if self._gives_back:
            held.end(Ending.GIVEN_BACK)
        elif self._is_stopping:
            held.tell(CancelReason.STOPPING)
        return held

    def finish(self, work: Work) -> None:
        self._running.pop((work.run_id, work.key, work.fence), None)

    def find(self, run_id: str, key: str, fence: str) -> Work | None:
        """Return the work at a token, if it is this token and not a later one of its place. From any thread."""
        return self._running.get((run_id, key, fence))

    def lease_of(self, token: list[bytes]) -> Lease:
        """Return the lease of a token as it was delivered. From any thread."""
        run_id, key, fence = token[2].decode(), token[3].decode(), token[6].split(b"|", 1)[0].decode()
        work = self.find(run_id, key, fence)
        timeout_ms = work.node.timeout_ms if work is not None else None
        due_ms = work.now_ms + timeout_ms if work is not None and timeout_ms is not None else 0
        details = work.held.details if work is not None and work.held is not None else b""
        return Lease(run_id, key, fence, int(token[0]), token[1].decode(), due_ms, details)

    def hear(self, lease: Lease, verdict: str) -> None:
        """Do what a renewal says (lua/renew_leases.lua). Where no attempt is under way, the transition will tell."""
        work = self.find(lease.run_id, lease.key, lease.fence)
        if work is None or work.held is None:
            return
        if verdict in "ADM" and work.held.details is lease.details:
            work.held.details = b""
        if verdict == "O":
            work.held.end(Ending.OVERDUE)
        elif verdict in "SE":
            if work.held.ending is not Ending.LOST:
                log.warning("lease_lost", run_id=work.run_id, token=work.key, verdict=verdict)
            work.held.end(Ending.LOST)

    def tell_drained(self, lease: Lease) -> None:
        """Say to a handler that its run drains, or its map is closed. From any thread: who blocks the loop may look."""
        work = self.find(lease.run_id, lease.key, lease.fence)
        if work is not None and work.held is not None:
            work.held.tell(CancelReason.CANCELLED)

    def tell_stopping(self) -> None:
        """Say to all handlers that this worker stops: who can end early is given to another."""
        self._is_stopping = True
        for _, held in self._held():
            held.tell(CancelReason.STOPPING)

    def give_back(self) -> None:
        """End all, also those that begin from now on."""
        self._gives_back = True
        for _, held in self._held():
            held.end(Ending.GIVEN_BACK)

    def tend(self) -> Iterator[Work]:
        """End what is overdue by now; return what runs for so long that the log shall know."""
        now = time.monotonic()
        for work, held in self._held():
            ending = self._due(work, held, now)
            if ending is not None:
                held.end(ending)
            if not held.is_announced and held.started_at < now - STARTED_AFTER_S:
                held.is_announced = True
                yield work

    def late(self, grace_s: float) -> list[tuple[Work, HeldAttempt, Ending]]:
        """Return those that should have ended so long ago, and why, but for those that are lost. From any thread."""
        then = time.monotonic() - grace_s
        found = [(work, held, held.ending or self._due(work, held, then)) for work, held in self._held()]
        return [
            (work, held, ending)
            for work, held, ending in found
            if ending in LATE and (held.ending is None or held.ended_at < then)
        ]

    def lose(self, work: Work) -> None:
        """Cancel what counts no more, if it is still under way."""
        held = work.held if self.find(work.run_id, work.key, work.fence) is work else None
        if held is not None:
            held.end(Ending.LOST)

    def in_task(self, task: asyncio.Task[Any] | None) -> Work | None:
        """Return the work whose attempt runs in a task. From any thread."""
        return next((work for work, held in self._held() if held.task is task is not None), None)

    def _due(self, work: Work, held: HeldAttempt, now: float) -> Ending | None:
        """Return why an attempt should have ended by then, None where it has time."""
        if held.cancellation.told is CancelReason.CANCELLED and now > held.told_at + self._cancel_grace_s:
            return Ending.DRAINED
        if now > held.ends_at:
            return Ending.OVERDUE
        silent_ms = work.node.heartbeat_timeout_ms
        if silent_ms is not None and now > held.beaten_at + silent_ms / 1000:
            return Ending.SILENT
        return None

    def left_behind(self) -> Iterator[tuple[Work, HeldAttempt]]:
        """Give up those that should have ended by now, and return them."""
        until = time.monotonic() - UNWIND_S
        for work, held in self._held():
            if held.ended_at < until:
                held.leave()
                self.finish(work)
                yield work, held

    def _held(self) -> list[tuple[Work, HeldAttempt]]:
        return [(work, work.held) for work in self._running.copy().values() if work.held is not None]
