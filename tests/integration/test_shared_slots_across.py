"""Slots and rates where runs are of several versions, paused, forked, cancelled or failing, in maps and in loops."""

from __future__ import annotations

import itertools
import operator
from functools import partial

import anyio
import pytest

from integration.gauge import Gauge
from integration.onlooker import agrees
from integration.stage import Stage, until
from integration.test_shared_slots import holders, row, shared

pytestmark = pytest.mark.anyio


async def _inside(gauge: Gauge) -> int:
    return gauge.inside


async def _waiting(stage: Stage) -> int:
    return len(await row(stage))


async def at_work(stage: Stage, gauge: Gauge, inside: int, waiting: int) -> None:
    await until(partial(_inside, gauge), partial(operator.eq, inside))
    await until(partial(_waiting, stage), partial(operator.eq, waiting))


async def all_went_well(stage: Stage, gauge: Gauge, ids: list[str]) -> None:
    """Every run is COMPLETED as its log says, and every slot is free."""
    gauge.gate.set()
    assert {result.status for result in await stage.results(ids)} == {"COMPLETED"}
    assert (await holders(stage), await row(stage)) == (0, [])
    for run_id in ids:
        await agrees(stage, run_id)


def keyed(limit: int) -> dict[str, object]:
    return shared("a", concurrency={"key": "'k'", "limit": limit})


@pytest.mark.parametrize(("limits", "inside"), [((1, 3), [1, 1, 1, 1]), ((3, 1), [1, 2, 2, 2])])
async def test_each_is_let_in_by_the_limit_of_its_own_version(
    stage: Stage, limits: tuple[int, int], inside: list[int]
) -> None:
    """And in the order of the row: those of the new version wait for those that came before them, and none for ever."""
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    ids: list[str] = []
    for version, given in enumerate(["ab", "cd"]):
        await stage.register(keyed(limits[version]))
        for one in given:
            ids.append(await stage.client.submit("w", one))
            now = inside[len(ids) - 1]
            await at_work(stage, gauge, now, len(ids) - now)
    await all_went_well(stage, gauge, ids)
    assert gauge.order == list("abcd")
    assert gauge.most <= max(limits)


async def test_a_raised_limit_counts_once_those_of_before_are_let_in(stage: Stage) -> None:
    gauges = {name: Gauge() for name in ("old", "new")}
    stage.supervisor()
    stage.worker({name: gauge.work for name, gauge in gauges.items()})
    ids: list[str] = []
    for name, limit, count in (("old", 1, 2), ("new", 3, 4)):
        await stage.register({**keyed(limit), "config": {"handler": name}})
        ids += [await stage.client.submit("w", f"{name} {number}") for number in range(count)]
        await until(partial(_waiting, stage), partial(operator.eq, len(ids) - 1))
    gauges["old"].gate.set()
    await at_work(stage, gauges["new"], 3, 1)
    await all_went_well(stage, gauges["new"], ids)


@pytest.mark.parametrize(
    "share",
    [
        {"concurrency": {"key": "input.nobody", "limit": 1}},
        {"concurrency": {"key": "'k'", "limit": 1, "fair": "input.nobody"}},
        {"concurrency": {"key": "'k'", "limit": 1}, "rate_limit": {"key": "input.nobody", "limit": 1, "per": "1s"}},
    ],
    ids=["key", "fair", "rate"],
)
async def test_a_key_that_cannot_be_told_fails_the_step_and_keeps_nothing(
    stage: Stage, share: dict[str, object]
) -> None:
    """Its error names the expression, its error edge is taken, and a slot that it had is free again."""
    stage.supervisor()
    stage.worker({"work": Gauge().work})
    sorry = {"id": "sorry", "type": "echo", "config": {"value": "sorry"}}
    await stage.register({**shared("a", **share), "on_error": "sorry"}, sorry)
    result = await stage.run("w", {"x": 1})
    assert (result.status, result.output) == ("COMPLETED", {"sorry": "sorry"})
    (failed,) = [event.facts for event in await stage.events(result.run_id) if event.facts.type == "step.failed"]
    assert failed.error is not None
    assert (failed.error.type, failed.attempt) == ("EXPRESSION_ERROR", 1)
    assert "input.nobody" in failed.error.message
    assert (await holders(stage), await row(stage)) == (0, [])
    await agrees(stage, result.run_id)


async def test_less_than_one_a_second_is_one_in_so_many_seconds(stage: Stage) -> None:
    """A bucket of one: who comes next has its time, and the one behind it another one; a cancelled one's is gone."""
    gauge = Gauge()
    gauge.gate.set()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    await stage.register(shared("a", rate_limit={"key": "'r'", "limit": 1, "per": "2s"}))
    dues: list[int] = []
    ids: list[str] = []
    for number in range(4):
        run_id = await stage.client.submit("w", str(number))
        events = await until(
            partial(stage.events, run_id), lambda found: any(event.facts.type == "timer.set" for event in found)
        )
        dues += [event.facts.due for event in events if event.facts.type == "timer.set"]
        ids.append(run_id)
        if number == 1:
            await stage.client.cancel(run_id)
            assert (await stage.result(run_id)).status == "CANCELLED"
    gaps = [after - before for before, after in itertools.pairwise(dues)]
    assert len(gaps) == 3
    assert all(1_999 <= gap <= 2_001 for gap in gaps[1:]), gaps
    assert gaps[0] <= 2_000
    for run_id in ids:
        await stage.client.cancel(run_id)


async def test_a_step_in_a_map_in_a_loop_shares_as_any_other(stage: Stage) -> None:
    """Each item of each iteration asks for its own slot and turn."""
    gauge = Gauge()
    gauge.gate.set()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    share = {"concurrency": {"key": "'k'", "limit": 2}, "rate_limit": {"key": "'r'", "limit": 30, "per": "1s"}}
    nodes: list[dict[str, object]] = [
        {"id": "begin", "type": "noop"},
        {"id": "m", "type": "map", "depends_on": "begin", "config": {"items": "[1, 2, 3, 4, 5]"}},
        {**shared("a", **share), "depends_on": "m", "input": "item"},
        {"id": "all", "type": "aggregate", "depends_on": "a"},
        {
            "id": "again",
            "type": "noop",
            "depends_on": "all",
            "loop": {"while": "loop.iteration < 3", "back_to": "begin", "max_iterations": 5},
        },
    ]
    run_id = await stage.client.submit(await stage.register(*nodes))
    await all_went_well(stage, gauge, [run_id])
    events = await stage.events(run_id)
    granted = {event.facts.scope for event in events if event.facts.type == "slot.granted"}
    paced = {event.facts.scope for event in events if event.facts.reason == "rate"}
    wanted = {f"{iteration}.{item}" for iteration in (1, 2, 3) for item in range(5)}
    assert (granted, paced, gauge.most) == (wanted, wanted, 2)


async def test_a_fork_of_a_run_that_holds_a_slot_asks_for_its_own(stage: Stage) -> None:
    gauge = Gauge()
    stage.supervisor()
    stage.worker({"work": gauge.work})
    await stage.register(keyed(1))
    run_id = await stage.client.submit("w", "x")
    await at_work(stage, gauge, 1, 0)
    events = await until(
        partial(stage.events, run_id), lambda found: any(each.facts.type == "slot.granted" for each in found)
    )
    fork = await stage.client.fork(run_id, events[-1].seq)
    await at_work(stage, gauge, 1, 1)
    await all_went_well(stage, gauge, [run_id, fork.run_id])
    assert gauge.most == 1


async def test_a_retry_of_a_run_that_failed_with_a_slot_asks_anew(stage: Stage) -> None:
    """The run that failed has let go of it, and so does the one that goes on from it."""
    seen: list[str] = []

    async def work(given: str) -> str:
        seen.append(given)
        if len(seen) == 1:
            raise ValueError("once")
        return given

    stage.supervisor()
    stage.worker({"work": work})
    await stage.register({**keyed(1), "retry": {"max_attempts": 1}})
    failed = await stage.run("w", "x")
    assert (failed.status, await holders(stage)) == ("FAILED", 0)
    again = await stage.client.retry(failed.run_id)
    assert (await stage.result(again.run_id)).status == "COMPLETED"
    granted = [event for event in await stage.events(again.run_id) if event.facts.type == "slot.granted"]
    assert (len(granted), await holders(stage), await row(stage)) == (1, 0, [])


async def test_a_run_that_is_paused_is_given_no_slot_before_it_goes_on(stage: Stage) -> None:
    """It would keep that as long as it is paused. Those behind it are let in; it has its place when it goes on."""
    gauge = Gauge()

    async def quick(given: str) -> str:
        return given

    stage.supervisor()
    stage.worker({"work": gauge.work, "quick": quick})
    await stage.register(keyed(1))
    await stage.register({**keyed(1), "config": {"handler": "quick"}}, id="next")
    holder = await stage.client.submit("w", "x")
    await at_work(stage, gauge, 1, 0)
    paused, other = [await stage.client.submit("next", given) for given in "yz"]
    await at_work(stage, gauge, 1, 2)
    await stage.client.pause(paused)
    gauge.gate.set()
    assert (await stage.result(other)).status == "COMPLETED"
    assert "slot.granted" not in await stage.types(paused)
    await stage.client.resume(paused)
    await all_went_well(stage, gauge, [holder, paused, other])


async def hold_and_pause(stage: Stage, gauge: Gauge, waiting: int) -> tuple[str, str]:
    """Return a run that has the only slot, and one that was paused while so many of its steps wait for that."""
    stage.supervisor(audit_s=0.1)
    stage.worker({"work": gauge.work})
    await stage.register(keyed(1))
    nodes: list[dict[str, object]] = [
        {"id": "m", "type": "map", "config": {"items": f"{list(range(waiting))}"}},
        {**keyed(1), "depends_on": "m", "input": "item"},
        {"id": "all", "type": "aggregate", "depends_on": "a"},
    ]
    await stage.register(*nodes, id="many")
    holder = await stage.client.submit("w", "x")
    await at_work(stage, gauge, 1, 0)
    paused = await stage.client.submit("many")
    await at_work(stage, gauge, 1, waiting)
    await stage.client.pause(paused)
    return holder, paused


async def test_a_paused_run_of_very_many_that_wait_holds_up_nobody(stage: Stage) -> None:
    """No call passes all of them at once; the audit goes on with what is left."""
    gauge = Gauge()
    holder, paused = await hold_and_pause(stage, gauge, 350)
    other = await stage.client.submit("w", "y")
    await at_work(stage, gauge, 1, 351)
    gauge.gate.set()
    assert {result.status for result in await stage.results([holder, other])} == {"COMPLETED"}
    await stage.client.resume(paused)
    await until(lambda: stage.types(paused), lambda types: "slot.granted" in types)
    await stage.client.cancel(paused)
    assert (await stage.result(paused)).status == "CANCELLED"
    assert (gauge.most, await holders(stage), await row(stage)) == (1, 0, [])
    await agrees(stage, paused)


async def test_those_of_a_run_that_was_paused_are_let_in_in_their_old_order(stage: Stage) -> None:
    """However many of its steps wait, and before those that came later."""
    gauge = Gauge()
    holder, paused = await hold_and_pause(stage, gauge, 6)
    gauge.gate.set()
    assert (await stage.result(holder)).status == "COMPLETED"
    await until(partial(holders, stage), partial(operator.eq, 0))
    await stage.client.resume(paused)
    await all_went_well(stage, gauge, [holder, paused])
    granted = [event.facts.scope for event in await stage.events(paused) if event.facts.type == "slot.granted"]
    assert granted == [str(item) for item in range(6)]


async def test_who_comes_back_is_before_those_that_came_meanwhile(stage: Stage) -> None:
    """Also where nobody else has waited for a while: the count of who came when does not begin anew."""
    gauge, leave = Gauge(), anyio.Event()

    async def hold(given: str) -> str:
        await leave.wait()
        return given

    stage.supervisor()
    stage.worker({"work": gauge.work, "hold": hold})
    await stage.register(keyed(1))
    await stage.register({**keyed(1), "config": {"handler": "hold"}}, id="held")
    holder = await stage.client.submit("held", "x")
    await until(partial(holders, stage), partial(operator.eq, 1))
    others = [await stage.client.submit("held", given) for given in "ab"]
    await until(partial(_waiting, stage), partial(operator.eq, 2))
    paused = await stage.client.submit("w", "paused")
    await until(partial(_waiting, stage), partial(operator.eq, 3))
    for run_id in others:
        await stage.client.cancel(run_id)
    await until(partial(_waiting, stage), partial(operator.eq, 1))
    await stage.client.pause(paused)
    leave.set()
    assert (await stage.result(holder)).status == "COMPLETED"
    await until(partial(_waiting, stage), partial(operator.eq, 0))
    ids = [await stage.client.submit("w", "first")]
    await at_work(stage, gauge, 1, 0)
    for number, given in enumerate(["second", "third"], start=1):
        ids.append(await stage.client.submit("w", given))
        await at_work(stage, gauge, 1, number)
    await stage.client.resume(paused)
    await at_work(stage, gauge, 1, 3)
    await all_went_well(stage, gauge, [*ids, paused])
    assert gauge.order == ["first", "paused", "second", "third"]
    assert not [key async for key in stage.redis.scan_iter("*slotf:*")], "nothing of it is left"
