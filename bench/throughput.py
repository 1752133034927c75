"""How many steps a second does one worker process make, with everything in the log?

Runs of three no-op steps, submitted at once; one worker process, one supervisor process; until the last final event is
committed in Postgres. Next to each repetition ``limit`` is measured on the same server.
"""

from __future__ import annotations

from statistics import median

from ..sdk.settings import Settings
from .documents import chain
from .limit import measure_limit
from .load import STEPS, Load, rated, run_load
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, open_crew, open_stage

QUESTION = "How many steps a second does one worker process make, with everything in the log?"
RUNS = 5_000


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    runs = plan.runs_or(RUNS)
    async with open_stage(settings) as stage, open_crew(stage):
        workflow = await stage.register(chain(STEPS))
        await run_load(stage, workflow, runs)
        loads: list[Load] = []
        limits: list[float] = []
        for number in range(plan.repetitions):
            limits.append(await measure_limit(stage.redis, stage.client.keys.prefix))
            load = await run_load(stage, workflow, runs)
            loads.append(load)
            say(
                f"throughput {number + 1}/{plan.repetitions}: {load.rate:,.0f} steps/s, limit {limits[-1]:,.0f}; "
                f"CPU us a step: {load.cpu_us_per_step()}"
            )
        submit_s = figure(median(load.submit_s for load in loads))
        return rated(QUESTION, loads, limits, stage.machine, {"submit_s": submit_s})
