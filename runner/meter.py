"""The meter: what a worker counts of its steps, where somebody asks for it.

A step costs one look-up of its counts, which are kept for each node of a plan, and an addition; names are put to them
when they are scraped. Without a meter there is nothing of this on the way of a token.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..sdk.metrics.exposition import AnySeries
from ..sdk.metrics.series import OTHER, PLACES_MAX, Series, Spread, Spreads
from ..sdk.outcomes.outcomes import Cached, Failed
from .settling import Settler
from .transition import Transition
from .work import Work

WITHOUT_TIME = frozenset({"cached", "skipped"})
"""Nothing was run."""


class MeteredLane(Protocol):
    """What is asked of a lane at a scrape."""

    applied: int
    refused: int
    calls: int
    is_open: bool

    @property
    def held(self) -> int: ...


class _Counted:
    """Of one node of one plan."""

    __slots__ = ("outcomes", "seconds", "step", "workflow")

    def __init__(self, workflow: str, step: str) -> None:
        self.workflow = workflow
        self.step = step
        self.outcomes: dict[str, int] = {}
        self.seconds = Spread()


class Meter:
    """Counts for one worker, all of its lanes. ``most``: nodes that are told one by one; later ones are ``other``."""

    def __init__(self, most: int = PLACES_MAX) -> None:
        self._most = most
        self._nodes: dict[tuple[str, int], _Counted] = {}
        self._rest = _Counted(OTHER, OTHER)
        self._waits = Spreads(
            "courante_worker_queue_seconds", "From when steps were queued until they were taken.", "queue", "priority"
        )

    def count(self, work: Work, outcome: str, ms: int) -> None:
        """An attempt has ended. outcome: ``succeeded``, ``cached``, ``failed``, ``retried``, ``skipped``."""
        key = work.plan.hash, work.number
        counted = self._nodes.get(key)
        if counted is None:
            counted = self._rest
            if len(self._nodes) < self._most:
                counted = self._nodes[key] = _Counted(work.plan.ir.workflow, work.node.id)
        counted.outcomes[outcome] = counted.outcomes.get(outcome, 0) + 1
        if outcome not in WITHOUT_TIME:
            counted.seconds.add(ms / 1000)

    def settler(self, worker: str) -> Settler:
        """Return a settler that counts."""
        return _CountingSettler(worker, self)

    def taker(self, names: Sequence[str]) -> Callable[[list[list[bytes]], int], None]:
        """Return what counts how long tokens were queued. names: of a lane's streams, in order."""
        spreads: list[Spread] = []
        for name in names:
            queue, _, priority = name.rpartition(":")
            spreads.append(self._waits.of((queue, priority)))

        def take(tokens: list[list[bytes]], now_ms: int) -> None:
            for token in tokens:
                queued_ms = int(token[1].split(b"-", 1)[0])
                spreads[int(token[0]) - 1].add(max(0, now_ms - queued_ms) / 1000)

        return take

    def series(self, slots: int, lanes: Sequence[MeteredLane], blocked_s: float) -> list[AnySeries]:
        """Return everything, with what the lanes say now. blocked_s: for how long the loop has not answered. From any
        thread.
        """
        return [
            *self._of_nodes(),
            self._waits,
            _gauge("courante_worker_slots", "Steps that it may have in hand at once.", slots),
            _gauge("courante_worker_held_steps", "Steps in hand.", sum(lane.held for lane in lanes)),
            _gauge("courante_worker_lanes_open", "Lanes that can take steps.", sum(lane.is_open for lane in lanes)),
            _gauge("courante_worker_loop_blocked_seconds", "For how long a step blocks the event loop now.", blocked_s),
            _counter("courante_worker_applied_total", "Transitions applied.", sum(lane.applied for lane in lanes)),
            _counter(
                "courante_worker_refused_total",
                "Transitions refused: another worker has the step by now, or its run has ended.",
                sum(lane.refused for lane in lanes),
            ),
            _counter("courante_worker_calls_total", "Calls that took transitions.", sum(lane.calls for lane in lanes)),
        ]

    def _of_nodes(self) -> Iterable[AnySeries]:
        attempts = Series(
            "courante_worker_attempts_total", "Attempts that ended in this worker.", "workflow", "step", "outcome"
        )
        seconds = Spreads("courante_worker_attempt_seconds", "How long attempts took.", "workflow", "step")
        for counted in [*self._nodes.copy().values(), self._rest]:
            place = counted.workflow, counted.step
            for outcome, count in counted.outcomes.copy().items():
                attempts.add((*place, outcome), count)
            if counted.outcomes:
                seconds.of(place).join(counted.seconds)
        return attempts, seconds


class _CountingSettler(Settler):
    """It alone knows what becomes of an outcome: a failure may be tried again, and an output may have no way on."""

    def __init__(self, worker: str, meter: Meter) -> None:
        super().__init__(worker)
        self._meter = meter
        self._failures = 0

    def _succeeded(
        self, work: Work, output: bytes, ms: int, kept: bytes | None = None, hit: Cached | None = None
    ) -> Transition:
        failures = self._failures
        made = super()._succeeded(work, output, ms, kept, hit)
        if self._failures == failures:
            self._meter.count(work, "succeeded" if hit is None else "cached", ms)
        return made

    def _failed(self, work: Work, outcome: Failed, ms: int) -> Transition:
        self._failures += 1
        made = super()._failed(work, outcome, ms)
        self._meter.count(work, "failed" if made.otherwise is None else "retried", ms)
        return made

    def _skipped(self, work: Work, reason: str) -> Transition:
        self._meter.count(work, "skipped", 0)
        return super()._skipped(work, reason)


def _gauge(name: str, help: str, value: float) -> Series:
    made = Series(name, help, kind="gauge")
    made.set({(): value})
    return made


def _counter(name: str, help: str, value: float) -> Series:
    made = Series(name, help)
    made.set({(): value})
    return made
