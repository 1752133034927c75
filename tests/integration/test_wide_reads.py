"""Nodes that read about as many values as travel with a token, which brings one more when it was released."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.marking.plan import READS_MAX
from integration.stage import Stage

pytestmark = pytest.mark.anyio


def outside(count: int) -> tuple[list[dict[str, Any]], str]:
    """Nodes that each say 1, and the sum of what they say."""
    names = [f"n{number}" for number in range(count)]
    return [{"id": name, "type": "echo", "config": {"value": 1}} for name in names], " + ".join(
        f"steps.{name}.output" for name in names
    )


@pytest.mark.parametrize("count", [READS_MAX - 1, READS_MAX, READS_MAX + 1])
async def test_a_step_that_was_approved_has_all_it_reads(stage: Stage, count: int) -> None:
    """What was decided comes beside it."""
    stage.worker()
    stage.supervisor()
    nodes, total = outside(count)
    names = [node["id"] for node in nodes]
    add = {"id": "add", "type": "transform", "depends_on": names, "config": {"expression": total}}
    run_id = await stage.client.submit(await stage.register(*nodes, add | {"requires_approval": True}))
    await stage.client.approve(run_id, "add")
    result = await stage.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", {"add": count})


@pytest.mark.parametrize("count", [READS_MAX - 1, READS_MAX])
async def test_a_loop_that_goes_back_has_all_it_reads(stage: Stage, count: int) -> None:
    """What the iteration before came to comes beside it."""
    stage.worker()
    stage.supervisor()
    nodes, total = outside(count - 1)
    names = [node["id"] for node in nodes]
    begin = {"id": "begin", "type": "noop", "depends_on": names}
    add = {
        "id": "add",
        "type": "transform",
        "depends_on": "begin",
        "config": {"expression": f"loop.iteration * ({total})"},
        "loop": {"while": "loop.iteration < 3", "back_to": "add", "max_iterations": 5},
    }
    result = await stage.run(await stage.register(*nodes, begin, add))
    assert (result.status, result.output) == ("COMPLETED", {"add": 3 * (count - 1)})
