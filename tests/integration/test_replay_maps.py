"""Verifying maps: what a map has opened with is made again from what was logged before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from courante.sdk.embedded import Servers
from integration.cases import node, signal
from integration.floor import Done, Floor, open_floor
from integration.test_replay_verify import Rewrite, change, seq_of, verify_rewritten

pytestmark = pytest.mark.anyio


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


async def test_items_that_came_later_are_made_again(floor: Floor) -> None:
    """From the signals that have brought them."""
    commands = [signal("extra", [{"list": [1]}]), signal("extra", {"items": [], "is_last": True})]
    done = await floor.run(mapped(more={"signal": "extra"}), [], commands)
    assert done.verification.ok, done.verification
    assert done.verification.decisions > 3
    difference = await verify_rewritten(floor, done, change("step.succeeded", "m", payload=b'[{"list":[2]}]'))
    assert (difference.what, difference.found) == ("items", '1: [{"list":[2]}]')
