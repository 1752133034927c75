"""A forgotten run is nowhere to be read any more, and its log still holds together."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from courante import Context
from courante.replay import state_at, verify_run
from courante.sdk.errors import NotRestartable
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.stores.dead_letters import Wanted
from courante.sdk.stores.errors import NotEnded, UnknownRun
from courante.sdk.stores.forgetting import count_payloads, lock_ended, read_forgotten, relatives_of
from courante.sdk.stores.log import verify_chain
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from courante.supervisor.retention import forgetting as module
from courante.supervisor.retention.collector import Collector
from courante.supervisor.retention.forgetting import Emptied, Forgetting
from integration.child_runs import child
from integration.stage import Stage, until
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
SIZE = 20_000


def marker() -> str:
    return f"marker{secrets.token_hex(8)}"


def function(id: str, handler: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(depends_on), **fields}


class House:
    """A staff whose steps say ``text`` wherever a step can. ``falls``: whether the last step fails."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.falls = False

    async def work(self, given: Any, context: Context) -> Any:
        context.log(f"at work on {self.text}")
        if context.attempt == 1:
            context.heartbeat({"at": self.text})
            raise ValueError("not yet")
        artifact = await context.artifact(f"picture of {self.text}".encode(), "image/png")
        return {"artifact": artifact, "text": self.text + "y" * SIZE, "given": given}

    async def small(self, given: Any, context: Context) -> Any:
        return {"icon": await context.artifact(self.text.encode(), "image/png"), "given": given}

    async def last(self) -> str:
        if self.falls:
            raise ValueError("it fell")
        return self.text

    async def begin(self, stage: Stage) -> None:
        stage.supervisor()
        stage.worker({"work": self.work, "small": self.small, "last": self.last}, database_url=stage.place.database_url)
        retry = {"max_attempts": 2, "base": "1ms", "jitter": False}
        await stage.register(function("small", "small"), id="inner")
        await stage.register(
            function("work", "work", retry=retry),
            {"id": "asked", "type": "approval", "depends_on": "work"},
            {"id": "told", "type": "signal", "depends_on": "work", "config": {"name": "go"}},
            child("inner", depends_on="work", input={"text": "input.text"}),
            function("last", "last", "asked", "told", "child", max_retries=0),
        )

    async def play(self, stage: Stage) -> str:
        client, text = stage.client, self.text
        run_id = await client.submit("w", {"text": text})
        await until(lambda: stage.types(run_id), lambda types: types.count("step.waiting") >= 3)
        await client.pause(run_id, f"a moment, {text}")
        await client.resume(run_id, f"go on, {text}")
        await client.signal(run_id, "go", {"value": text})
        await client.approve(run_id, "asked", data={"note": text})
        await stage.result(run_id)
        return run_id


async def forget(stage: Stage, *run_ids: str, **said: Any) -> Emptied:
    return await Forgetting(stage.redis, stage.client.pool, stage.client.keys).forget(run_ids, **said)


async def _lay_over(stage: Stage) -> None:
    """Let another run be what the outbox ends with, and wait until the entries before it are gone."""
    await stage.register({"id": "a", "type": "noop"}, id="other")
    await stage.run("other")
    partition = stage.client.keys.partition(0)
    await until(lambda: stage.redis.xlen(partition.outbox), lambda length: length == 1)
    await until(lambda: stage.redis.xlen(partition.step_log), lambda length: length == 0)


@pytest.mark.parametrize("sealed", [False, True])
async def test_nothing_of_it_can_be_read_any_more(stage: Stage, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    """Every table, stream and key is searched; who asked is remembered, and the chain holds, also of the child run."""
    if sealed:
        monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"old": b"o" * 64}))
    house = House(marker())
    await house.begin(stage)
    run_id = await house.play(stage)
    await _lay_over(stage)
    if not sealed:
        assert set(await places_of(stage, house.text)) >= {"commands", "event_payloads", "payloads", "step_logs"}
    addresses = [one.artifact.digest for one in await stage.client.artifacts.of_run(run_id)]
    assert len(addresses) == 2
    async with stage.client.pool.acquire() as conn:
        tell = "INSERT INTO webhook_deliveries (env, webhook, event_id, body) VALUES ($1, 'w', $2, $3)"
        await conn.execute(tell, stage.place.env, f"{run_id}:9", house.text)
    done = await forget(stage, run_id, by="ann", reason="asked for")
    assert len(done.run_ids) == 2
    assert done.payloads >= 3
    assert done.left == 0
    assert await places_of(stage, house.text) == []
    async with stage.client.pool.acquire() as conn:
        stored = await conn.fetchval("SELECT count(*) FROM payloads WHERE encode(digest, 'hex') = ANY($1)", addresses)
        assert stored == 0
        for each in done.run_ids:
            verified = await verify_run(conn, stage.place.env, each)
            assert verified.first_difference is None
            assert verified.emptied > 0
        known = await read_forgotten(conn, [run_id])
        assert (known[run_id].by, known[run_id].reason) == ("ann", "asked for")
        await rebuild_projections(conn, stage.place.env)
    assert await places_of(stage, house.text) == []
    result = await stage.client.result(run_id)
    assert (result.status, result.output) == ("COMPLETED", None)
    again = await forget(stage, run_id, by="bob")
    assert (again.events, again.payloads) == (0, 0)
    async with stage.client.pool.acquire() as conn:
        assert (await read_forgotten(conn, [run_id]))[run_id].by == "ann"


async def test_what_another_run_has_made_as_well_stays(stage: Stage) -> None:
    """Two runs have the same outputs and artifacts: the other one still has them, and loses them with its own turn."""
    house = House(marker())
    await house.begin(stage)
    await stage.register(function("small", "small", input="1"), function("big", "work", retry={"base": "1ms"}), id="s")
    first, second = [await stage.run("s", 1), await stage.run("s", 1)]
    assert first.output == second.output
    (address, other) = [one.artifact.digest for one in await stage.client.artifacts.of_run(first.run_id)]
    assert (await forget(stage, first.run_id)).payloads == 0
    for each in (address, other):
        assert house.text in (await stage.client.artifacts.read(each)).decode()
    assert await stage.redis.exists(stage.client.keys.partition(0).run(first.run_id)) == 0
    await stage.forget(second.run_id)
    assert (await stage.client.result(second.run_id)).output == second.output
    assert (await forget(stage, second.run_id)).payloads == 4


@pytest.mark.parametrize("point", ["after_empty_run", "after_leave_redis"])
async def test_whoever_ends_in_between_leaves_nothing_for_good(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """The next sweep of a supervisor deletes what was given up; asking again does too."""

    class Ended(Exception):
        pass

    def end(reached: str) -> None:
        if reached == point:
            raise Ended

    house = House(marker())
    await house.begin(stage)
    await stage.register(function("small", "small", input="1"), function("big", "work", retry={"base": "1ms"}), id="s")
    for finish in ("sweep", "again"):
        run_id = (await stage.run("s", 1)).run_id
        with monkeypatch.context() as patch:
            patch.setattr(module, "reach", end)
            with pytest.raises(Ended):
                await forget(stage, run_id)
        await _lay_over(stage)
        if finish == "sweep":
            left = Collector(stage.redis, stage.client.pool, stage.client.keys)
            assert await left.sweep() == (0, 4)
            await stage.redis.delete(stage.client.keys.partition(0).run(run_id))
        else:
            assert (await forget(stage, run_id)).payloads == 4
        assert await places_of(stage, house.text) == []


async def test_a_failed_run_loses_its_texts_where_people_look(stage: Stage) -> None:
    """Its error says so; it cannot be started again, and what already goes on from it is named."""
    house = House(marker())
    house.falls = True
    await house.begin(stage)
    await stage.register(function("small", "small"), function("last", "last", "small", max_retries=0), id="falls")
    failed = await stage.run("falls", {"text": house.text})
    again = await stage.client.requeue(failed.run_id)
    await stage.result(again.run_id)
    await forget(stage, failed.run_id)
    async with stage.client.pool.acquire() as conn:
        relatives = await relatives_of(conn, [failed.run_id])
        assert await verify_chain(conn, failed.run_id) is None
    assert [(one.run_id, one.relation) for one in relatives] == [(again.run_id, "goes_on_from_it")]
    letters = (await stage.client.dead_letters(Wanted(run_id=failed.run_id, is_open=False))).letters
    assert [letter.error.message for letter in letters if letter.error] == ["(forgotten)"]
    assert ((await stage.client.result(failed.run_id)).error or {})["message"] == "(forgotten)"
    with pytest.raises(NotRestartable) as refused:
        await stage.client.requeue(failed.run_id, again=True)
    assert refused.value.reason == "emptied"


@pytest.mark.parametrize("sealed", [False, True])
async def test_texts_in_facts_stay_in_the_log(stage: Stage, monkeypatch: pytest.MonkeyPatch, sealed: bool) -> None:
    """What an error and a decision say is part of the chain: it stays there alone, and only a key ring hides it."""
    if sealed:
        monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"old": b"o" * 64}))
    text = marker()

    def falls() -> None:
        raise ValueError(text)

    stage.supervisor()
    stage.worker({"falls": falls})
    await stage.register(
        {"id": "asked", "type": "approval"}, function("falls", "falls", "asked", max_retries=0), id="falls"
    )
    run_id = await stage.client.submit("falls", None)
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await stage.client.approve(run_id, "asked", comment=f"well, {text}")
    await stage.result(run_id)
    await _lay_over(stage)
    assert (await places_of(stage, text) == []) == sealed
    await forget(stage, run_id)
    assert [place for place in await places_of(stage, text) if not place.startswith("event_log")] == []
    async with stage.client.pool.acquire() as conn:
        facts = await conn.fetch("SELECT facts FROM event_log WHERE run_id = $1", run_id)
        assert any(text.encode() in row["facts"] for row in facts) != sealed
        assert (await verify_run(conn, stage.place.env, run_id)).first_difference is None


async def test_only_ended_runs_are_forgotten(stage: Stage) -> None:
    """One that goes on refuses all that were named with it, before anything is emptied."""
    stage.supervisor()
    stage.worker()
    await stage.register({"id": "a", "type": "signal", "config": {"name": "go"}})
    ended = await stage.client.submit("w", "x")
    await stage.client.signal(ended, "go", 1)
    await stage.result(ended)
    living = await stage.client.submit("w", "y")
    await until(lambda: stage.types(living), lambda types: "step.waiting" in types)
    with pytest.raises(NotEnded):
        await forget(stage, ended, living)
    with pytest.raises(UnknownRun):
        await forget(stage, ended, "run_none")
    async with stage.client.pool.acquire() as conn:
        assert await read_forgotten(conn, [ended, living]) == {}
    await stage.client.signal(living, "go", 1)
    assert (await stage.result(living)).status == "COMPLETED"


async def test_looking_waits_for_nobody(stage: Stage) -> None:
    """What would be forgotten is said while a run, and the lines of steps, are held by somebody else."""
    stage.supervisor()
    stage.worker()
    await stage.register({"id": "a", "type": "noop"})
    run_ids = [(await stage.run("w", number)).run_id for number in range(2)]
    forgetting = Forgetting(stage.redis, stage.client.pool, stage.client.keys)
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await lock_ended(conn, stage.client.keys.env, run_ids[1])
        planned = await forgetting.preview([*run_ids, run_ids[0]])
        counts = [await count_payloads(conn, [run_id]) for run_id in run_ids]
    assert (planned.run_ids, planned.events) == (run_ids, sum(counts))
    assert all(counts)


async def test_cached_outputs_go_with_the_run_that_made_them(stage: Stage) -> None:
    """In Postgres and in Redis: the next run of the same input makes its own."""
    text, calls = marker(), list[str]()

    def make() -> str:
        calls.append("made")
        return text

    stage.worker({"make": make})
    stage.supervisor()
    await stage.register(function("a", "make", cache="global"))
    pattern = f"{stage.client.keys.prefix}cache:*"

    async def held() -> list[bytes]:
        return [key async for key in stage.redis.scan_iter(match=pattern)]

    run_id = (await stage.run("w", 1)).run_id
    await until(held, lambda keys: len(keys) == 1)
    await _lay_over(stage)
    async with stage.client.pool.acquire() as conn:  # as after its age, or where another run has made it since
        await conn.execute("DELETE FROM step_cache WHERE env = $1", stage.place.env)
    await forget(stage, run_id)
    assert await held() == []
    assert await places_of(stage, text) == []
    await stage.run("w", 1)
    assert len(calls) == 2


async def test_nothing_goes_on_with_an_input_that_was_forgotten(stage: Stage) -> None:
    """It is refused without an input of its own, whichever way it goes on; with one it does."""
    house, client = House(marker()), stage.client
    house.falls = True
    await house.begin(stage)
    await stage.register(function("small", "small"), function("last", "last", "small", max_retries=0), id="falls")
    run_id = (await stage.run("falls", {"text": house.text})).run_id
    await forget(stage, run_id)
    for asked in (
        client.rerun(run_id, ["small"]),
        client.fork(run_id, 1),
        client.fork(run_id, 1, override={"small": 1}),
    ):
        with pytest.raises(NotRestartable) as refused:
            await asked
        assert (refused.value.reason, "input of the run" in refused.value.message) == ("emptied", True)
    house.falls = False
    for made in (await client.rerun(run_id, ["small"], input={"text": "a"}), await client.fork(run_id, 1, input=None)):
        assert (await stage.result(made.run_id)).status == "COMPLETED"
    events = await stage.events(run_id)
    ir = str(events[0].facts.data["ir"])
    assert state_at((await client.irs([ir]))[ir], events, 1)["input"] == {"emptied": True}


async def test_nothing_goes_on_with_what_was_said_and_forgotten(stage: Stage) -> None:
    """A signal that came early, or a value that a step has not taken yet, is not taken for null."""
    stage.supervisor()
    stage.worker({})
    await stage.register(
        {"id": "one", "type": "signal", "config": {"name": "first"}},
        {"id": "two", "type": "signal", "depends_on": "one", "config": {"name": "second"}},
    )
    client = stage.client
    run_id = await client.submit("w", 1)
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await client.signal(run_id, "second", "secret")
    await until(lambda: stage.types(run_id), lambda types: "command.applied" in types)
    await client.signal(run_id, "first", "secret")
    await stage.result(run_id)
    types = await stage.types(run_id)
    early, released = types.index("command.applied") + 1, types.index("token.released") + 1
    await forget(stage, run_id)
    for seq, step in ((early, "second"), (released, "one")):
        with pytest.raises(NotRestartable) as refused:
            await client.fork(run_id, seq, input=1)
        assert (refused.value.reason, step in refused.value.message) == ("emptied", True)
    again = await client.fork(run_id, early - 1, input=1)
    await client.signal(again.run_id, "first")
    await client.signal(again.run_id, "second")
    assert (await stage.result(again.run_id)).status == "COMPLETED"
