"""Leases: a thread that renews what this worker holds, whatever its loop does meanwhile.

It looks at plain dicts of the lanes, every third of a lease, and talks to Redis over a connection of its own. A
stopped process (SIGSTOP) renews nothing; when it goes on it is told what it has lost.

It watches the loop, too. Where a step blocks that, attempts whose time is up are ended from here, and after
``loop_patience_ms`` nothing is renewed any more but what blocks it, as long as that has time: all else is another
worker's, for this one may never go on with it.
"""

from __future__ import annotations

import threading
import time
from asyncio import AbstractEventLoop, Task
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import structlog
from redis.exceptions import RedisError, ResponseError

from ..sdk.connections import connect_blocking
from ..sdk.floor.calling import Word
from ..sdk.floor.scripts import BackPressure, Closed, renew_leases
from ..sdk.keys import PartitionKeys
from .late_attempts import LateAttempts
from .loop_watch import LOOK_S, LoopWatch
from .terms import Terms

if TYPE_CHECKING:
    from .attempts import Attempts
    from .work import Work

BATCH = 200
"""Tokens that one call renews."""
KEPT = "A"
DRAINS = "DM"
DETAILS_S = 1.0
"""Details of heartbeats are sent at most so often; without any, a third of the lease passes."""
BACKOFF_S_MAX = 1.0
UNKNOWN_FACTOR = 12
"""So many times as patient with a step that nobody can name, as it blocks the loop in a task of its own: for then it is
among those that are left to others.
"""
LATE_S_MAX = 5.0
"""For so long a loop may be blocked, and an attempt be late, before anything is done: and less than the lease of an
attempt that is not renewed any more, for then it is another worker's.
"""
TIMEOUT_S_MAX = 5.0
log = structlog.get_logger()


class Lease(NamedTuple):
    """One token that is held. ``due_ms``: when its attempt's time is up by Redis' clock, 0 for never.

    ``details``: JSON that was not sent yet, or nothing.
    """

    run_id: str
    key: str
    fence: str
    number: int
    entry: str
    due_ms: int
    details: bytes


class Holder(Protocol):
    """What the thread wants to know of a lane. ``leases`` is called in the thread."""

    keys: PartitionKeys
    consumer: str
    streams: list[str]
    limits: tuple[str, str]

    @property
    def attempts(self) -> Attempts: ...
    def leases(self) -> list[Lease]: ...


class Renewer:
    """Renews for ``holders``, which may grow until ``start``. ``stop`` ends the thread, within a moment.

    ``worker``: as the log names it.
    """

    def __init__(self, url: str, worker: str, terms: Terms, holders: Sequence[Holder]) -> None:
        self._pause_s = terms.lease_ms / 3000
        self._patience_s = terms.loop_patience_ms / 1000
        self._redis = connect_blocking(url, timeout_s=min(TIMEOUT_S_MAX, self._pause_s))
        self._worker = worker
        self._holders = holders
        self.watch = LoopWatch(worker, self._work_in)
        self._late_s = min(LATE_S_MAX, self._pause_s)
        self._late = LateAttempts(url, worker, self.watch, self._late_s, self._call_soon)
        self._has_details = threading.Event()
        self._stopping = threading.Event()
        self._has_given_up = False
        self._loop: AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="courante-leases", daemon=True)

    def start(self, loop: AbstractEventLoop) -> None:
        """Begin. ``loop``: where the holders live, and this is called; nobody waits for it here, so that a busy one
        costs no lease.
        """
        self._loop = loop
        self.watch.start(loop)
        self._thread.start()

    def stop(self) -> None:
        """On the loop."""
        self._stopping.set()
        self.watch.blocked_s = 0.0

    def join(self) -> None:
        """Wait for the end of the thread. Blocks."""
        if self._thread.is_alive():
            self._thread.join()
        self._redis.close()

    def send_details(self) -> None:
        """A handler has said something that the next attempt shall know. From any thread."""
        self._has_details.set()

    def _run(self) -> None:
        failures, pause_s = 0, min(LOOK_S, self._pause_s)
        following, details_at = time.monotonic() + self._pause_s, 0.0
        while not self._stopping.wait(_backoff_s(failures, self._pause_s) if failures else pause_s):
            try:
                self.watch.look()
            except RuntimeError:  # the loop is closed
                return
            now = time.monotonic()
            is_due = now >= following
            until = now + self._pause_s if is_due else following
            problem: Exception | None = None
            try:
                if is_due or (now >= details_at and self._has_details.is_set()):
                    self._has_details.clear()
                    problem = self._renew_all(is_due=is_due)
                    if problem is None:
                        details_at, following = now + DETAILS_S, until
                if self.watch.blocked_s >= self._late_s:
                    self._end_late(until)
                if problem is not None:
                    raise problem
                failures = 0
                continue
            except Closed:
                log.warning("partition_closed")
            except (RedisError, OSError) as error:
                log.warning("leases_not_renewed", error=str(error))
            except Exception as error:
                log.exception("leases_not_renewed", error=str(error))
            failures += 1
            self._has_details.set()

    def _renew_all(self, *, is_due: bool) -> Closed | ResponseError | None:
        """Renew all, or before their time those alone that have details.

        One partition that refuses, as a closed one does, costs the others nothing. Return what it says.
        """
        left = 0
        problem: Closed | ResponseError | None = None
        for holder in self._holders:
            try:
                left += self._renew(holder, is_due=is_due)
            except (Closed, ResponseError) as error:
                problem = error
        if left and not self._has_given_up:
            log.error("leases_given_up", worker=self._worker, count=left, blocked_ms=int(self.watch.blocked_s * 1000))
        self._has_given_up = left > 0 or (self._has_given_up and not is_due)
        return problem

    def _renew(self, holder: Holder, *, is_due: bool) -> int:
        """Return how many are left to others."""
        held = [lease for lease in holder.leases() if is_due or lease.details]
        patience_s = self._patience_s * (1 if self.watch.blocker is not None else UNKNOWN_FACTOR)
        is_lost = self.watch.blocked_s >= patience_s
        leases = [lease for lease in held if self._is_blocker(lease)] if is_lost else held
        for first in range(0, len(leases), BATCH):
            batch = leases[first : first + BATCH]
            words: list[Word] = [holder.consumer]
            for lease in batch:
                words += lease
            verdicts = renew_leases(self._redis, holder.keys, holder.streams, words)
            for lease, verdict in zip(batch, verdicts, strict=True):
                if verdict != KEPT or lease.details:
                    self._tell(holder, lease, verdict)
        return len(held) - len(leases)

    def _is_blocker(self, lease: Lease) -> bool:
        work = self.watch.blocker
        return work is not None and (work.run_id, work.key, work.fence) == (lease.run_id, lease.key, lease.fence)

    def _tell(self, holder: Holder, lease: Lease, verdict: str) -> None:
        if verdict in DRAINS:
            holder.attempts.tell_drained(lease)
        self._call_soon(holder.attempts.hear, lease, verdict)

    def _call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function, *arguments)
        except RuntimeError:
            self._stopping.set()  # the loop is closed

    def _end_late(self, until: float) -> None:
        """End late attempts until leases are to be renewed again."""
        for holder in self._holders:
            with suppress(Closed, BackPressure):  # the next look tries again
                self._late.end(holder, until)

    def _work_in(self, task: Task[Any] | None) -> Work | None:
        return next((work for each in self._holders if (work := each.attempts.in_task(task)) is not None), None)


def _backoff_s(failures: int, pause_s: float) -> float:
    return min(BACKOFF_S_MAX, pause_s / 2, 0.05 * 2.0**failures)
