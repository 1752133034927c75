"""What a step in the body of a map is given: its own item, however it came to the worker."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.plan import READS_MAX
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
LEASE_MS = 300
LISTS = [[10, 11], [20, 21], [30, 31]]


def mapped(*body: dict[str, Any], policy: Any = "all", **config: Any) -> list[dict[str, Any]]:
    items = {"items": "input", **config}
    last = body[-1]["id"]
    aggregate = {"id": "all", "type": "aggregate", "depends_on": last, "config": {"policy": policy}}
    return [{"id": "m", "type": "map", "config": items}, *body, aggregate]


async def quick(value: Any) -> Any:
    return value


async def flaky(value: Any, context: Any) -> Any:
    if context.attempt == 1:
        raise ConnectionError("once")
    return value


@pytest.mark.parametrize("items", [LISTS, [[value] * 400 for value in range(12)], [1, "a", {"x": 1}, None]])
async def test_another_try_has_the_same_item(stage: Stage, items: list[Any]) -> None:
    """Whether the list travels with the token or is stored apart, and whatever an item is."""
    stage.worker({"flaky": flaky})
    stage.supervisor()
    retry = {"base": "1ms", "jitter": False}
    workflow = await stage.register(*mapped(step("w", "flaky", "m", retry=retry)))
    result = await stage.run(workflow, items)
    assert (result.status, result.output) == ("COMPLETED", {"all": items})


async def test_an_item_of_another_worker_stays_the_same(stage: Stage) -> None:
    """A token that is taken over from a silent worker is cut out of the list once."""
    given: list[Any] = []

    async def held(value: Any, context: Any) -> Any:
        given.append(value)
        await context.cancelled()

    stage.worker({"w": held}, concurrency=1, lease_ms=LEASE_MS)
    stage.supervisor(lease_ms=LEASE_MS)
    workflow = await stage.register(*mapped(step("w", "w", "m"), max_concurrency=1))
    run_id = await stage.client.submit(workflow, LISTS)

    async def count() -> int:
        return len(given)

    await until(count, bool)
    await stage.kill(0)
    stage.worker({"w": quick}, lease_ms=LEASE_MS)
    assert (await stage.result(run_id)).output == {"all": LISTS}
    assert given == LISTS[:1]


async def test_a_step_that_reads_very_much_has_its_item_too(stage: Stage) -> None:
    """More values than travel with a token are read when it has come; below a map that fails fast, too."""
    names = [f"n{number}" for number in range(READS_MAX + 1)]
    outside = [{"id": name, "type": "echo", "config": {"value": 1}} for name in names]
    total = " + ".join(f"steps.{name}.output" for name in names)
    body = {"id": "w", "type": "transform", "depends_on": "m", "config": {"expression": f"item[0] + {total}"}}
    nodes = mapped(body, policy="fail_fast")
    nodes[0]["depends_on"] = names
    stage.worker()
    stage.supervisor()
    result = await stage.run(await stage.register(*outside, *nodes), LISTS)
    assert result.output == {"all": [item[0] + len(names) for item in LISTS]}
