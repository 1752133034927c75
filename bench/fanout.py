"""How long do 100 steps side by side take, with one before and one that joins them? One run on an idle floor."""

from __future__ import annotations

from ..sdk.settings import Settings
from .documents import fanout
from .latency import measure_latency
from .measured import Measured
from .plan import BenchPlan
from .stage import Progress

WIDTH = 100
RUNS = 40


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    question = f"How long do 1 -> {WIDTH} -> 1 steps take, from the acknowledged submission to the result?"
    return await measure_latency(fanout(WIDTH), question, RUNS, settings, plan, say)
