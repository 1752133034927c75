"""With a key ring nothing that is said reaches Redis or Postgres in clear, and who has the ring reads all.

One run has a secret at every place where one can be said; what the servers were given and have is searched for it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from redis.exceptions import RedisError

from courante import Context
from courante.api.reading.runs import RunReader
from courante.replay import verify_run
from courante.sdk.client import control, submitting
from courante.sdk.errors import IdempotencyConflict, PayloadUnreadable
from courante.sdk.schedules.schedule import Schedule
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.sealing.sealing import shown_text
from courante.sdk.stores.dead_letters import Wanted
from courante.sdk.stores.rejected import list_rejected
from courante.sdk.stores.runs import list_steps
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from courante.supervisor.recovery import reconciler
from integration.child_runs import child
from integration.stage import Stage, until
from integration.standing_text import places_of
from integration.wiretap import Wiretap, wiretap

pytestmark = pytest.mark.anyio
OLD, NEW = b"o" * 64, b"n" * 64
ONCE_MORE = {"max_attempts": 2, "base": "1ms", "jitter": False}
NAMES = ("read", "sorry", "all", "child", "sorry2", "told", "asked", "outside")
_SHOWN = ", ".join(f"'{name}': steps.{name}.output" for name in NAMES)
OUTPUT = f"{{'why': steps.bad.error.message, {_SHOWN}}}"
FORM = {"type": "object", "required": ["note"]}


class Secret:
    """``text``: stands in all that is said. ``seen``: what the second attempt found of the first.

    ``handed``: the token of the step that ends outside. ``is_mended``: whoever fell falls no more.
    """

    def __init__(self) -> None:
        self.text = f"secret{secrets.token_hex(8)}"
        self.seen: list[Any] = []
        self.handed = ""
        self.is_mended = False

    async def work(self, given: dict[str, Any], context: Context) -> dict[str, Any]:
        if context.attempt == 1:
            context.heartbeat({"at": self.text})
            raise ValueError(f"not yet with {self.text}")
        self.seen.append(context.last_heartbeat)
        return {"kept": given["text"], "file": await context.artifact(self.text.encode(), "text/plain")}

    def fall(self, given: Any) -> None:
        if not self.is_mended:
            raise ValueError(f"fell over {given} and {self.text}")

    def one(self, given: str) -> str:
        if given.startswith("bad"):
            raise ValueError(f"no {given}")
        return given + self.text

    def hand(self, context: Context) -> Any:
        deferred = context.defer()
        self.handed = deferred.token
        return deferred

    async def begin(self, stage: Stage) -> None:
        stage.worker({"work": self.work, "fall": self.fall, "one": self.one, "hand": self.hand})
        stage.supervisor()


@pytest.fixture
def secret(monkeypatch: pytest.MonkeyPatch) -> Secret:
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"old": OLD}))
    return Secret()


@pytest.fixture
async def tap(stage: Stage, secret: Secret) -> AsyncGenerator[Wiretap]:
    async with wiretap(stage.place.redis_url, secret.text) as heard:
        yield heard


def calls(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "depends_on": list(after), "config": {"handler": handler}, **fields}


def makes(id: str, expression: str, *after: str, **fields: Any) -> dict[str, Any]:
    config = {"expression": expression}
    return {"id": id, "type": "transform", "depends_on": list(after), "config": config, **fields}


async def register(stage: Stage) -> str:
    await stage.register(calls("work", "one", input="input.text"), id="inner")
    await stage.register(calls("work", "fall", max_retries=0), id="falls")
    return await stage.register(
        calls("work", "work", retry=ONCE_MORE),
        makes("read", "steps.work.input.text + steps.work.output.kept", "work"),
        calls("bad", "fall", "work", max_retries=0, on_error="sorry"),
        makes("sorry", "steps.bad.error.message"),
        {"id": "each", "type": "map", "depends_on": "work", "config": {"items": "input.items"}},
        calls("item", "one", "each", max_retries=0),
        {"id": "all", "type": "aggregate", "depends_on": "item", "config": {"policy": {"tolerate": 1}}},
        child("inner", depends_on="work", input={"text": "input.text"}),
        {
            "id": "child2",
            "type": "subflow",
            "config": {"workflow": "falls"},
            "depends_on": "work",
            "on_error": "sorry2",
        },
        makes("sorry2", "steps.child2.error.message"),
        {"id": "told", "type": "signal", "depends_on": "work", "config": {"name": "go"}},
        {"id": "asked", "type": "approval", "depends_on": "work", "config": {"form": FORM}},
        calls("outside", "hand", "work"),
        id="outer",
        output=OUTPUT,
    )


async def play(stage: Stage, secret: Secret) -> str:
    """Run it to its end, with a secret at every place; return its id."""
    text, client = secret.text, stage.client
    given = {"text": text, "items": [text, f"bad{text}", f"x{text}"]}
    run_id = await client.submit(await register(stage), given, by="ann", tags=["open"])
    await until(
        lambda: stage.types(run_id), lambda types: types.count("step.waiting") >= 4 and "fanout.completed" in types
    )
    assert await places_of(stage, text) == []
    await client.pause(run_id, f"a moment, {text}")
    await client.resume(run_id, f"go on, {text}")
    await client.signal(run_id, "go", {"value": text})
    await client.approve(run_id, "asked", comment=f"well, {text}", reason=text, data={"note": text}, by="bob")
    await client.complete(secret.handed, {"did": text})
    return run_id


async def test_no_secret_reaches_the_stores(
    stage: Stage, secret: Secret, tap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither while the run goes on nor after it; who has the ring reads its output, steps and log, and replays it."""
    await secret.begin(stage)
    run_id = await play(stage, secret)
    done = await stage.result(run_id)
    assert tap.heard == []
    assert tap.commands > 100
    assert await places_of(stage, secret.text) == []
    text = secret.text
    assert done.status == "COMPLETED", done.error
    output = done.output
    assert (output["read"], output["told"], output["outside"]) == (text * 2, {"value": text}, {"did": text})
    assert output["all"][0] == text * 2
    assert output["all"][1]["error"]["message"] == f"no bad{text}"
    assert text in output["sorry"]
    assert output["why"] == output["sorry"]
    assert text in output["sorry2"]
    assert output["child"] == {"work": text * 2}
    assert output["asked"]["data"] == {"note": text}
    assert secret.seen == [{"at": text}]
    async with stage.client.pool.acquire() as conn:
        assert (await verify_run(conn, stage.place.env, run_id)).first_difference is None
        before = [row.error for row in await list_steps(conn, run_id)]
        assert f"not yet with {text}" in [error.message for error in before if error is not None]
        await rebuild_projections(conn, stage.place.env)
        assert [row.error for row in await list_steps(conn, run_id)] == before
        view = await RunReader(conn, stage.place.env, run_id).read()
        assert any(step.error is not None and text in step.error.traceback for step in view.steps)
        monkeypatch.setattr(PAYLOAD_TERMS, "codec", None)
        shown = next(row.error for row in await list_steps(conn, run_id) if row.error is not None)
        assert (shown.type, shown.traceback) == ("ValueError", "")
        assert shown.message == "(unreadable: it is encrypted, and this process has no key ring)"
        with pytest.raises(PayloadUnreadable, match="no key ring"):
            await verify_run(conn, stage.place.env, run_id)


async def test_failures_and_what_is_said_of_them(
    stage: Stage, secret: Secret, tap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed run, its dead letter, its new start, and a run that is cancelled with a reason."""
    await secret.begin(stage)
    text, client = secret.text, stage.client
    await stage.register(
        calls("work", "one"), calls("bad", "fall", "work", max_retries=0), makes("after", "input", "bad"), id="w"
    )
    failed = await stage.run("w", text)
    assert failed.error is not None
    assert text in failed.error["message"]
    assert text in str((await client.result(failed.run_id)).error)
    (letter,) = (await client.dead_letters(Wanted())).letters
    assert letter.error is not None
    assert text in letter.error.message
    again = await client.requeue(failed.run_id, by="ann")
    assert text in str((await stage.result(again.run_id)).error)
    (letter,) = (await client.dead_letters(Wanted())).letters
    await client.drop_dead_letters([letter], f"it is about {text}", by="ann")
    (dropped,) = (await client.dead_letters(Wanted(run_id=again.run_id, is_open=False))).letters
    assert dropped.drop_reason == f"it is about {text}"
    secret.is_mended = True
    mended = await client.requeue(failed.run_id, again=True)
    assert (await stage.result(mended.run_id)).output == {"after": text}
    await stage.register({"id": "a", "type": "signal", "config": {"name": "go"}}, id="waits")
    await stage.register({"id": "a", "type": "noop"}, id="ends", output="int(input)")
    assert text in str((await stage.run("ends", text)).error)
    run_id = await client.submit("waits", text)
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await client.cancel(run_id, f"because of {text}")
    assert (await stage.result(run_id)).status == "CANCELLED"
    assert tap.heard == []
    assert await places_of(stage, text) == []
    async with client.pool.acquire() as conn:
        asked = "SELECT count(DISTINCT body) FROM commands WHERE run_id = ANY($1) AND number = 1"
        assert await conn.fetchval(asked, [failed.run_id, again.run_id, mended.run_id]) == 1
        for each in (failed.run_id, again.run_id, mended.run_id, run_id):
            assert (await verify_run(conn, stage.place.env, each)).first_difference is None
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", None)
    (dropped,) = (await client.dead_letters(Wanted(run_id=again.run_id, is_open=False))).letters
    assert dropped.drop_reason == "(unreadable: it is encrypted, and this process has no key ring)"


async def test_the_reason_of_a_move_to_another_version(stage: Stage, secret: Secret, tap: Wiretap) -> None:
    """It stands in the log, and is read with the key."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "signal", "config": {"name": "go"}})
    run_id = await stage.client.submit("w", None)
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await until(stage.pending, lambda pending: not pending)
    await stage.register({"id": "a", "type": "signal", "config": {"name": "go"}}, makes("b", "1", "a"))
    await stage.client.migrate_run(run_id, 2, reason=f"because of {secret.text}")
    await until(lambda: stage.types(run_id), lambda types: "run.migrated" in types)
    assert tap.heard == []
    assert await places_of(stage, secret.text) == []
    (moved,) = [event.facts for event in await stage.events(run_id) if event.facts.type == "run.migrated"]
    assert shown_text(moved.reason) == f"because of {secret.text}"
    async with stage.client.pool.acquire() as conn:
        assert (await verify_run(conn, stage.place.env, run_id)).first_difference is None


async def test_the_same_request_is_the_same_under_a_newer_key(
    stage: Stage, secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one conflicts; without the keys they cannot be told apart, and that is said."""
    await stage.register({"id": "a", "type": "noop"})
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", None)
    clear = await stage.client.submit("w", secret.text, key="clear")
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"old": OLD}))
    run_id = await stage.client.submit("w", secret.text, key="sealed")
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": NEW, "old": OLD}))
    assert await stage.client.submit("w", secret.text, key="sealed") == run_id
    assert await stage.client.submit("w", secret.text, key="clear") == clear
    for key in ("sealed", "clear"):
        with pytest.raises(IdempotencyConflict):
            await stage.client.submit("w", f"not {secret.text}", key=key)
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", None)
    with pytest.raises(PayloadUnreadable, match="no key ring"):
        await stage.client.submit("w", secret.text, key="sealed")


async def test_schedules_and_refusals(
    stage: Stage, secret: Secret, tap: Wiretap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input of a schedule, and a submission that is refused for what it holds."""
    text, client = secret.text, stage.client
    await stage.register({"id": "a", "type": "noop"}, input={"enum": [1]}, id="picky")
    await stage.register({"id": "a", "type": "noop"})
    await client.schedules.create(Schedule(id="s", workflow="w", input={"text": text}, every_ms=3_600_000))
    assert tap.heard == []
    submit = client.keys.partition(0).submit

    async def heard() -> list[str]:
        return tap.heard

    await stage.redis.xadd(submit, {"workflow": "picky", "input": f'"{text}"', "key": "k"})
    await until(heard, bool)
    handed = len(tap.heard)
    stage.supervisor()
    await until(lambda: stage.redis.xlen(submit), lambda length: length == 0)
    assert len(tap.heard) == handed
    assert await places_of(stage, text) == []
    async with client.pool.acquire() as conn:
        (refused,) = await list_rejected(conn, stage.place.env)
        assert msgspec.json.decode(refused.fields) == {"workflow": "picky", "input": f'"{text}"', "key": "k"}
        assert text in refused.reason
    assert (await client.schedules.trigger("s")).state == "started"
    await stage.register({"id": "a", "type": "noop"}, input={"properties": {"text": {"enum": [1]}}})
    since = await client.schedules.clock() - timedelta(minutes=90)
    await client.schedules.backfill("s", since)

    async def failed() -> list[str]:
        return [tick.reason or "" for tick in await client.schedules.ticks("s") if tick.state == "failed"]

    assert text in (await until(failed, bool))[0]
    assert await places_of(stage, text) == []
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", None)
    (kept,) = await client.schedules.list()
    assert kept.schedule.input.unreadable == "it is encrypted, and this process has no key ring"


async def test_what_redis_has_not_heard_of_is_applied_by_who_has_the_key(
    stage: Stage, secret: Secret, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A start and a signal that cannot be read hold up no others."""
    await stage.register({"id": "a", "type": "signal", "config": {"name": "go"}}, makes("b", "input", "a"))
    stage.worker()
    running = await stage.client.submit("w", secret.text)
    key = stage.client.keys.partition(0).run(running)
    await until(lambda: stage.redis.hget(key, "w:go"), bool)

    async def away(*what: object, **more: object) -> None:
        raise RedisError("away")

    ids: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(submitting, "apply_all_starts", away)
        patch.setattr(control, "apply_in_order", away)
        await stage.client.signal(running, "go", secret.text)
        for ring in (KeyRing({"old": OLD}), KeyRing({"new": NEW})):
            patch.setattr(PAYLOAD_TERMS, "codec", ring)
            ids.append(await stage.client.submit("w", secret.text))
            await stage.client.signal(ids[-1], "go", secret.text)
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": NEW}))
    monkeypatch.setattr(reconciler, "PUT_OFF_S", 0.5)
    stage.supervisor()
    assert (await stage.result(ids[1])).output == {"b": secret.text}
    assert (await stage.client.result(ids[0])).status == "PENDING"
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": NEW, "old": OLD}))
    for run_id in (ids[0], running):
        assert (await stage.result(run_id)).output == {"b": secret.text}
