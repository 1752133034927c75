"""A live run goes on with another version of its workflow: on real servers, with all that keeps a run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from courante.replay import verify_run
from courante.sdk.errors import InputInvalid, NotMigratable, RunNotFound, WorkflowNotFound
from courante.sdk.migration import migrations
from courante.sdk.migration.migration_calls import migrate_run
from courante.sdk.stores.runs import get_run, list_steps
from integration.cases import node
from integration.hastening import hasten
from integration.stage import Stage, until
from integration.standing import lives_as_logged, recorded

pytestmark = pytest.mark.anyio


def computes(name: str, expression: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    config = {"expression": expression}
    return {"id": name, "type": "transform", "config": config, "depends_on": list(depends_on), **more}


def hears(name: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "signal", "depends_on": list(depends_on), "config": {"name": name}, **more}


def rests(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "wait", "config": {"for": "30m"}, **more}


FIRST = (
    computes("a", "input + 1"),
    hears("go", "a"),
    computes("b", "steps.a.output * 10", "a"),
    computes("z", "steps.b.output", "b", "go"),
)
SECOND = (
    computes("new", "steps.a.output + 100", "go"),
    computes("z", "[steps.b.output, steps.new.output, steps.go.output]", "b", "new"),
    computes("b", "steps.a.output * 10", "a"),
    hears("go", "a"),
    computes("a", "input + 1"),
    computes("last", "steps.z.output", "z"),
)


async def waits(stage: Stage, run_id: str, *steps: str) -> None:
    """Until these wait, nothing is in anybody's hands, and the log knows all of it."""

    async def waiting() -> set[str]:
        async with stage.client.pool.acquire() as conn:
            return {row.node for row in await list_steps(conn, run_id) if row.status in ("WAITING", "RETRYING")}

    await until(waiting, lambda found: found >= set(steps))
    await until(stage.pending, lambda pending: not pending)
    await until(lambda: recorded(stage), bool)


async def parked(stage: Stage, *nodes: Mapping[str, object], waiting: tuple[str, ...] = ("go",), **fields: Any) -> str:
    await stage.register(*nodes, **fields)
    run_id = await stage.client.submit("w", 1)
    await waits(stage, run_id, *waiting)
    return run_id


async def is_sound(stage: Stage, run_id: str) -> None:
    async with stage.client.pool.acquire() as conn:
        found = await verify_run(conn, stage.place.env, run_id)
    assert found.ok, found
    assert not found.unchecked


async def test_a_run_goes_on_with_another_version(stage: Stage) -> None:
    """What is done is done, a half-filled join goes on, what is read anew is there; rows, log and Redis agree."""
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST, output="steps.z.output")
    await stage.register(*SECOND, output="steps.last.output")
    seen = await stage.client.migrate_run(run_id, dry_run=True)
    assert (seen.is_moved, seen.blockers, seen.before.version, seen.after.version) == (False, (), 1, 2)
    done = await stage.client.migrate_run(run_id, 2, by="me", reason="because; of | this")
    assert done.is_moved
    event = (await stage.events(run_id))[-1]
    assert (event.facts.type, event.facts.reason) == ("run.migrated", "because; of | this")
    assert event.facts.data == {"from": done.before.ir, "ir": done.after.ir, "version": 2, "by": "me"}
    async with stage.client.pool.acquire() as conn:
        row = await get_run(conn, run_id)
    assert (row.version, row.ir_hash) == (2, done.after.ir)
    assert await lives_as_logged(stage, [run_id]) == 1
    await is_sound(stage, run_id)
    await stage.client.signal(run_id, "go", "heard")
    result = await stage.result(run_id)
    assert result.output == [20, 102, "heard"]
    assert await stage.succeeded(run_id) == ["a", "b", "go", "new", "z", "last"]
    await is_sound(stage, run_id)


async def test_the_same_version_changes_nothing(stage: Stage) -> None:
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST)
    before = await stage.types(run_id)
    assert not (await stage.client.migrate_run(run_id, "latest")).is_moved
    await stage.register(*SECOND)
    assert (await stage.client.migrate_run(run_id)).is_moved
    again = await stage.client.migrate_run(run_id, 2)
    assert (again.is_moved, again.before, again.after.version) == (False, again.after, 2)
    assert await stage.types(run_id) == [*before, "run.migrated"]


async def test_versions_have_names(stage: Stage) -> None:
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST)
    await stage.register(*SECOND)
    async with stage.client.pool.acquire() as conn:
        address = (await stage.client.catalog.resolve(conn, "w", 2)).plan.hash
    for name in (2, "2", "latest", "LATEST", address, address[:8]):
        assert (await stage.client.migrate_run(run_id, name, dry_run=True)).after.version == 2
    for name in (3, 0, "abcdef0123"):
        with pytest.raises(WorkflowNotFound):
            await stage.client.migrate_run(run_id, name)
    with pytest.raises(InputInvalid):
        await stage.client.migrate_run(run_id, "newest")
    with pytest.raises(RunNotFound):
        await stage.client.migrate_run("run_none", 2)


async def test_what_stands_in_the_way_is_told_and_nothing_moves(stage: Stage) -> None:
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST)
    await stage.register(FIRST[0], FIRST[2], computes("z", "1", "b"), computes("c", "1"))
    with pytest.raises(NotMigratable) as caught:
        await stage.client.migrate_run(run_id, 2)
    assert caught.value.reason == "blocked"
    assert caught.value.blockers[0].token == f"{run_id}/go/"
    assert "run.migrated" not in await stage.types(run_id)
    assert (await stage.client.migrate_run(run_id, 2, dry_run=True)).blockers == caught.value.blockers
    await stage.client.signal(run_id, "go")
    assert (await stage.result(run_id)).status == "COMPLETED"
    with pytest.raises(NotMigratable) as ended:
        await stage.client.migrate_run(run_id, 1)
    assert ended.value.reason == "ended"


async def test_a_step_in_hand_ends_by_its_version(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the run stays; a pause lets it end, and begins nothing new."""
    monkeypatch.setattr(migrations, "PATIENCE_S", 0.3)
    begun, may_end = anyio.Event(), anyio.Event()

    async def work(given: Any) -> Any:
        begun.set()
        await may_end.wait()
        return given

    stage.worker({"work": work})
    stage.supervisor()
    held = node("a", type="function", config={"handler": "work"})
    await stage.register(held, computes("b", "1", "a"))
    run_id = await stage.client.submit("w", 1)
    await begun.wait()
    await stage.register(held, computes("b", "2", "a"), computes("c", "steps.b.output + 1", "b"))
    with pytest.raises(NotMigratable) as caught:
        await stage.client.migrate_run(run_id)
    assert [blocker.code for blocker in caught.value.blockers] == ["in_hands"]
    assert caught.value.blockers[0].token == f"{run_id}/a/"
    await stage.client.pause(run_id)
    may_end.set()
    await until(stage.pending, lambda pending: not pending)
    assert (await stage.client.migrate_run(run_id)).is_moved
    assert await lives_as_logged(stage, [run_id]) == 1
    await stage.client.resume(run_id)
    assert (await stage.result(run_id)).output == {"c": 3}
    await is_sound(stage, run_id)


async def test_a_run_that_moves_in_between_is_proved_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST, computes("after", "steps.z.output", "z"), hears("end", "after"))
    longer = (*FIRST, computes("after", "steps.z.output", "z"), hears("end", "after"), computes("y", "7", "end"))
    await stage.register(*longer)
    calls = list[str]()

    async def after_a_signal(*given: Any) -> Any:
        if not calls:
            await stage.client.signal(run_id, "go")
            await waits(stage, run_id, "end")
        calls.append("")
        return await migrate_run(*given)

    monkeypatch.setattr(migrations, "migrate_run", after_a_signal)
    assert (await stage.client.migrate_run(run_id)).is_moved
    assert len(calls) == 2
    await stage.client.signal(run_id, "end")
    assert (await stage.result(run_id)).output == {"y": 7}
    await is_sound(stage, run_id)


async def test_everything_that_waits_moves(stage: Stage) -> None:
    """Decisions, times, mutexes, slots, retries, maps whose items wait, loops: each goes on where it was."""
    fails: list[int] = []

    async def flaky(given: Any) -> Any:
        fails.append(1)
        if len(fails) == 1:
            raise ConnectionError("later")
        return "mended"

    def nodes(*more: dict[str, Any], limit: int = 1) -> list[dict[str, Any]]:
        return [
            *more,
            {"id": "ask", "type": "approval", "config": {"expires": "2h"}},
            rests("rest"),
            *(rests(name, mutex="m") for name in ("m1", "m2")),
            *(rests(name, concurrency={"key": "'k'", "limit": 1}) for name in ("s1", "s2")),
            node("flaky", type="function", config={"handler": "flaky"}, retry={"base": "30m", "max": "30m"}),
            {"id": "map", "type": "map", "config": {"items": "[1, 2, 3]", "max_concurrency": limit + 1}},
            hears("item", "map"),
            {"id": "all", "type": "aggregate", "depends_on": ["item"]},
            computes("count", "loop.iteration"),
            hears("turn", "count", loop={"while": "loop.iteration < 2", "back_to": "count"}),
        ]

    stage.worker({"flaky": flaky})
    stage.supervisor()
    waiting = ("ask", "rest", "flaky", "item", "turn", "m1", "m2", "s1", "s2")
    run_id = await parked(stage, *nodes(), waiting=waiting)
    longer = nodes(computes("tail", "steps.all.output", "all"), computes("after", "'done'", "turn"), limit=2)
    await stage.register(*longer, policy={"timeout": "1h", "max_parallel": 3})
    assert (await stage.client.migrate_run(run_id)).is_moved
    await until(stage.pending, lambda pending: not pending)
    assert await hasten(stage, run_id, before_ms=40 * 60_000) == 4, (
        "of two that exclude each other one waits for a time"
    )
    await stage.client.approve(run_id, "ask")
    for name in ("turn", "turn", "item", "item", "item"):
        await stage.client.signal(run_id, name, name)

    async def hastened() -> list[str]:
        await hasten(stage, run_id, before_ms=40 * 60_000)
        return await stage.types(run_id)

    await until(hastened, lambda types: "run.completed" in types)
    result = await stage.result(run_id)
    assert result.status == "COMPLETED", result
    assert result.output["tail"] == ["item"] * 3
    assert (result.output["after"], result.output["flaky"]) == ("done", "mended")
    await is_sound(stage, run_id)


async def test_a_bound_comes_changes_and_goes(stage: Stage) -> None:
    """max_parallel: who waits for room is let in as the new version says."""
    stage.supervisor()
    nodes = [computes(name, "1") for name in "abcde"]
    await stage.register(*nodes, policy={"max_parallel": 2})
    run_id = await stage.client.submit("w")
    await until(lambda: recorded(stage), bool)
    for policy in ({"max_parallel": 3}, {"max_parallel": 1}, {}, {"max_parallel": 4}, {"timeout": "1h"}):
        await stage.register(*nodes, policy=policy)
        assert (await stage.client.migrate_run(run_id)).is_moved
        assert await lives_as_logged(stage, [run_id]) == 1
    stage.worker()
    assert (await stage.result(run_id)).output == dict.fromkeys("abcde", 1)
    await is_sound(stage, run_id)


async def test_a_run_that_moved_is_there_again_when_redis_has_lost_all(stage: Stage) -> None:
    stage.worker()
    stage.supervisor()
    run_id = await parked(stage, *FIRST, output="steps.z.output")
    await stage.register(*SECOND, output="steps.last.output")
    assert (await stage.client.migrate_run(run_id)).is_moved
    await stage.redis.flushall()
    keys = stage.client.keys.partition(0)
    await until(lambda: stage.redis.exists(keys.run(run_id)), bool)
    await until(lambda: recorded(stage), bool)
    assert await lives_as_logged(stage, [run_id]) == 1
    await stage.client.signal(run_id, "go", "heard")
    assert (await stage.result(run_id)).output == [20, 102, "heard"]
    await is_sound(stage, run_id)


async def test_a_run_that_moved_is_retried_with_what_it_had_then(stage: Stage) -> None:
    """Its failure came after the move, or before it: the new run has the version that was in force."""
    stage.worker()
    stage.supervisor()
    fails = computes("f", "[][9]", "go", retry={"max_attempts": 1})
    run_id = await parked(stage, *FIRST[:3], output="1")
    await stage.register(*FIRST[:3], fails, output="2")
    assert (await stage.client.migrate_run(run_id)).is_moved
    await stage.client.signal(run_id, "go")
    assert (await stage.result(run_id)).status == "FAILED"
    again = await stage.client.retry(run_id)
    assert again.impacted == ("f",)
    assert (await stage.result(again.run_id)).status == "FAILED"
    await is_sound(stage, again.run_id)
    async with stage.client.pool.acquire() as conn:
        assert (await get_run(conn, again.run_id)).version == 2


async def test_a_run_that_failed_before_it_moved_is_retried_from_there(stage: Stage) -> None:
    stage.worker()
    stage.supervisor()
    policy = {"on_failure": "continue"}
    fails = computes("f", "[][9]", retry={"max_attempts": 1})
    run_id = await parked(stage, fails, hears("go"), policy=policy)
    await stage.register(fails, hears("go"), computes("y", "1", "go"), policy=policy)
    assert (await stage.client.migrate_run(run_id)).is_moved
    await stage.client.signal(run_id, "go")
    assert (await stage.result(run_id)).status == "FAILED"
    assert await stage.succeeded(run_id) == ["go", "y"]
    again = await stage.client.retry(run_id)
    await waits(stage, again.run_id, "go")
    async with stage.client.pool.acquire() as conn:
        assert (await get_run(conn, again.run_id)).version == 1
    await stage.client.signal(again.run_id, "go")
    await stage.result(again.run_id)
    assert await stage.succeeded(again.run_id) == ["go"]
