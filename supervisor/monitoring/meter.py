"""The meter: what the log says, counted as it is recorded. Where nobody asks for it there is none.

Each event is counted by the supervisor whose recorder committed it, once: sums over all supervisors are exact, but for
the batch that one of them had committed and not counted when it died. Workflows are told by run; of runs that this
process has not seen begin they are looked up, a little later, many at once.
"""

from __future__ import annotations

from collections import deque
from datetime import datetime
from typing import NamedTuple

import anyio
import structlog

from ...sdk.caching.cached import CACHE_HIT
from ...sdk.events import ITEM_FAILED, Facts
from ...sdk.fold.fold_ends import FINAL
from ...sdk.metrics.exposition import AnySeries
from ...sdk.metrics.series import OTHER, PLACES_MAX, Key, Places, Series, Spread, Spreads
from ...sdk.server_errors import SERVER_ERRORS
from ...sdk.spending.spent import BILLIONTHS, SPENT, kept_spent
from ...sdk.stores.connection import Pool
from ...sdk.stores.statistics import workflows_of
from ..recording.projections import COUNTED, Projection

RUNS_MAX = 50_000
"""Runs whose workflow is kept; the oldest go first, and are looked up if need be."""
LATER_MAX = 50_000
"""Events that wait for a look-up. While Postgres is away there are no new ones: the recorder needs it too."""
LOOK_S = 1.0
BATCH = 1_000
WORKFLOWS_MAX = 200
MODELS_MAX = 100
_STEPS = frozenset(kind for kind in COUNTED if kind.startswith("step."))
log = structlog.get_logger()


class _Run(NamedTuple):
    workflow: str
    created_at: datetime


class _Step(NamedTuple):
    """What one step is counted under. ``keys``: by type of event."""

    place: Key
    keys: dict[str, Key]
    seconds: Spread


class Meter:
    """Counts what the recorders of one process record."""

    def __init__(self, pool: Pool, env: str, most: int = PLACES_MAX) -> None:
        self._pool = pool
        self._env = env
        self._runs: dict[str, _Run] = {}
        self._later: deque[tuple[str, datetime, Facts]] = deque(maxlen=LATER_MAX)
        self._steps, self._workflows, self._models = Places(most), Places(WORKFLOWS_MAX), Places(MODELS_MAX)
        self._bound: dict[tuple[str, str], _Step] = {}
        self._attempts = Series(
            "courante_attempts_total", "Attempts that ended, by their outcome.", "workflow", "step", "outcome"
        )
        self._seconds = Spreads("courante_attempt_seconds", "How long attempts took.", "workflow", "step")
        self._retries = Series("courante_retries_total", "Attempts that another one follows.", "workflow", "step")
        self._dead = Series("courante_dead_letters_total", "Steps that failed for good.", "workflow", "step")
        self._started = Series("courante_runs_started_total", "Runs that began.", "workflow")
        self._ended = Series("courante_runs_ended_total", "Runs that ended, by their status.", "workflow", "status")
        self._run_seconds = Spreads("courante_run_seconds", "From the start of runs to their end.", "workflow")
        self._calls = Series("courante_model_calls_total", "Calls of models.", "workflow", "model")
        self._tokens = Series("courante_model_tokens_total", "Tokens of models.", "workflow", "model", "kind")
        self._cost = Series("courante_model_cost_total", "What calls of models cost.", "workflow", "model", "currency")

    def hear(self, projection: Projection) -> None:
        """Count what was committed."""
        for run_id, at, facts in projection.told or ():
            if facts.type == "run.started":
                self._keep(run_id, _Run(str(facts.data.get("workflow", "")), at))
            run = self._runs.get(run_id)
            if run is None:
                self._later.append((run_id, at, facts))
            else:
                self._count(run_id, run, at, facts)

    async def run(self) -> None:
        """Look up the workflows of what could not be counted at once, until cancelled."""
        while True:
            await anyio.sleep(LOOK_S)
            try:
                await self.look_up()
            except SERVER_ERRORS as error:
                log.warning("metering_failed", error=str(error) or repr(error))

    async def look_up(self) -> None:
        """Count what waits."""
        while self._later:
            batch = list(self._later)[:BATCH]
            unknown = {run_id for run_id, _, _ in batch if run_id not in self._runs}
            async with self._pool.acquire() as conn:
                found = await workflows_of(conn, self._env, unknown)
            for run_id, (workflow, created_at) in found.items():
                self._keep(run_id, _Run(workflow, created_at))
            for run_id, at, facts in batch:
                self._later.popleft()
                self._count(run_id, self._runs.get(run_id, _Run(OTHER, at)), at, facts)

    def series(self) -> list[AnySeries]:
        """Return everything that was counted. From any thread."""
        return [
            self._attempts,
            self._seconds,
            self._retries,
            self._dead,
            self._started,
            self._ended,
            self._run_seconds,
            self._calls,
            self._tokens,
            self._cost,
        ]

    def _keep(self, run_id: str, run: _Run) -> None:
        self._runs[run_id] = run
        if len(self._runs) > RUNS_MAX:
            del self._runs[next(iter(self._runs))]

    def _count(self, run_id: str, run: _Run, at: datetime, facts: Facts) -> None:
        kind = facts.type
        if kind in _STEPS:
            self._count_step(run.workflow, kind, facts)
        elif kind == "run.started":
            self._started.add(self._workflows.place(run.workflow))
        elif kind in FINAL:
            (workflow,) = self._workflows.place(run.workflow)
            self._ended.add((workflow, FINAL[kind]))
            self._run_seconds.of((workflow,)).add(max(0.0, (at - run.created_at).total_seconds()))
            self._runs.pop(run_id, None)
        if SPENT in facts.data:
            self._count_spent(run.workflow, facts)

    def _count_step(self, workflow: str, kind: str, facts: Facts) -> None:
        step = self._bound.get((workflow, facts.node))
        if step is None:
            step = self._bind(workflow, facts.node)
        is_cached = facts.reason == CACHE_HIT
        self._attempts.add((*step.place, "cached") if is_cached else step.keys[kind])
        if kind != "step.skipped" and not is_cached:
            step.seconds.add(facts.ms / 1000)
        if kind == "step.retried":
            self._retries.add(step.place)
        elif kind == "step.failed" and "l" not in facts.edges and facts.reason != ITEM_FAILED:  # see ``dead_letters``
            self._dead.add(step.place)

    def _bind(self, workflow: str, node: str) -> _Step:
        place = self._steps.place(workflow, node)
        keys = {kind: (*place, kind.removeprefix("step.")) for kind in _STEPS}
        step = _Step(place, keys, self._seconds.of(place))
        if place == (workflow, node):
            self._bound[workflow, node] = step
        return step

    def _count_spent(self, workflow: str, facts: Facts) -> None:
        spent = kept_spent(facts.data)
        place = self._models.place(workflow, spent.model or "unknown")
        self._calls.add(place, spent.calls)
        for kind, count in (("input", spent.input_tokens), ("output", spent.output_tokens)):
            self._tokens.add((*place, kind), count)
        if spent.cost:
            self._cost.add((*place, spent.currency or OTHER), spent.cost / BILLIONTHS)
