"""How long does a large graph of sleeps take, beside Graham's bound for list scheduling? By the number of slots.

The graph is drawn from a fixed seed: layers of changing width, each step after one to three earlier ones, with lengths
as they are recorded of real steps (log-normal: most are short, a few are long).

Graham's bound (R. L. Graham, 1969): whoever never lets a slot stand idle while a step is ready needs at most
``work / slots + (1 - 1 / slots) * critical path``. The engine may add 2 ms for each step, spread over the slots.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from random import Random
from statistics import median

import msgspec

from ..compiler.workflow import Json
from ..sdk.settings import Settings
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, Stage, open_crew, open_stage

STEPS = 1_000
SLOTS = (4, 8, 16, 32, 64, 128)
STEP_MS = 2.0
"""What the engine may take for a step, divided by the slots."""
SEED = 1969
MEDIAN_MS = 12.0
SIGMA = 0.9
LENGTHS_MS = (1, 500)
WIDTHS = (1, 160)
WAIT_S = 600.0


class Step(msgspec.Struct, frozen=True):
    """``ms``: how long it sleeps. ``after``: numbers of the steps it depends on."""

    ms: int
    after: tuple[int, ...]


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    steps = draw(plan.runs_or(STEPS), Random(SEED))  # noqa: S311 - the same graph every time
    found: dict[int, list[float]] = {slots: [] for slots in SLOTS}
    async with open_stage(settings) as stage:
        workflow = await stage.register(document(steps))
        for slots in SLOTS:
            async with open_crew(stage, concurrency=slots):
                await _run(stage, workflow)
                for number in range(plan.repetitions):
                    found[slots].append(await _run(stage, workflow))
                    told = f"{found[slots][-1]:.0f} ms, {limit_ms(steps, slots):.0f} allowed"
                    say(f"{slots} slots {number + 1}/{plan.repetitions}: {told}")
        shares = [
            max(found[slots][number] / limit_ms(steps, slots) for slots in SLOTS) for number in range(plan.repetitions)
        ]
        return Measured(
            question=f"How long do {len(steps)} drawn sleeps take, over what is allowed, where that share is greatest?",
            unit="of what is allowed",
            samples=shares,
            machine=stage.machine,
            more={
                "steps": len(steps),
                "work_ms": work_ms(steps),
                "path_ms": path_ms(steps),
                "slots": {str(slots): _row(steps, slots, found[slots]) for slots in SLOTS},
            },
        )


def _row(steps: Sequence[Step], slots: int, makespans: Sequence[float]) -> dict[str, object]:
    makespan, limit = median(makespans), limit_ms(steps, slots)
    return {
        "makespan_ms": figure(makespan),
        "bound_ms": figure(bound_ms(steps, slots)),
        "limit_ms": figure(limit),
        "is_within": makespan <= limit,
    }


async def _run(stage: Stage, workflow: str) -> float:
    """Return the ms from the acknowledged submission to the result; all is recorded when this returns."""
    run_id = await stage.client.submit(workflow)
    began = time.perf_counter()
    result = await stage.client.wait(run_id, timeout_s=WAIT_S)
    ended = time.perf_counter()
    assert result.status == "COMPLETED", result
    await stage.client.wait(run_id, timeout_s=WAIT_S, is_recorded=True)
    return (ended - began) * 1000


def draw(count: int, random: Random) -> list[Step]:
    """Layers of a width that changes by a random walk; a step may also reach back to the layer before the last."""
    steps: list[Step] = []
    before: list[int] = []
    far: list[int] = []
    width = WIDTHS[1] // 4
    while len(steps) < count:
        width = min(WIDTHS[1], max(WIDTHS[0], round(width * random.uniform(0.5, 2.0))))
        layer = list(range(len(steps), min(count, len(steps) + width)))
        for _ in layer:
            reachable = before + random.sample(far, min(len(far), 3))
            after = random.sample(reachable, min(len(reachable), random.randint(1, 3)))
            ms = round(random.lognormvariate(math.log(MEDIAN_MS), SIGMA))
            steps.append(Step(min(LENGTHS_MS[1], max(LENGTHS_MS[0], ms)), tuple(sorted(after))))
        far, before = before, layer
    return steps


def document(steps: Sequence[Step]) -> dict[str, Json]:
    """Outputs are short, so that what is measured is the order of things and not the payloads."""
    nodes: list[Json] = [
        {
            "id": f"s{number}",
            "type": "sleep",
            "depends_on": [f"s{other}" for other in step.after],
            "config": {"for": f"{step.ms}ms"},
            "input": "'slept'",
        }
        for number, step in enumerate(steps)
    ]
    return {"courante": 1, "id": f"bench-makespan-{len(steps)}", "output": "'done'", "nodes": nodes}


def work_ms(steps: Sequence[Step]) -> int:
    return sum(step.ms for step in steps)


def path_ms(steps: Sequence[Step]) -> int:
    """The longest path; steps stand after what they depend on."""
    ends: list[int] = []
    for step in steps:
        ends.append(step.ms + max((ends[number] for number in step.after), default=0))
    return max(ends)


def bound_ms(steps: Sequence[Step], slots: int) -> float:
    return work_ms(steps) / slots + (1 - 1 / slots) * path_ms(steps)


def limit_ms(steps: Sequence[Step], slots: int) -> float:
    return bound_ms(steps, slots) + STEP_MS * len(steps) / slots
