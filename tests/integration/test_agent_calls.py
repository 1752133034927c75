"""Agents on both providers, against a local server that speaks their formats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from courante.runner.models.terms import ModelTerms
from courante.sdk.authoring.steps import Steps
from courante.sdk.spending.spent import told_spent, total
from integration.stage import Stage, until
from integration.transcripts import turns_kept
from integration.wire import anthropic_answers, openai_answers, response_answers
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio


def stock(item: str) -> int:
    """How many there are."""
    return len(item)


def openai_turn(turn: int) -> dict[str, Any]:
    if turn > 1:
        return openai_answers.completion("Three.")
    function = {"name": "shop_stock", "arguments": '{"item": "tea"}'}
    call = {"id": "c1", "type": "function", "function": function}
    return openai_answers.completion(None, finish_reason="tool_calls", tool_calls=[call])


def anthropic_turn(turn: int) -> dict[str, Any]:
    if turn > 1:
        return anthropic_answers.message(anthropic_answers.text("Three."))
    call = {"type": "tool_use", "id": "c1", "name": "shop_stock", "input": {"item": "tea"}}
    return anthropic_answers.message(call, stop_reason="tool_use")


def begin(stage: Stage, url: str, folder: Path, lease_ms: int = 30_000) -> None:
    """A worker whose keys are in the folder; its tool has a name that no provider takes."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        (folder / name).write_text("a-key-of-nobody")
    steps = Steps()
    steps.tools.add(stock, "shop.stock")
    models = ModelTerms(openai_url=f"{url}/v1", anthropic_url=url)
    stage.worker(steps, models=models, secrets_dir=folder, lease_ms=lease_ms)
    stage.supervisor()


def agent(model: str) -> dict[str, Any]:
    config = {"model": model, "prompt": "How much tea?", "tools": ["shop.stock"]}
    retry = {"max_attempts": 2, "base": "1ms", "jitter": False}
    return {"id": "a", "type": "agent", "config": config, "retry": retry}


@pytest.mark.parametrize(("model", "turn"), [("gpt-4o", openai_turn), ("claude-sonnet-4-5", anthropic_turn)])
async def test_an_agent_talks_with_a_provider(stage: Stage, tmp_path: Path, model: str, turn: Any) -> None:
    """It offers its tools, and tells what they gave; an attempt that fails goes on where it was."""
    asked_for: list[dict[str, Any]] = []

    async def give(asked: Asked, reply: Reply) -> None:
        asked_for.append(json.loads(asked.content))
        if len(asked_for) == 2:
            await reply.json({"error": {"message": "busy"}}, status=503)
        else:
            await reply.json(turn(len(asked_for)))

    async with open_wire(give) as server:
        begin(stage, server.url, tmp_path)
        done = await stage.run(await stage.register(agent(model)))
    assert done.status == "COMPLETED", done.error
    output = done.output["a"]
    assert (output["answer"], output["turns"]) == ("Three.", 2)
    (called,) = output["calls"]
    assert (called["tool"], called["arguments"], called["result"]) == ("shop.stock", {"item": "tea"}, 3)
    first, second, third = asked_for
    assert second == third
    assert [len(body["messages"]) for body in (first, third)] == [1, 3]
    assert '"3"' in json.dumps(third["messages"][-1])
    assert all("shop_stock" in json.dumps(body["tools"]) for body in asked_for)
    spent = total(told_spent(event.facts.data) for event in await stage.events(done.run_id))
    assert (spent.calls, spent.unknown) == (2, 0)


async def test_calls_are_told_apart_whatever_ids_they_bear(stage: Stage, tmp_path: Path) -> None:
    """None, twice the same, and one that would have been made up for another."""
    bodies: list[dict[str, Any]] = []

    async def give(asked: Asked, reply: Reply) -> None:
        bodies.append(asked.body)
        function = {"name": "shop_stock", "arguments": '{"item": "tea"}'}
        calls = [{"id": id, "type": "function", "function": function} for id in ("call_1_1", "", "", "call_1_1")]
        answer = openai_answers.completion(None, finish_reason="tool_calls", tool_calls=calls)
        await reply.json(openai_turn(2) if len(bodies) > 1 else answer)

    async with open_wire(give) as server:
        begin(stage, server.url, tmp_path)
        done = await stage.run(await stage.register(agent("gpt-4o")))
    assert [each["result"] for each in done.output["a"]["calls"]] == [3] * 4
    _, said, *results = bodies[1]["messages"]
    assert sorted(each["id"] for each in said["tool_calls"]) == sorted(each["tool_call_id"] for each in results)
    assert len({each["tool_call_id"] for each in results}) == 4


async def test_a_call_that_is_lost_with_its_worker_is_counted(stage: Stage, tmp_path: Path) -> None:
    """Nobody has heard what it took; the turns before it are not asked again."""
    asked_for: list[dict[str, Any]] = []
    silent = anyio.Event()

    async def give(asked: Asked, reply: Reply) -> None:
        asked_for.append(json.loads(asked.content))
        if len(asked_for) == 2:
            silent.set()
            await anyio.sleep_forever()
        await reply.json(openai_turn(len(asked_for)))

    async with open_wire(give) as server:
        begin(stage, server.url, tmp_path, 1_000)
        run_id = await stage.client.submit(await stage.register(agent("gpt-4o")))
        await silent.wait()
        await until(lambda: turns_kept(stage, run_id), lambda turns: turns == 1)
        await stage.kill(0)
        await stage.run_out(stage.workers[0])
        begin(stage, server.url, tmp_path, 1_000)
        done = await stage.result(run_id)
    assert done.output["a"]["answer"] == "Three."
    assert [len(body["messages"]) for body in asked_for] == [1, 3, 3]
    spent = total(told_spent(event.facts.data) for event in await stage.events(run_id))
    assert (spent.calls, spent.unknown) == (3, 1)


THOUGHT = {"type": "thinking", "thinking": "", "signature": "c2ln"}
USED = {"type": "tool_use", "id": "c1", "name": "shop_stock", "input": {"item": "tea"}}
CALLED = response_answers.call("c1", "shop_stock", '{"item": "tea"}')


@pytest.mark.parametrize(
    ("model", "turns", "first", "second", "told"),
    [
        (
            "claude-opus-5-5",
            "messages",
            anthropic_answers.message(THOUGHT, USED, stop_reason="tool_use"),
            anthropic_answers.message(anthropic_answers.text("Three.")),
            [
                {"role": "assistant", "content": [THOUGHT, USED]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "3"}]},
            ],
        ),
        (
            "gpt-6.1-sol",
            "input",
            response_answers.response(response_answers.REASONING, CALLED),
            response_answers.response(response_answers.message("Three.")),
            [response_answers.REASONING, CALLED, {"type": "function_call_output", "call_id": "c1", "output": "3"}],
        ),
    ],
)
async def test_what_a_model_has_thought_survives_its_worker(
    stage: Stage, tmp_path: Path, model: str, turns: str, first: Any, second: Any, told: Any
) -> None:
    """It is kept with what was said: the next worker sends it back with what the tool gave."""
    asked_for: list[dict[str, Any]] = []
    silent = anyio.Event()

    async def give(asked: Asked, reply: Reply) -> None:
        asked_for.append(asked.body)
        if len(asked_for) == 2:
            silent.set()
            await reply.until_gone()
        await reply.json(first if len(asked_for) == 1 else second)

    async with open_wire(give) as server:
        begin(stage, server.url, tmp_path, 1_000)
        run_id = await stage.client.submit(await stage.register(agent(model)))
        await silent.wait()
        await until(lambda: turns_kept(stage, run_id), lambda turns: turns == 1)
        await stage.kill(0)
        await stage.run_out(stage.workers[0])
        begin(stage, server.url, tmp_path, 1_000)
        done = await stage.result(run_id)
    assert done.output["a"]["answer"] == "Three."
    assert asked_for[1] == asked_for[2]
    assert asked_for[2][turns] == [*asked_for[0][turns], *told]
    assert "temperature" not in asked_for[0]
