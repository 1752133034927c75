"""Signals that bring a map items while its token is under way are taken all at once, and none of them twice."""

from __future__ import annotations

from typing import Any

import pytest

from courante.replay import Verification, verify_run
from courante.sdk.outcomes.early_signals import TAKEN_BYTES_MAX
from integration.stage import Stage

pytestmark = pytest.mark.anyio


def door(items: str = "[]", **more: Any) -> list[dict[str, Any]]:
    return [
        {"id": "m", "type": "map", "config": {"items": items, "more": {"signal": "found", **more}}},
        {"id": "w", "type": "noop", "depends_on": "m"},
        {"id": "all", "type": "aggregate", "depends_on": "w"},
    ]


def texts(number: int, length: int) -> list[str]:
    return [f"{number}.{place} {'x' * length}" for place in range(3)]


async def verified(stage: Stage, run_id: str) -> Verification:
    async with stage.client.pool.acquire() as conn:
        return await verify_run(conn, stage.place.env, run_id)


async def openings(stage: Stage, run_id: str) -> list[dict[str, object]]:
    """What the map has said of its items, each time."""
    return [event.facts.data for event in await stage.events(run_id) if "items" in event.facts.data]


@pytest.mark.parametrize("length", [200, 4_000], ids=["inline", "stored apart"])
async def test_what_has_come_meanwhile_is_taken_at_once(stage: Stage, length: int) -> None:
    """In its order, up to the last one; what comes behind that is left. A list that is short goes one by one."""
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(*door()))
    sent = [texts(number, length) for number in range(60)]
    for items in sent:
        await stage.client.signal(run_id, "found", items)
    await stage.client.signal(run_id, "found", {"items": ["end"], "is_last": True})
    await stage.client.signal(run_id, "found", ["too late"])
    stage.worker(database_url=stage.place.database_url)
    result = await stage.result(run_id)
    assert result.output == {"all": [text for items in sent for text in items] + ["end"]}
    told = await openings(stage, run_id)
    taken = [int(str(data.get("early", 0))) for data in told]
    assert len(told) <= 6, told
    assert sum(taken) + len(told) - 1 == 61, "the first time nothing is taken, and else one and what has come since"
    found = await verified(stage, run_id)
    assert found.ok, found


@pytest.mark.parametrize("length", [7_000, 30_000], ids=["inline", "stored apart"])
async def test_very_much_is_taken_in_parts(stage: Stage, length: int) -> None:
    """What one turn takes is bounded by its size, wherever that is."""
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(*door("[input]"), id="parts"), "y" * 2_000)
    for number in range(120):
        await stage.client.signal(run_id, "found", [str(number) * 10, "x" * length])
    await stage.client.signal(run_id, "found", {"items": [], "is_last": True})
    stage.worker(database_url=stage.place.database_url)
    assert len((await stage.result(run_id)).output["all"]) == 241
    told = await openings(stage, run_id)
    most = TAKEN_BYTES_MAX // length + 1
    assert 120 // (most + 1) < len(told) < 20
    assert max(int(str(data.get("early", 0))) for data in told) in (most, most - 1)


async def test_doors_of_one_name_share_what_comes(stage: Stage) -> None:
    """Of several that are worked on at once each signal is one's, and all of them end."""
    stage.supervisor()
    for _ in range(2):
        stage.worker(database_url=stage.place.database_url)
    body = door("[item]")
    body[0]["depends_on"] = "n"
    outer = {"id": "n", "type": "map", "config": {"items": "input"}}
    both = {"id": "both", "type": "aggregate", "depends_on": "all"}
    run_id = await stage.client.submit(await stage.register(outer, *body, both, id="many"), ["y" * 2_000] * 3)
    for number in range(150):
        await stage.client.signal(run_id, "found", [f"{number} {'x' * 100}"])
    for _ in range(3):
        await stage.client.signal(run_id, "found", {"items": [], "is_last": True})
    result = await stage.result(run_id)
    found = sorted(int(text.split()[0]) for items in result.output["both"] for text in items[1:])
    assert found == list(range(150))
    assert (await verified(stage, run_id)).ok


async def test_what_goes_on_from_a_run_has_the_signals_that_were_not_taken_by_then(stage: Stage) -> None:
    """A fork from before the door took them takes them again; one from behind it has their items, as a rerun has."""
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(*door("[input]"), id="forked"), "y" * 2_000)
    for number in range(20):
        await stage.client.signal(run_id, "found", texts(number, 100))
    await stage.client.signal(run_id, "found", {"items": ["end"], "is_last": True})
    stage.worker(database_url=stage.place.database_url)
    output = (await stage.result(run_id)).output
    (taken,) = [event for event in await stage.events(run_id) if event.facts.data.get("early")]
    for at in (taken.seq - 1, taken.seq):
        fork = await stage.client.fork(run_id, at)
        assert (await stage.result(fork.run_id)).output == output
        assert (await verified(stage, fork.run_id)).ok
    again = await stage.client.rerun(run_id, ["all"])
    assert (await stage.result(again.run_id)).output == output
    assert (await verified(stage, again.run_id)).ok
