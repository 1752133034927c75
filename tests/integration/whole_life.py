"""A whole life: runs by function, clock and signal that use what the engine has of its servers."""

from __future__ import annotations

from courante import Context
from courante.sdk.schedules.schedule import Schedule
from integration.stage import Stage, until


async def live(stage: Stage) -> None:
    """Let runs come to their ends, one cancelled, paused and resumed, and one of a schedule begin."""
    nodes = [
        {"id": "f", "type": "function", "config": {"handler": "f"}, "retry": {"max_attempts": 2, "base": "1ms"}},
        {"id": "t", "type": "wait", "depends_on": "f", "config": {"for": "1ms"}},
        {"id": "s", "type": "signal", "depends_on": "t", "config": {"name": "go"}},
    ]
    tries: list[str] = []

    def fails_once(context: Context) -> str:
        context.log("said")
        tries.append("x" * 10_000)
        if len(tries) == 1:
            raise ValueError("once")
        return tries[0]

    stage.worker({"f": fails_once})
    stage.supervisor(counts=True)
    await stage.register(*nodes)
    run_id = await stage.client.submit("w")
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await stage.client.pause(run_id)
    await stage.client.resume(run_id)
    await stage.client.signal(run_id, "go")
    assert (await stage.result(run_id)).status == "COMPLETED"
    other = await stage.client.submit("w")
    await stage.client.cancel(other)
    assert (await stage.result(other)).status == "CANCELLED"
    await stage.client.schedules.create(Schedule(id="often", workflow="w", every_ms=60_000))
    await stage.client.schedules.trigger("often")
    assert (await stage.client.health()).status
