"""Does a step cost more when there are many runs? The cost of a step with many runs at once, over that with few."""

from __future__ import annotations

from statistics import median

from ..sdk.settings import Settings
from .documents import chain
from .load import STEPS, run_load
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, Stage, open_crew, open_stage

FEW = 1_000
MANY = 100_000
FEW_LOADS = 5


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    many = plan.runs_or(MANY)
    few = min(FEW, many)
    async with open_stage(settings) as stage, open_crew(stage):
        workflow = await stage.register(chain(STEPS))
        await run_load(stage, workflow, few)
        small: list[float] = []
        large: list[float] = []
        for number in range(plan.repetitions):
            small.append(median([await _us_per_step(stage, workflow, few) for _ in range(FEW_LOADS)]))
            large.append(await _us_per_step(stage, workflow, many))
            found = f"{small[-1]:.0f} us a step with {few:,} runs, {large[-1]:.0f} with {many:,}"
            say(f"growth {number + 1}/{plan.repetitions}: {found}")
        return Measured(
            question=f"What does a step cost with {many:,} runs at once, over its cost with {few:,}?",
            unit="times",
            samples=[much / little for little, much in zip(small, large, strict=True)],
            machine=stage.machine,
            more={
                "runs": many,
                "runs_few": few,
                "us_per_step": figure(median(large)),
                "us_per_step_few": figure(median(small)),
            },
        )


async def _us_per_step(stage: Stage, workflow: str, runs: int) -> float:
    return 1e6 / (await run_load(stage, workflow, runs)).rate
