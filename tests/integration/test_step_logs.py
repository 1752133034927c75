"""What steps say while they are under way can be read at once and later, masked and sealed, and each line once."""

from __future__ import annotations

import threading
from typing import Any

import msgspec
import pytest

from courante import Context
from courante.runner.step_logs import StepLogs
from courante.sdk.client.step_log_reading import StepLogReader
from courante.sdk.fault_points import InjectedFault
from courante.sdk.logs.step_lines import (
    LINES,
    LINES_MAX,
    PIECE,
    Piece,
    StepLine,
    encode_lines,
    encode_piece,
    shown_fields,
)
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.sealing.sealing import shown_text
from courante.sdk.secrets.redaction import REDACTOR
from courante.supervisor.step_logs import StepLogs as Keeper
from integration.stage import Stage, until
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
ONCE_MORE = {"max_attempts": 2, "base": "1ms", "jitter": False}


def calls(handler: str, **fields: Any) -> dict[str, Any]:
    return {"id": "work", "type": "function", "config": {"handler": handler}, **fields}


async def read(stage: Stage, run_id: str, node: str | None = None) -> list[StepLine]:
    """All lines of a run, from Postgres and Redis."""
    keys = stage.client.keys.partition(0)
    async with stage.client.pool.acquire() as conn:
        reader = StepLogReader(conn, stage.redis, keys, stage.place.env, run_id, node)
        return [line async for line in reader.past()]


async def stored(stage: Stage, run_id: str) -> list[str]:
    async with stage.client.pool.acquire() as conn:
        rows = await conn.fetch(
            "SELECT text FROM step_logs WHERE env = $1 AND run_id = $2 ORDER BY id", stage.place.env, run_id
        )
    return [row["text"] for row in rows]


async def is_emptied(stage: Stage) -> bool:
    return await stage.redis.xlen(stage.client.keys.partition(0).step_log) == 0


def texts(lines: list[StepLine]) -> list[str]:
    return [shown_text(line.text) for line in lines]


async def test_lines_of_a_step_are_there_when_it_has_ended(stage: Stage) -> None:
    """In order, of every attempt, with fields and level; from the context and from its logger, debug lines not."""

    async def work(given: int, context: Context) -> int:
        context.log("begun", given=given)
        context.logger.debug("not told")
        context.logger.warning("careful", file={"name": "a.txt"}, pages=3)
        if context.attempt == 1:
            raise ValueError("once more")
        return given

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work", retry=ONCE_MORE))
    done = await stage.run("w", 7)
    lines = await read(stage, done.run_id)
    assert [(line.attempt, line.number, line.level, line.text) for line in lines] == [
        (1, 1, "info", "begun"),
        (1, 2, "warning", "careful"),
        (2, 1, "info", "begun"),
        (2, 2, "warning", "careful"),
    ]
    assert shown_fields(lines[0].fields) == {"given": 7}
    assert shown_fields(lines[1].fields) == {"file": {"name": "a.txt"}, "pages": 3}
    assert {line.node for line in lines} == {"work"}
    await until(lambda: is_emptied(stage), bool)
    assert await stored(stage, done.run_id) == ["begun", "careful"] * 2
    assert await read(stage, done.run_id) == lines
    assert await read(stage, done.run_id, "other") == []


async def test_steps_in_threads_and_processes_say_lines_too(stage: Stage) -> None:
    """A plain function from its thread, and several threads of one step at once."""

    def work(context: Context) -> None:
        threads = [threading.Thread(target=context.log, args=(f"from {number}",)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work"))
    done = await stage.run("w")
    lines = await read(stage, done.run_id)
    assert sorted(texts(lines)) == [f"from {number}" for number in range(8)]
    assert sorted(line.number for line in lines) == list(range(1, 9))


async def test_who_says_nothing_leaves_nothing(stage: Stage) -> None:
    """Neither a key in Redis nor a row."""

    async def work(context: Context) -> str:
        return context.run_id

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work"))
    done = await stage.run("w")
    keys = stage.client.keys.partition(0)
    assert await stage.redis.exists(keys.step_log, keys.partial(done.run_id)) == 0
    assert await read(stage, done.run_id) == []


async def test_lines_are_bounded_and_masked(stage: Stage) -> None:
    """A secret shows nowhere, long lines are cut, beyond the bound nothing is kept, and what fails breaks nothing."""
    REDACTOR.register("hush-hush-42")

    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError

        __str__ = __repr__

    async def work(context: Context) -> str:
        context.log("the key is hush-hush-42", password="x", note="hush-hush-42!", bad=float("nan"))
        context.log("ü" * 100_000, large="y" * 100_000)
        context.log("numbers", small=3, large=10**40, none=None, yes=True, word="of hush-hush-42")
        context.log("large", large=10**40)
        context.log("NUL \x00 and half \ud800", what={"\x00": "\ud800"})
        context.log(Rude(), rude=Rude())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        for number in range(LINES_MAX):
            context.log(str(number))
        return "done"

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work"))
    done = await stage.run("w")
    assert done.output == {"work": "done"}
    await until(lambda: is_emptied(stage), bool)
    lines = await read(stage, done.run_id)
    assert (lines[0].text, shown_fields(lines[0].fields)) == (
        "the key is ***",
        {"password": "***", "note": "***!", "bad": "nan"},
    )
    assert len(lines[1].text.encode()) <= 8192
    assert "left_out" in shown_fields(lines[1].fields)
    fields = {"small": 3, "none": None, "yes": True, "word": "of ***"}
    assert {name: value for name, value in shown_fields(lines[2].fields).items() if name != "large"} == fields
    assert shown_fields(lines[3].fields) == {"large": str(10**40)}
    assert lines[4].text == "NUL \ufffd and half ?"
    assert [line.number for line in lines] == list(range(1, LINES_MAX + 1))
    assert lines[-1].text == "more than 1,000 lines: the others are left out"
    assert await places_of(stage, "hush-hush-42") == []


async def test_lines_are_sealed_where_payloads_are(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither Redis nor Postgres has the text; who has the key ring reads it."""
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"one": b"k" * 64}))

    async def work(context: Context) -> None:
        context.log("told in confidence", about="confidence")
        context.step_log.partial("also in confidence ")

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work"))
    done = await stage.run("w")
    assert await places_of(stage, "confidence") == []
    (line,) = await read(stage, done.run_id)
    assert shown_text(line.text) == "told in confidence"
    assert shown_fields(line.fields) == {"about": "confidence"}
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", None)
    assert shown_text(line.text).startswith("(unreadable: ")


async def test_a_line_that_comes_twice_is_stored_once(stage: Stage) -> None:
    """What is delivered again changes nothing; what nobody can read is thrown away and holds nobody up."""
    keys = stage.client.keys.partition(0)
    line = StepLine(
        run_id="r", node="n", scope="", attempt=1, worker="x", source=5, number=1, at_ms=1, level="info", text="one"
    )
    again = msgspec.structs.replace(line, number=2, text="two")
    for content in (encode_lines([line]), b"{nonsense", encode_lines([line, again]), encode_lines([again])):
        await stage.redis.xadd(keys.step_log, {LINES: content})
    stage.supervisor()
    stage.supervisor()
    await until(lambda: stored(stage, "r"), bool)
    await until(lambda: is_emptied(stage), bool)
    assert await stored(stage, "r") == ["one", "two"]


async def test_a_supervisor_that_dies_after_storing_stores_no_line_twice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is stored stands in Redis still; whoever comes next stores what is new, and takes both away."""
    keys = stage.client.keys.partition(0)
    lines = [
        StepLine(
            run_id="r",
            node="n",
            scope="",
            attempt=1,
            worker="x",
            source=9,
            number=number,
            at_ms=number,
            level="info",
            text=str(number),
        )
        for number in (1, 2)
    ]
    keeper = Keeper(stage.redis, stage.redis, stage.client.pool, stage.client.keys, 0, keep_s=60)
    await stage.redis.xadd(keys.step_log, {LINES: encode_lines(lines[:1])})
    with monkeypatch.context() as patched:
        patched.setattr("courante.supervisor.step_logs.reach", fall)
        with pytest.raises(InjectedFault):
            await keeper.store()
    assert await stage.redis.xlen(keys.step_log) == 1
    await stage.redis.xadd(keys.step_log, {LINES: encode_lines(lines[1:])})
    assert texts(await read(stage, "r")) == ["1", "2"]
    assert await keeper.store()
    assert await is_emptied(stage)
    assert texts(await read(stage, "r")) == ["1", "2"]
    await keeper.drop_old()
    assert await read(stage, "r") == []


def fall(point: str) -> None:
    raise InjectedFault(point)


async def test_partial_text_is_followed_while_the_step_goes_on(stage: Stage) -> None:
    """Piece by piece between its lines, gone for those who come when it is over, and not kept for ever."""
    keys = stage.client.keys.partition(0)
    gate = threading.Event()

    def work(context: Context) -> None:
        context.log("calling")
        context.step_log.partial("Once upon a ")
        context.step_log.partial("ti")
        gate.wait(20)
        context.step_log.partial("me")
        context.log("answered")

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work"))
    run_id = await stage.client.submit("w")
    async with stage.client.pool.acquire() as conn:
        reader = StepLogReader(conn, stage.redis, keys, stage.place.env, run_id)
        heard: list[StepLine | Piece] = []

        async def listen() -> str:
            heard.extend(await reader.more())
            return "".join(said.text for said in heard if isinstance(said, Piece))

        await until(listen, lambda text: text == "Once upon a ")
        gate.set()
        await stage.result(run_id)
        assert await listen() == "Once upon a time"
        names = [said.text if isinstance(said, StepLine) else "..." for said in heard]
        assert names[:2] == ["calling", "..."]
        assert [name for name in names if name != "..."] == ["calling", "answered"]
        pieces = [said for said in heard if isinstance(said, Piece)]
        assert [piece.is_last for piece in pieces] == [False] * (len(pieces) - 1) + [True]
        assert await reader.more() == []
        late = StepLogReader(conn, stage.redis, keys, stage.place.env, run_id)
        assert [said.text for said in await late.more()] == ["calling", "answered"]
    assert 0 < await stage.redis.ttl(keys.partial(run_id)) <= 600


async def test_a_piece_waits_for_the_lines_before_it(stage: Stage) -> None:
    """They are sent apart: who looks in between hears all in its order. What never comes is not waited for."""
    keys = stage.client.keys.partition(0)
    line = StepLine(
        run_id="run_1",
        node="a",
        scope="",
        attempt=1,
        worker="w",
        source=7,
        number=1,
        at_ms=5,
        level="info",
        text="calling",
    )

    async def show(number: int, after: int) -> None:
        text = str(number)
        piece = Piece(node="a", scope="", attempt=1, source=7, number=number, after=after, at_ms=9, text=text)
        await stage.redis.xadd(keys.partial("run_1"), {PIECE: encode_piece(piece)})

    async with stage.client.pool.acquire() as conn:
        reader = StepLogReader(conn, stage.redis, keys, stage.place.env, "run_1")

        async def more() -> list[str]:
            return [each.text for each in await reader.more()]

        await show(1, 1)
        assert await more() == []
        await stage.redis.xadd(keys.step_log, {LINES: encode_lines([line])})
        assert await more() == ["calling", "1"]
        await show(2, 2)
        assert await more() == []
        assert await more() == ["2"]


async def test_what_is_said_while_redis_is_away_comes_later(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step does not wait for its log, and its lines are sent when Redis takes them again."""
    sending = StepLogs.send
    refused: list[int] = []

    async def refuse(self: StepLogs, commands: list[tuple[object, ...]]) -> bool:
        if len(refused) < 2:
            refused.append(len(commands))
            return False
        return await sending(self, commands)

    monkeypatch.setattr(StepLogs, "send", refuse)

    async def work(context: Context) -> None:
        context.log("here")

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register(calls("work"))
    done = await stage.run("w")
    assert done.status == "COMPLETED"
    await until(lambda: stored(stage, done.run_id), lambda found: found == ["here"])
