"""Latency: one run on an idle floor, from its acknowledged durable submission until ``Client.wait`` returns."""

from __future__ import annotations

import time
from statistics import median

from ..compiler.workflow import Json
from ..sdk.settings import Settings
from .measured import Measured, figure
from .plan import BenchPlan
from .stage import Progress, Stage, open_crew, open_stage

WARM_UP = 20
WAIT_S = 30.0


async def measure_latency(
    document: dict[str, Json], question: str, runs: int, settings: Settings, plan: BenchPlan, say: Progress
) -> Measured:
    """Each of ``runs`` runs of a repetition is a sample, in ms."""
    runs = plan.runs_or(runs)
    async with open_stage(settings) as stage, open_crew(stage):
        workflow = await stage.register(document)
        await _run_some(stage, workflow, min(WARM_UP, runs))
        samples: list[float] = []
        submits: list[float] = []
        for number in range(plan.repetitions):
            waits, acknowledged = await _run_some(stage, workflow, runs)
            samples += waits
            submits += acknowledged
            say(f"{document['id']} {number + 1}/{plan.repetitions}: {median(waits):.2f} ms")
        return Measured(
            question=question,
            unit="ms",
            samples=samples,
            machine=stage.machine,
            more={"submit_ms": figure(median(submits)), "runs": runs},
        )


async def _run_some(stage: Stage, workflow: str, runs: int) -> tuple[list[float], list[float]]:
    """Return per run the ms from the acknowledgement to the result, and those of the submission.

    The next run starts when the last event of the one before is in the log: the floor is idle.
    """
    waits: list[float] = []
    submits: list[float] = []
    client = stage.client
    for _ in range(runs):
        began = time.perf_counter()
        run_id = await client.submit(workflow, {"n": 1})
        submitted = time.perf_counter()
        result = await client.wait(run_id, timeout_s=WAIT_S)
        ended = time.perf_counter()
        assert result.status == "COMPLETED", result
        waits.append((ended - submitted) * 1000)
        submits.append((submitted - began) * 1000)
        await client.wait(run_id, timeout_s=WAIT_S, is_recorded=True)
    return waits, submits
