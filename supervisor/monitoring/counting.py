"""Counting: all that a supervisor tells who scrapes it. Where nobody scrapes there is none of it."""

from __future__ import annotations

from typing import Protocol

import anyio
from redis.asyncio import Redis

from ...sdk.client.client import Client
from ...sdk.health.health import Limits
from ...sdk.metrics.exposition import AnySeries
from ...sdk.metrics.series import Series
from ..recording.projections import Projection
from .gauges import Gauges
from .meter import Meter


class Records(Protocol):
    """A recorder. ``recorded``: events until now."""

    recorded: int


class Claims(Protocol):
    """What takes over stale tokens. ``claimed``: how many until now."""

    claimed: int


class Releases(Protocol):
    """What releases timers. ``released``: how many until now."""

    released: int


class Requeues(Protocol):
    """What finds lost tokens. ``requeued``: how many until now."""

    requeued: int


class Counting:
    """Of one supervisor."""

    def __init__(self, redis: Redis, client: Client, partitions: int, limits: Limits) -> None:
        self._meter = Meter(client.pool, client.keys.env)
        self._gauges = Gauges(redis, client.pool, client.keys, partitions, limits)
        self._loops: dict[int, tuple[Records, Claims, Releases, Requeues]] = {}

    async def run(self) -> None:
        """Read and look up, until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._meter.run)
            group.start_soon(self._gauges.run)

    def follow(self, number: int, recorder: Records, leases: Claims, timers: Releases, audit: Requeues) -> None:
        """Tell what the loops of a partition have done."""
        self._loops[number] = recorder, leases, timers, audit

    def hear(self, projection: Projection) -> None:
        """Count a batch that was committed."""
        self._meter.hear(projection)

    def unready(self) -> list[str]:
        return self._gauges.unready()

    def series(self) -> list[AnySeries]:
        """From any thread."""
        recorded = Series("courante_recorded_events_total", "Events that this supervisor recorded.", "partition")
        claimed = Series(
            "courante_lease_takeovers_total", "Steps that were taken over from silent workers.", "partition"
        )
        released = Series("courante_timers_released_total", "Timers that this supervisor released.", "partition")
        requeued = Series("courante_requeued_total", "Steps that the audit found lost, and queued again.", "partition")
        for number, (recorder, leases, timers, audit) in self._loops.copy().items():
            key = (str(number),)
            recorded.add(key, recorder.recorded)
            claimed.add(key, leases.claimed)
            released.add(key, timers.released)
            requeued.add(key, audit.requeued)
        return [*self._meter.series(), *self._gauges.series(), recorded, claimed, released, requeued]
