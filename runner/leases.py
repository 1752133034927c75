"""Leases: a thread that renews what this worker holds, whatever its loop does meanwhile.

It looks at plain dicts of the lanes, every third of a lease, and talks to Redis over a connection of its own. A
stopped process (SIGSTOP) renews nothing; when it goes on it is told what it has lost.
"""

from __future__ import annotations

import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import structlog
from redis.exceptions import RedisError

from ..sdk.connections import connect_blocking
from ..sdk.floor.calling import Word
from ..sdk.floor.scripts import Closed, renew_leases
from ..sdk.keys import PartitionKeys

BATCH = 200
"""Tokens that one call renews."""
KEPT = "A"
DETAILS_S = 1.0
"""Details of heartbeats are sent at most so often; without any, a third of the lease passes."""
BACKOFF_S_MAX = 1.0
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
    """What the thread wants to know of a lane. ``leases`` is called in the thread, ``hear`` on the loop."""

    keys: PartitionKeys
    consumer: str
    streams: list[str]

    def leases(self) -> list[Lease]: ...
    def hear(self, lease: Lease, verdict: str) -> None: ...


class Renewer:
    """Renews for ``holders``, which may grow until ``start``. ``stop`` ends the thread, within a moment."""

    def __init__(self, url: str, lease_ms: int, holders: Sequence[Holder]) -> None:
        self._pause_s = lease_ms / 3000
        self._redis = connect_blocking(url, timeout_s=min(TIMEOUT_S_MAX, self._pause_s))
        self._holders = holders
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._loop: AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="courante-leases", daemon=True)

    def start(self, loop: AbstractEventLoop) -> None:
        """Begin. ``loop``: where the holders live; nobody waits for it here, so that a busy one costs no lease."""
        self._loop = loop
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._wake.set()

    def join(self) -> None:
        """Wait for the end of the thread. Blocks."""
        if self._thread.is_alive():
            self._thread.join()
        self._redis.close()

    def send_details(self) -> None:
        """A handler has said something that the next attempt shall know. From any thread."""
        self._wake.set()

    def _run(self) -> None:
        failures = 0
        following = time.monotonic() + self._pause_s
        while not self._stopping.is_set():
            is_due = time.monotonic() >= following
            try:
                for holder in self._holders:
                    self._renew(holder, is_due=is_due)
                failures = 0
            except Closed:
                failures += 1
                log.warning("partition_closed")
            except (RedisError, OSError) as error:
                failures += 1
                log.warning("leases_not_renewed", error=str(error))
            if failures:
                self._stopping.wait(min(BACKOFF_S_MAX, self._pause_s / 2, 0.05 * 2**failures))
                continue
            if is_due:
                following = time.monotonic() + self._pause_s
            self._stopping.wait(min(DETAILS_S, self._pause_s))
            self._wake.wait(max(0.0, following - time.monotonic()))
            self._wake.clear()

    def _renew(self, holder: Holder, *, is_due: bool) -> None:
        """Renew all, or before their time those alone that have details."""
        leases = [lease for lease in holder.leases() if is_due or lease.details]
        for first in range(0, len(leases), BATCH):
            batch = leases[first : first + BATCH]
            words: list[Word] = [holder.consumer]
            for lease in batch:
                words += lease
            verdicts = renew_leases(self._redis, holder.keys, holder.streams, words)
            for lease, verdict in zip(batch, verdicts, strict=True):
                if verdict != KEPT or lease.details:
                    self._tell(holder, lease, verdict)

    def _tell(self, holder: Holder, lease: Lease, verdict: str) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(holder.hear, lease, verdict)
        except RuntimeError:
            self._stopping.set()  # the loop is closed
