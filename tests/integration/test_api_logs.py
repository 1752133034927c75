"""What steps say over HTTP: a page of it, and as they say it, with the text of models while it comes."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from courante import Context
from courante.api import streams
from courante.runner.models.terms import ModelTerms
from courante.sdk.logs.step_lines import LINES, StepLine, encode_lines
from courante.sdk.stores.step_logs import lines_of_runs
from integration.cases import node
from integration.http_calls import SentEvent, listen_to, open_api, open_server
from integration.stage import Stage, until
from integration.wire import openai_answers
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio
STREAM = {"Accept": "text/event-stream"}
ONCE_MORE = {"max_attempts": 2, "base": "1ms", "jitter": False}
HEARD_S = 30


def calls(id: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": id}, "depends_on": list(after), **fields}


def asks(**config: Any) -> dict[str, Any]:
    return {
        "id": "ask",
        "type": "llm",
        "config": {"model": "gpt-4o", "prompt": "{{ input }}", "stream": True, **config},
    }


def texts(heard: list[SentEvent], name: str) -> list[str]:
    return [each.data["text"] for each in heard if each.name == name]


async def hear(api: httpx.AsyncClient, path: str, after: str, heard: list[SentEvent], is_first: anyio.Event) -> None:
    """is_first: set as soon as anything is heard."""
    async for each in listen_to(api, path, after):
        heard.append(each)
        is_first.set()


async def whole(api: httpx.AsyncClient, path: str, after: str = "") -> list[SentEvent]:
    """A stream up to its end."""
    with anyio.fail_after(HEARD_S):
        return [each async for each in listen_to(api, path, after)]


async def test_a_run_is_heard_while_its_steps_speak(stage: Stage) -> None:
    """Each line once, text where it was said; who was cut off goes on behind his last line; the end is the run's."""
    gate = threading.Event()

    def first(context: Context) -> None:
        context.log("calling", model="m")
        context.step_log.partial("once upon ")
        gate.wait(20)
        context.step_log.partial("a time")
        context.log("answered")

    def second(context: Context) -> None:
        context.log(f"try {context.attempt}")
        if context.attempt == 1:
            raise ValueError("not yet")

    stage.worker({"first": first, "second": second})
    stage.supervisor()
    await stage.register(calls("first"), calls("second", "first", retry=ONCE_MORE))
    run_id = await stage.client.submit("w")
    path = f"/v1/runs/{run_id}/logs"
    async with open_server(stage) as api:
        early: list[SentEvent] = []
        with anyio.fail_after(HEARD_S):
            async with aclosing(listen_to(api, path)) as stream:
                async for each in stream:
                    early.append(each)
                    if {one.name for one in early} == {"log", "text"}:
                        break
        (line,), (text,) = ([each for each in early if each.name == name] for name in ("log", "text"))
        assert (line.data["type"], line.data["text"], line.data["fields"]) == ("line", "calling", {"model": "m"})
        assert (text.data["type"], text.data["text"]) == ("partial", "once upon ")
        found: dict[str, list[SentEvent]] = {"resumed": []}
        is_back = anyio.Event()

        async def listen(name: str, wanted: str) -> None:
            found[name] = await whole(api, path + wanted)

        async with anyio.create_task_group() as group:
            group.start_soon(hear, api, path, line.id, found["resumed"], is_back)
            group.start_soon(listen, "second", "?step=second&attempt=2")
            group.start_soon(listen, "other", "?step=none")
            async with aclosing(listen_to(api, path)) as stream:
                begun = [await anext(stream), await anext(stream)]
                await is_back.wait()  # nobody is told text that was said before, where it is over by then
                gate.set()
                found["live"] = begun + [each async for each in stream]
        page = (await api.get(path)).json()["lines"]
        late = await whole(api, path)
        assert texts(found["live"], "log") == ["calling", "answered", "try 1", "try 2"]
        assert "".join(texts(found["live"], "text")) == "once upon a time"
        assert [each.data for each in found["live"] if each.name == "log"] == page
        assert texts(found["resumed"], "log") == ["answered", "try 1", "try 2"]
        assert "".join(texts(found["resumed"], "text")) == "once upon a time"
        assert [(each.name, each.data.get("text")) for each in found["second"]] == [("log", "try 2"), ("end", None)]
        assert (await api.get(path, params={"step": "second", "attempt": 2})).json()["lines"] == page[-1:]
        assert [each.name for each in found["other"]] == ["end"]
        assert [(each.name, each.id) for each in late] == [
            *((each.name, each.id) for each in found["live"] if each.name == "log"),
            ("end", "end"),
        ]
        assert late[-1].data == {"run_id": run_id}
        assert (await api.get(path, headers={**STREAM, "Last-Event-ID": "end"})).status_code == 204
        refused = await api.get(path, headers={**STREAM, "Last-Event-ID": "x"})
        assert (refused.status_code, refused.json()["code"]) == (400, "query_invalid")
        assert (await api.get("/v1/runs/none/logs", headers=STREAM)).json()["code"] == "run_not_found"


@pytest.mark.parametrize("path", ["/v1/events", "/v1/runs/{run_id}/events", "/v1/runs/{run_id}/logs?step=b"])
async def test_who_listens_hears_that_nothing_happens(stage: Stage, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """As an event, for browsers tell pages of no comments; also where all that happens is left out for who listens."""
    monkeypatch.setattr(streams, "ALIVE_S", 0.2)
    over = anyio.Event()

    async def chatty(context: Context) -> None:
        while not over.is_set():
            context.log("tick")
            await anyio.sleep(0.05)

    stage.worker({"chatty": chatty})
    stage.supervisor()
    await stage.register(calls("chatty"), node("b", "chatty"))
    run_id = await stage.client.submit("w")
    async with open_server(stage) as api:
        with anyio.fail_after(HEARD_S):
            async with api.stream("GET", path.format(run_id=run_id), headers=STREAM) as answer:
                lines = answer.aiter_lines()
                for _ in range(3):
                    while await anext(lines) != "event: alive":
                        pass
                    assert await anext(lines) == "data: {}"
    over.set()
    await stage.result(run_id)


async def test_the_text_of_models_is_heard_as_it_comes(stage: Stage, tmp_path: Path) -> None:
    """Of a provider while it goes on with its answer, and of the one that is none; the pieces are the output."""
    may_go_on = anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        content = openai_answers.stream("It rains ", "cats ", "and dogs.")
        half = content.index(b'"cats ')
        await reply.begin()
        await reply.piece(content[:half])
        await may_go_on.wait()
        await reply.piece(content[half:])
        await reply.end()

    (tmp_path / "OPENAI_API_KEY").write_text("sk-test-0123456789")
    async with open_wire(give) as server, open_server(stage) as api:
        stage.worker(models=ModelTerms(openai_url=f"{server.url}/v1"), secrets_dir=tmp_path)
        stage.supervisor()
        await stage.register(asks(), id="wire", output="outputs.ask")
        await stage.register(asks(provider="echo"), id="echo", output="outputs.ask")
        run_id = await stage.client.submit("wire", "Hello")

        async def status() -> str:
            found: str = (await api.get(f"/v1/runs/{run_id}")).json()["steps"][0]["status"]
            return found

        heard: list[SentEvent] = []
        with anyio.fail_after(HEARD_S):
            async for each in listen_to(api, f"/v1/runs/{run_id}/logs"):
                heard.append(each)
                if each.name == "text" and not may_go_on.is_set():
                    assert each.data["text"] == "It rains "
                    await until(status, "RUNNING".__eq__)  # text comes by way of Redis, ahead of the recorder
                    may_go_on.set()
        assert "".join(texts(heard, "text")) == "It rains cats and dogs." == (await stage.result(run_id)).output
        run_id = await stage.client.submit("echo", "one two three")
        heard = await whole(api, f"/v1/runs/{run_id}/logs?step=ask")
        assert "".join(texts(heard, "text")) in {"one two three", ""}, "what was over before is in the output alone"
        assert (await stage.result(run_id)).output == "one two three"


async def test_the_log_of_a_call_that_fails_says_so(stage: Stage) -> None:
    """With the type and the message of the error: who follows it does not wait for an answer."""
    stage.worker()
    stage.supervisor()
    await stage.register(asks(provider="echo", prompt="{{ input.nothing }}"))
    run_id = await stage.client.submit("w", {})
    async with open_server(stage) as api:
        *_, last, end = await whole(api, f"/v1/runs/{run_id}/logs")
    error = (await stage.result(run_id)).error
    assert error is not None
    assert (last.data["text"], last.data["level"], end.name) == ("failed", "error", "end")
    assert last.data["fields"] == {"error": f"EXPRESSION_ERROR: {error['message']}"}


async def test_many_listeners_cost_what_one_costs(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query for all of them and their runs; lost lines are told once, to who goes on too."""
    looks: Counter[int] = Counter()

    async def counted(conn: Any, env: str, after: dict[str, int], **options: Any) -> Any:
        looks[len(after)] += 1
        return await lines_of_runs(conn, env, after, **options)

    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}})
    stage.worker()
    stage.supervisor()
    run_ids = [await stage.client.submit("w") for _ in range(5)]

    async def say(run_id: str, *numbers: int) -> None:
        head: dict[str, Any] = {"run_id": run_id, "node": "s", "scope": "", "attempt": 1, "worker": "x"}
        lines = [
            StepLine(source=int(run_id[-4:], 36), number=one, at_ms=one, level="info", text=str(one), **head)
            for one in numbers
        ]
        await stage.redis.xadd(stage.client.keys.partition(0).step_log, {LINES: encode_lines(lines)})

    async with open_api(stage) as api:
        heard: dict[int, list[SentEvent]] = {}

        async def listen(number: int) -> None:
            heard[number] = await whole(api, f"/v1/runs/{run_ids[number % 5]}/logs")

        monkeypatch.setattr("courante.api.live_logs.lines_of_runs", counted)
        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(listen, number)
            await until(lambda: wait_for(looks, 5), bool)
            for run_id in run_ids:
                await say(run_id, 2, 3, 6)
            for run_id in run_ids:
                await stage.client.signal(run_id, "go")
        told = [(each.data["type"], each.data.get("lines") or each.data["text"]) for each in heard[0][:-1]]
        assert told == [("lost", 1), ("line", "2"), ("line", "3"), ("lost", 2), ("line", "6")]
        contents = [[each.data["type"] for each in heard[number][:-1]] for number in range(50)]
        assert contents == [contents[0]] * 50
        ids = [each.id for each in heard[0]]
        assert ids[0] == ""
        rest = await whole(api, f"/v1/runs/{run_ids[0]}/logs", ids[2])
        assert [each.data for each in rest] == [each.data for each in heard[0][3:]]


async def wait_for(looks: Counter[int], runs: int) -> int:
    return looks[runs]
