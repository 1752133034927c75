"""How many steps a second does one worker make whose outputs it only has to take?

Runs of three no-op steps with a cache, all with the same input, so that every one is a hit; else as ``throughput``,
which is measured next to each repetition: ``of_throughput`` is the share of that one.
"""

from __future__ import annotations

from statistics import median

from ..sdk.settings import Settings
from .documents import cached_chain, chain
from .limit import measure_limit
from .load import STEPS, Load, rated, run_load
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, open_crew, open_stage

QUESTION = "How many steps a second does one worker make whose outputs it only has to take?"
RUNS = 5_000


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    runs = plan.runs_or(RUNS)
    async with open_stage(settings) as stage, open_crew(stage):
        plain = await stage.register(chain(STEPS))
        cached = await stage.register(cached_chain(STEPS))
        for workflow in (plain, cached):
            await run_load(stage, workflow, runs)
        hits: list[Load] = []
        limits: list[float] = []
        shares: list[float] = []
        plain_rates: list[float] = []
        for number in range(plan.repetitions):
            limits.append(await measure_limit(stage.redis, stage.client.keys.prefix))
            beside = await run_load(stage, plain, runs)
            hits.append(await run_load(stage, cached, runs))
            plain_rates.append(beside.rate)
            shares.append(hits[-1].rate / beside.rate)
            say(
                f"cache {number + 1}/{plan.repetitions}: {hits[-1].rate:,.0f} steps/s, throughput {beside.rate:,.0f}; "
                f"CPU us a step: {hits[-1].cpu_us_per_step()}"
            )
        more = {"throughput": figure(median(plain_rates)), "of_throughput": figure(median(shares))}
        return rated(QUESTION, hits, limits, stage.machine, more)
