"""The benchmarks of ``courante bench``: which there are, and how one is run. One question per file.

Every figure is of this machine at this minute: compare ratios that one run measured, never absolute figures of two.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ..sdk.errors import CouranteError
from ..sdk.settings import Settings
from . import api, cache, chain, fanout, growth, limit, makespan, maps, memory, recovery, replay, throughput
from .measured import Measured
from .plan import BenchPlan
from .stage import Progress

Measure: TypeAlias = Callable[[Settings, BenchPlan, Progress], Awaitable[Measured]]

REPETITIONS = 5
MEASURES: dict[str, Measure] = {
    "limit": limit.measure,
    "chain": chain.measure,
    "fanout": fanout.measure,
    "throughput": throughput.measure,
    "map": maps.measure,
    "cache": cache.measure,
    "growth": growth.measure,
    "makespan": makespan.measure,
    "memory": memory.measure,
    "recovery": recovery.measure,
    "replay": replay.measure,
    "api": api.measure,
}
NAMES = tuple(MEASURES)


class BenchUnknown(CouranteError):
    """There is no such benchmark."""

    code = "bench_unknown"


async def run_bench(
    name: str,
    settings: Settings,
    progress: Progress | None = None,
    *,
    repetitions: int = REPETITIONS,
    runs: int | None = None,
) -> dict[str, object]:
    """Measure one question and return what was found (docs/reference/bench.md).

    settings: without URLs the benchmark has servers of its own, in a directory that is gone afterwards. runs: how many
    runs (``limit``: tokens, ``makespan``: steps, ``replay``: events) one repetition takes, None for the benchmark's own
    number. Raises BenchUnknown.
    """
    measure = MEASURES.get(name)
    if measure is None:
        raise BenchUnknown(f"there is no benchmark {name!r}", hint=f"there are {', '.join(NAMES)}")
    plan = BenchPlan(repetitions=max(1, repetitions), runs=runs)
    found = await measure(settings, plan, progress or _say_nothing)
    return found.as_dict(name)


def _say_nothing(_text: str) -> None:
    return None
