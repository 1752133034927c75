"""Any producer that can XADD can submit: what is good becomes a run, what is wrong is kept with its reason."""

from __future__ import annotations

import json
import shlex
import socket
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.to_thread
import pytest

from courante.sdk.errors import IdempotencyConflict
from courante.sdk.stores.commands import run_id_of_key
from courante.sdk.stores.rejected import Rejected, keep_rejected, list_rejected
from courante.supervisor import intake
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
NOOP = {"id": "a", "type": "noop"}


async def add(stage: Stage, fields: dict[Any, Any], entry: str = "*") -> str:
    return (await stage.redis.xadd(stage.client.keys.partition(0).submit, fields, id=entry)).decode()


async def drained(stage: Stage) -> None:
    """Until every submission has become a run or a refusal, and nothing is pending."""
    submit = stage.client.keys.partition(0).submit
    await until(lambda: stage.redis.xlen(submit), lambda length: length == 0)
    assert submit not in await stage.pending()


async def rejected(stage: Stage) -> dict[str, Rejected]:
    async with stage.client.pool.acquire() as conn:
        return {one.entry_id: one for one in await list_rejected(conn, stage.place.env)}


def speak_raw(redis_url: str, *words: bytes) -> bytes:
    """One command in the Redis protocol over a socket, as a client in any language sends it."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(urlsplit(redis_url).path)
        parts = [b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)]
        connection.sendall(b"".join(parts))
        return connection.recv(4_096)


async def test_a_raw_client_submits_with_every_field(stage: Stage) -> None:
    """An XADD over a plain socket becomes a run with its version, key, tags, submitter and trace."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "echo", "config": {"value": 1}})
    await stage.register({"id": "a", "type": "echo", "config": {"value": 2}})
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    fields = {"workflow": "w", "version": "1", "input": '{"x": "ä"}', "key": "order 7", "by": "me", "tags": "red,blue"}
    words = [word.encode() for pair in (fields | {"traceparent": trace}).items() for word in pair]
    submit = stage.client.keys.partition(0).submit.encode()
    answer = await anyio.to_thread.run_sync(speak_raw, stage.place.redis_url, b"XADD", submit, b"*", *words)
    assert answer.startswith(b"$")
    await drained(stage)
    run_id = run_id_of_key(stage.place.env, "order 7")
    assert (await stage.result(run_id)).output == {"a": 1}
    started = (await stage.events(run_id))[0]
    assert started.payload == '{"x":"ä"}'.encode()
    said = {"version": 1, "by": "me", "key": "order 7", "tags": ["red", "blue"], "traceparent": trace}
    assert said.items() <= started.facts.data.items()


async def test_a_key_is_one_run_by_stream_and_by_client(stage: Stage) -> None:
    """In whatever order the client and the stream use a key, there is one run; another body is refused either way."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(NOOP)
    first = await stage.client.submit(workflow, {"a": 1}, key="client first")
    for key in ("client first", "stream first", "stream first"):
        await add(stage, {"workflow": workflow, "input": '{ "a" : 1 }', "key": key})
    await drained(stage)
    assert await stage.client.submit(workflow, {"a": 1}, key="stream first", durability="redis") == run_id_of_key(
        stage.place.env, "stream first"
    )
    assert await stage.commands() == 2
    entry = await add(stage, {"workflow": workflow, "input": '{"a": 2}', "key": "client first"})
    with pytest.raises(IdempotencyConflict):
        await stage.client.submit(workflow, {"a": 2}, key="stream first")
    await drained(stage)
    refused = await rejected(stage)
    assert set(refused) == {entry}
    assert refused[entry].code == "idempotency_conflict"
    assert first in refused[entry].reason
    assert (await stage.result(first)).output == {"a": {"a": 1}}


async def test_entries_without_a_key_are_runs_of_their_own(stage: Stage) -> None:
    """The same fields added twice are two runs; an entry that is read twice is one."""
    stage.worker()
    workflow = await stage.register(NOOP)
    keys = stage.client.keys.partition(0)
    for _ in range(2):
        await add(stage, {"workflow": workflow, "input": "1"})
    assert await stage.redis.xreadgroup("intake", "dead", {keys.submit: ">"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "SWEEP_S", 0.05)
        patch.setattr(intake, "STALE_MS", 20)
        stage.supervisor()
        await drained(stage)
    assert await stage.commands() == 2


GARBAGE: list[tuple[dict[Any, Any], str, str]] = [
    ({"input": "1"}, "input_invalid", "workflow: the field is missing"),
    ({"workflow": ""}, "input_invalid", "workflow: the field is missing"),
    ({"workflow": "nobody"}, "workflow_not_found", "nobody"),
    ({"workflow": "w", "version": "9"}, "workflow_not_found", "9"),
    ({"workflow": "w", "version": "latest"}, "input_invalid", "version: 'latest' is no version number"),
    ({"workflow": "w", "version": "-1"}, "input_invalid", "version: "),
    ({"workflow": "w", "version": "9" * 5_000}, "input_invalid", "version: "),
    ({"workflow": "w", "version": "²"}, "input_invalid", "version: "),
    ({"workflow": b"\xff\xfe"}, "input_invalid", "workflow: it is no UTF-8"),
    ({b"\xff\xfe": "w"}, "input_invalid", "unknown field"),
    ({"workflow": "w", "inptu": "1"}, "input_invalid", "unknown field 'inptu'"),
    ({"workflow": "w", "reason": "mine", "code": "mine", "entry": "mine"}, "input_invalid", "unknown field 'reason'"),
    ({"workflow": "w", "input": "{"}, "input_invalid", "input: "),
    ({"workflow": "w", "input": '{"a": [{"b": 1, "b": 2}]}'}, "input_invalid", "input.a[0]: the key 'b' stands twice"),
    ({"workflow": "w", "input": "NaN"}, "input_invalid", "input: "),
    ({"workflow": "w", "input": "1e999"}, "input_invalid", "input: "),
    ({"workflow": "w", "input": b'"\xff"'}, "input_invalid", "input: it is no UTF-8"),
    ({"workflow": "w", "input": '"\\ud800"'}, "input_invalid", "input: "),
    ({"workflow": "w", "input": "[" * 100_000}, "input_invalid", "input: "),
    ({"workflow": "w", "input": "[" * 600 + "]" * 600, "key": "nul\x00"}, "input_invalid", "key: it holds a NUL"),
    ({"workflow": "w\x00", "input": "1"}, "input_invalid", "workflow: it holds a NUL"),
    ({"workflow": "w", "tags": "fine,nul\x00"}, "input_invalid", "tags: it holds a NUL"),
    ({"workflow": "w", "by": "x" * 10_000}, "input_invalid", "by: it has 10,000 characters"),
    ({"workflow": "w", "key": "taken"}, "idempotency_conflict", "taken"),
    ({"workflow": "strict", "input": '{"n": "x"}'}, "input_invalid", "input.n: "),
]


async def test_garbage_is_kept_with_its_reason_and_stops_nobody(stage: Stage) -> None:
    """Between good submissions, each wrong one goes to the rejected stream and to Postgres, naming the field."""
    workflow = await stage.register(NOOP)
    await stage.register(NOOP, id="strict", input={"type": "object", "properties": {"n": {"type": "integer"}}})
    await stage.client.submit(workflow, 0, key="taken")
    entries: list[str] = []
    for number, (fields, _, _) in enumerate(GARBAGE):
        await add(stage, {"workflow": workflow, "input": str(number), "key": f"good {number}"})
        entries.append(await add(stage, fields))
    stage.worker()
    supervisor = stage.supervisor()
    await drained(stage)
    kept = await rejected(stage)
    assert set(kept) == set(entries)
    keys = stage.client.keys.partition(0)
    told = {fields[b"entry"].decode(): fields for _, fields in await stage.redis.xrange(keys.rejected)}
    assert set(told) == set(entries)
    for entry, (fields, code, reason) in zip(entries, GARBAGE, strict=True):
        assert kept[entry].code == code, fields
        assert reason in kept[entry].reason, fields
        assert told[entry][b"code"].decode() == code
        assert told[entry][b"reason"].decode() == kept[entry].reason
        assert len(kept[entry].fields) < 20_000
        assert isinstance(json.loads(kept[entry].fields), dict)
    good = [run_id_of_key(stage.place.env, f"good {number}") for number in range(len(GARBAGE))]
    assert [result.output["a"] for result in await stage.results(good)] == list(range(len(GARBAGE)))
    assert await stage.commands() == 1 + len(GARBAGE)
    assert supervisor in stage.supervisors
    assert not stage.ends[-1].is_set()


async def test_20_mib_of_garbage_are_not_kept(stage: Stage) -> None:
    """A submission over the limit is refused, and what is kept of it is short."""
    stage.supervisor()
    workflow = await stage.register(NOOP)
    entry = await add(stage, {"workflow": workflow, "input": json.dumps("x" * 20 * 1024 * 1024)})
    await drained(stage)
    assert "at most 16,777,216" in (await rejected(stage))[entry].reason
    size = await stage.redis.memory_usage(stage.client.keys.partition(0).rejected)
    assert size is not None
    assert size < 50_000
    assert await stage.commands() == 0


async def test_refusals_that_are_told_twice_are_kept_once(stage: Stage) -> None:
    """A supervisor that died between keeping a refusal and letting go of the entry is followed by another one."""
    keys = stage.client.keys.partition(0)
    entry = await add(stage, {"workflow": "nobody"})
    assert await stage.redis.xreadgroup("intake", "dead", {keys.submit: ">"})
    async with stage.client.pool.acquire() as conn:
        first = Rejected(entry_id=entry, code="first", reason="first", fields=b"{}")
        await keep_rejected(conn, stage.place.env, 0, [first])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intake, "SWEEP_S", 0.05)
        patch.setattr(intake, "STALE_MS", 20)
        stage.supervisor()
        await drained(stage)
    assert [one.code for one in (await rejected(stage)).values()] == ["first"]


async def test_the_examples_of_the_page_work(stage: Stage) -> None:
    """The command line of the page becomes a run whose id is what the page's own function says."""
    page = (files("courante") / "docs" / "how-to" / "submit-by-xadd.md").read_text("utf-8")
    command = next(line for line in page.splitlines() if line.startswith("$ redis-cli XADD"))
    _, _, verb, stream, *words = shlex.split(command)
    assert stream == stage.client.keys.partition(0).submit.replace(stage.place.env, "default")
    stage.worker()
    stage.supervisor()
    await stage.register(NOOP, id="order-scoring")
    submit = stage.client.keys.partition(0).submit
    await anyio.to_thread.run_sync(
        speak_raw, stage.place.redis_url, verb.encode(), submit.encode(), *(word.encode() for word in words)
    )
    await drained(stage)
    blocks = [block.partition("```")[0] for block in page.split("```python\n")[1:]]
    names: dict[str, Any] = {}
    exec(next(block for block in blocks if "def run_id_of_key" in block), names)  # noqa: S102 - our own page
    run_id = names["run_id_of_key"](stage.place.env, "order-7")
    assert (await stage.result(run_id)).output == {"a": {"orders": 7}}
    for field in intake.KNOWN:
        assert f"| `{field}` |" in page
