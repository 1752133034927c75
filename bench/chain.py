"""How long do 40 steps in a row take? One run on an idle floor; what a hop costs."""

from __future__ import annotations

from ..sdk.settings import Settings
from .documents import chain
from .latency import measure_latency
from .measured import Measured
from .plan import BenchPlan
from .stage import Progress

STEPS = 40
RUNS = 40


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    question = f"How long do {STEPS} steps in a row take, from the acknowledged submission to the result?"
    return await measure_latency(chain(STEPS), question, RUNS, settings, plan, say)
