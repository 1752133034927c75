"""Verifying maps: what a map has opened with and what aggregates come to is made again from what was logged before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from courante.sdk.embedded import Servers
from courante.sdk.events import ErrorInfo
from integration.cases import node, signal
from integration.floor import Done, Floor, open_floor
from integration.test_replay_verify import Rewrite, change, seq_of, verify_rewritten

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("sweeping")]


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    async with open_floor(embedded_servers) as made:
        yield made


def mapped(**config: Any) -> dict[str, Any]:
    """Batches of items inside of items, so that every kind of list is made."""
    nodes = [
        node("m", type="map", config={"items": "input", **config}),
        node("n", "m", type="map", config={"items": "item.list", "batch_size": 2}),
        node("w", "n"),
        node("inner", "w", type="aggregate"),
        node("all", "inner", type="aggregate", config={"reduce": "acc + size(item)", "initial": 0}),
    ]
    return {"courante": 1, "id": "mapped", "nodes": nodes}


@pytest.fixture
async def done(floor: Floor) -> Done:
    done = await floor.run(mapped(), [{"list": [1, 2, 3]}, {"list": []}])
    assert done.verification.ok, done.verification
    assert done.result.output == {"all": 2}
    return done


@pytest.mark.parametrize(
    ("rewrite", "node", "scope", "expected", "found"),
    [
        (
            change("step.succeeded", "m", payload=b'[{"list":[1,2]},{"list":[]}]'),
            "m",
            "",
            '2: [{"list":[1,2,3]},{"list":[]}]',
            '2: [{"list":[1,2]},{"list":[]}]',
        ),
        (change("step.succeeded", "m", data={"items": 3}), "m", "", "2: ", "3: "),
        (change("step.succeeded", "n", payload=b"[1,2,4]", scope="0"), "n", "0", "2: [1,2,3]", "2: [1,2,4]"),
        (change("step.succeeded", "n", data={"items": 0}, scope="0"), "n", "0", "2: [1,2,3]", "0: [1,2,3]"),
    ],
)
async def test_items_that_were_changed_are_found(
    floor: Floor, done: Done, rewrite: Rewrite, node: str, scope: str, expected: str, found: str
) -> None:
    """The list, or how many items it makes: the first event that says otherwise is named."""
    difference = await verify_rewritten(floor, done, rewrite)
    assert (difference.seq, difference.what) == (seq_of(done, "step.succeeded", node, scope), "items")
    assert difference.expected.startswith(expected)
    assert difference.found.startswith(found)


@pytest.mark.parametrize(
    ("rewrite", "node", "scope", "expected", "found"),
    [
        (change("step.succeeded", "w", payload=b"[1,3]", scope="0.0"), "inner", "0", "[[1,3],[3]]", "[[1,2],[3]]"),
        (change("step.succeeded", "inner", payload=b"[[1,2]]", scope="0"), "inner", "0", "[[1,2],[3]]", "[[1,2]]"),
        (change("step.succeeded", "all", payload=b"3"), "all", "", "2", "3"),
        (
            change("step.succeeded", "all", type="step.failed", error=ErrorInfo(type="ITEMS_FAILED", message="")),
            "all",
            "",
            "2",
            "failed, ITEMS_FAILED",
        ),
    ],
)
async def test_results_that_were_changed_are_found(
    floor: Floor, done: Done, rewrite: Rewrite, node: str, scope: str, expected: str, found: str
) -> None:
    """At the aggregate that has read them, or that has come to something else."""
    difference = await verify_rewritten(floor, done, rewrite)
    assert (difference.what, difference.expected, difference.found) == ("aggregate", expected, found)
    assert difference.seq == seq_of(done, "step.succeeded", node, scope)


@pytest.mark.parametrize("count", [3, 230])
async def test_failures_of_items_are_made_again(floor: Floor, count: int) -> None:
    """Too many are a failure, and a few are told in their places, also where results are kept by the hundred."""
    nodes = [
        node("m", type="map", config={"items": "input"}),
        node("w", "m", type="transform", config={"expression": "10 / item"}),
        node("all", "w", type="aggregate", config={"policy": {"tolerate": 1}}),
    ]
    document = {"courante": 1, "id": "failing", "nodes": nodes}
    good = await floor.run(document, [*range(1, count), 0])
    assert (good.result.status, good.verification.ok) == ("COMPLETED", True), good.verification
    assert good.verification.decisions == 3, "the items, the way of the failed one, the aggregate"
    rewrite = change("step.failed", "w", scope=str(count - 1), error=ErrorInfo(type="Other", message="no"))
    if count < 100:
        assert (await verify_rewritten(floor, good, rewrite)).what == "aggregate"
    bad = await floor.run(document, [*range(2, count), 0, 0])
    assert (bad.result.status, bad.verification.ok) == ("FAILED", True), bad.verification
    output = good.result.output["all"]
    forged = change("step.failed", "all", type="step.succeeded", error=None, payload=msgspec.json.encode(output))
    assert (await verify_rewritten(floor, bad, forged)).what == "aggregate"


async def test_a_fan_in_is_made_again(floor: Floor) -> None:
    """Of the predecessors that came live, whatever it makes of them."""
    nodes = [
        node("a", type="echo", config={"value": {"x": 1}}),
        node("b", type="echo", config={"value": {"x": 2}}, when="input.b"),
        node("all", "a", "b", type="aggregate", config={"merge": True}),
    ]
    done = await floor.run({"courante": 1, "id": "fan-in", "nodes": nodes}, {"b": False})
    assert (done.verification.ok, done.result.output) == (True, {"all": {"x": 1}})
    difference = await verify_rewritten(floor, done, change("step.succeeded", "all", payload=b'{"x":2}'))
    assert (difference.what, difference.expected, difference.found) == ("aggregate", '{"x":1}', '{"x":2}')


async def test_items_that_came_later_are_made_again(floor: Floor) -> None:
    """From the signals that have brought them."""
    commands = [signal("extra", [{"list": [1]}]), signal("extra", {"items": [], "is_last": True})]
    done = await floor.run(mapped(more={"signal": "extra"}), [], commands)
    assert done.verification.ok, done.verification
    assert done.verification.decisions > 3
    difference = await verify_rewritten(floor, done, change("step.succeeded", "m", payload=b'[{"list":[2]}]'))
    assert (difference.what, difference.found) == ("items", '1: [{"list":[2]}]')
