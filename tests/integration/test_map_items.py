"""What a step in the body of a map is given: its own item, however it came to the worker."""

from __future__ import annotations

from typing import Any

import pytest

from courante.sdk.marking.plan import READS_MAX
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
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

    silent = stage.worker({"w": held}, concurrency=1)
    stage.supervisor()
    workflow = await stage.register(*mapped(step("w", "w", "m"), max_concurrency=1))
    run_id = await stage.client.submit(workflow, LISTS)

    async def count() -> int:
        return len(given)

    await until(count, bool)
    await stage.kill(0)
    await stage.run_out(silent)
    stage.worker({"w": quick})
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


@pytest.mark.parametrize(
    ("policy", "count", "bad", "told"),
    [
        ("fail_fast", 12, 7, "1 of 12 items failed, and at most 0 may: m[7]: ValueError: not 7"),
        ("fail_fast", 2_500, 2_345, "1 of 2500 items failed, and at most 0 may: m[2345]: ValueError: not 2345"),
        ({"tolerate": 1}, 12, 7, "3 of 12 items failed, and at most 1 may: m[7]: ValueError: not 7"),
    ],
)
async def test_an_aggregate_that_fails_says_by_which_item(
    stage: Stage, policy: Any, count: int, bad: int, told: str
) -> None:
    """The first one that failed, or the one that has closed the map, with its error."""

    async def picky(value: int) -> int:
        if value >= bad and value % 2:
            raise ValueError(f"not {value}")
        return value

    stage.worker({"picky": picky})
    stage.supervisor()
    nodes = mapped(step("w", "picky", "m", retry={"max_attempts": 1}), policy=policy, max_concurrency=2)
    result = await stage.run(await stage.register(*nodes), list(range(count)))
    assert result.error is not None
    assert (result.error["type"], result.error["message"]) == ("ITEMS_FAILED", told)


async def test_fields_of_an_object_are_items_in_the_order_of_their_names(stage: Stage) -> None:
    """However the object came about."""
    stage.worker()
    stage.supervisor()
    nodes = mapped({"id": "w", "type": "noop", "depends_on": "m"}, items="{'b': input, 10: 'x', 'a': 2}")
    result = await stage.run(await stage.register(*nodes), 1)
    items = [{"key": "10", "value": "x"}, {"key": "a", "value": 2}, {"key": "b", "value": 1}]
    assert result.output == {"all": items}


@pytest.mark.parametrize(("value", "told"), [(None, "null"), (True, "a boolean"), (1, "an integer"), ("x", "a string")])
async def test_what_is_no_list_is_named_in_the_words_of_json(stage: Stage, value: object, told: str) -> None:
    """Of a map and of a filter."""
    stage.worker()
    stage.supervisor()
    nodes = mapped({"id": "w", "type": "noop", "depends_on": "m"})
    result = await stage.run(await stage.register(*nodes), value)
    assert (result.error or {})["message"] == f"a map runs over a list or an object, not {told}"
    kept = {"id": "kept", "type": "filter", "config": {"where": "true"}}
    result = await stage.run(await stage.register(kept, id="other"), value)
    assert (result.error or {})["message"] == f"a filter reads a list, not {told}"
