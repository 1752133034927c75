"""A key that providers repeat in every way gets out nowhere: what Redis is asked, Postgres, API, webhooks, spans, logs.

What is deleted again counts, too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from courante.api.routes import ROUTES
from courante.runner.models.terms import ModelTerms
from courante.sdk.access.scopes import Scope
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.client import RunResult
from integration.api_asking import STREAM, asking, spelled
from integration.http_calls import listen_to, open_server
from integration.http_site import Answer, open_site
from integration.http_site import Asked as Told
from integration.stage import Stage, until
from integration.standing_text import places_of
from integration.test_webhooks import hook
from integration.wire import anthropic_answers, openai_answers, response_answers
from integration.wire.server import Asked, Give, Reply, open_wire
from integration.wiretap import wiretap

pytestmark = pytest.mark.anyio
KEY = "planted-0c7e55a1d2-key"
MODELS = {"chat": "gpt-4o", "messages": "claude-opus-5-5", "responses": "gpt-6.1-sol"}
SHAPE = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
ARGUMENTS = {"item": f"the key is {KEY}"}
SECOND_TURN = ('"tool_result"', '"function_call_output"', '"role":"tool"')


def first_turn(path: str) -> dict[str, Any]:
    """Thoughts, ids and arguments with the key in them."""
    if path.endswith("/responses"):
        thought = {**response_answers.REASONING, "summary": [{"type": "summary_text", "text": KEY}]}
        return response_answers.response(thought, response_answers.call(f"c-{KEY}", "look", json.dumps(ARGUMENTS)))
    if path.endswith("/messages"):
        thought = {"type": "thinking", "thinking": KEY, "signature": "x"}
        call = {"type": "tool_use", "id": f"c-{KEY}", "name": "look", "input": ARGUMENTS}
        return anthropic_answers.message(thought, call, stop_reason="tool_use")
    function = {"name": "look", "arguments": json.dumps(ARGUMENTS)}
    call = {"id": f"c-{KEY}", "type": "function", "function": function}
    return openai_answers.completion(KEY, finish_reason="tool_calls", tool_calls=[call], reasoning_content=KEY)


def last_turn(path: str) -> bytes:
    """A stream that cuts the key in two."""
    pieces = ("It is ", KEY[:9], KEY[9:])
    if path.endswith("/responses"):
        return response_answers.stream(*pieces)
    return anthropic_answers.stream([*pieces]) if path.endswith("/messages") else openai_answers.stream(*pieces)


async def give_turns(asked: Asked, reply: Reply) -> None:
    assert KEY in " ".join(asked.headers.values())
    if b"Fail" in asked.content:
        await reply.json(openai_answers.error(f"no {KEY}"), status=401, headers={"X-Key": KEY})
    elif any(word.encode() in asked.content for word in SECOND_TURN):
        await reply.events(last_turn(asked.path))
    else:
        await reply.json(first_turn(asked.path))


def plant(folder: Path) -> None:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        (folder / name).write_text(KEY)


def look(item: str) -> str:
    return f"seen: {item}"


def asks(id: str, type: str = "agent", **config: Any) -> dict[str, Any]:
    retry = {"max_attempts": 2, "base": "1ms"}
    return {"id": id, "type": type, "config": {"model": MODELS[id], "stream": True, **config}, "retry": retry}


class Ears:
    """Whoever is told of runs from outside: bodies of webhooks and of spans."""

    def __init__(self) -> None:
        self.told: list[bytes] = []

    def give(self, asked: Told) -> Answer:
        self.told.append(asked.body + repr(asked.headers).encode())
        return Answer()

    async def all(self) -> list[bytes]:
        return self.told


async def read_api(stage: Stage, runs: list[RunResult]) -> list[str]:
    """All that can be read of these runs, of their steps too."""
    said: list[str] = []
    routes = [route for route in ROUTES if route.method == "GET" and route.scope and route.media_type != STREAM]
    async with asking(stage.client, Scope.ADMIN) as client:
        for run in runs:
            for route in routes:
                for step in MODELS if "step" in route.places else ("",):
                    answer = await client.get(spelled(route, run.run_id, step=step))
                    said += [answer.text] if answer.status_code == 200 else []
    async with open_server(stage) as api:
        for run in runs:
            said += [str(each) async for each in listen_to(api, f"/v1/runs/{run.run_id}/logs")]
            said += [str(each) async for each in listen_to(api, f"/v1/runs/{run.run_id}/events")]
    return said


async def test_a_key_that_providers_repeat_gets_out_nowhere(
    stage: Stage, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of agents and of single calls, by all three formats, where they go well and where they fail."""
    plant(tmp_path)
    steps, hooks, spans = Steps(), Ears(), Ears()
    steps.tools.add(look, "look")
    async with (
        open_wire(give_turns) as server,
        open_site(hooks.give) as site,
        open_site(spans.give) as collector,
        wiretap(stage.place.redis_url, KEY) as tap,
    ):
        await hook(stage, site.url, "run.ended", "run.failed")
        models = ModelTerms(openai_url=f"{server.url}/v1", anthropic_url=server.url)
        stage.worker(steps, models=models, secrets_dir=tmp_path, traces=True)
        stage.supervisor(http_allow="127.0.0.1", otlp_url=f"{collector.url}/v1/traces")
        await stage.register(*(asks(id, prompt="Look", tools=["look"]) for id in MODELS), id="good")
        await stage.register(*(asks(id, prompt="Fail", tools=["look"]) for id in MODELS), id="bad")
        turns = [{"role": "user", "content": '"role":"tool"'}]
        await stage.register(*(asks(id, "llm", messages=turns) for id in ("chat", "messages")), id="alone")
        done = [await stage.run(workflow) for workflow in ("good", "bad", "alone")]
        assert [each.status for each in done] == ["COMPLETED", "FAILED", "COMPLETED"], [each.error for each in done]
        assert len(server.asked) >= 8
        await until(hooks.all, lambda told: len(told) >= 3)
        await until(spans.all, bool)
        said = await read_api(stage, done)
        await until(stage.pending, lambda pending: not pending)
        assert len(said) > 50
        assert [text for text in [*said, *map(repr, done)] if KEY in text] == []
        assert [told for told in [*hooks.told, *spans.told] if KEY.encode() in told] == []
        assert await places_of(stage, KEY) == []
        assert tap.heard == []
        assert "It is ***" in repr(done[0].output)
        assert "seen: the key is ***" in repr(done[0].output)
        await stage.redis.set(f"courante:{stage.place.env}:planted", KEY)  # it would have been found

        async def heard() -> list[str]:
            return tap.heard

        assert len(await until(heard, bool)) == 1
        assert await places_of(stage, KEY) == [f"courante:{stage.place.env}:planted"]
        await stage.redis.delete(f"courante:{stage.place.env}:planted")
    shown = capfd.readouterr()
    assert KEY not in shown.out + shown.err


def answers_of(key: str) -> list[Give]:
    """Every way in which a server can repeat a key: in answers, pieces, errors, statuses, and what is no answer."""

    async def whole(asked: Asked, reply: Reply) -> None:
        if asked.path.endswith("/messages"):
            await reply.json(anthropic_answers.message(anthropic_answers.text(f"a {key}")))
        else:
            await reply.json(openai_answers.completion(json.dumps({"n": key})))

    async def streams(asked: Asked, reply: Reply) -> None:
        pieces = [key[:9], key[9:]]
        is_one = asked.path.endswith("/messages")
        await reply.events(anthropic_answers.stream(pieces) if is_one else openai_answers.stream(*pieces))

    async def fails(_asked: Asked, reply: Reply) -> None:
        await reply.json(openai_answers.error(f"no {key}"), status=401, headers={"X-Key": key})

    async def broken(_asked: Asked, reply: Reply) -> None:
        await reply.whole(f"<p>{key}".encode(), kind=f"text/{key}")

    async def event(_asked: Asked, reply: Reply) -> None:
        await reply.events(openai_answers.event(openai_answers.error(f"no {key}")))

    async def malformed(_asked: Asked, reply: Reply) -> None:
        await reply.events(f"data: {key}\n\n".encode())

    return [whole, streams, fails, broken, event, malformed]


async def test_a_key_is_found_nowhere(stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not in Redis, Postgres, results, errors and logs: neither from the request nor when the server repeats it."""
    plant(tmp_path)
    ways: Iterator[Give] = iter(())

    async def give(asked: Asked, reply: Reply) -> None:
        assert KEY in " ".join(asked.headers.values())
        await next(ways)(asked, reply)

    async with open_wire(give) as server:
        models = ModelTerms(openai_url=f"{server.url}/v1", anthropic_url=server.url)
        stage.worker(models=models, secrets_dir=tmp_path)
        stage.supervisor()
        found: list[str] = []
        for number, model in enumerate(("chat", "messages")):
            node = asks(model, "llm", prompt="{{ input }}") | {"retry": {"max_attempts": 1}}
            await stage.register(
                node, {**node, "id": "b", "config": {**node["config"], "schema": SHAPE}}, id=f"w{number}"
            )
            for each in answers_of(KEY):
                ways = iter([each, each])
                done = await stage.run(f"w{number}", "Hello")
                found += [str(done.output), str(done.error)]
                found += [str(event) for event in await stage.events(done.run_id)]
        assert len(server.asked) >= 12
    await until(stage.pending, lambda pending: not pending)
    assert await places_of(stage, KEY) == []
    assert [text for text in found if KEY in text] == []
    assert any("***" in text for text in found)
    shown = capsys.readouterr()
    assert KEY not in shown.out + shown.err
