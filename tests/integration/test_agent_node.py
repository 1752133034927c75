"""Agents on the provider echo: turns, tools, ends, and what survives a worker."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from courante import Context
from courante.sdk.authoring.steps import Steps
from courante.sdk.client.step_log_reading import StepLogReader
from courante.sdk.logs.step_lines import shown_fields
from courante.sdk.sealing.sealing import shown_text
from courante.sdk.spending.prices import load_prices
from courante.sdk.spending.spent import Spent, told_spent, total
from integration.stage import Stage, until
from integration.transcripts import turns_kept

pytestmark = pytest.mark.anyio
ONCE = {"max_attempts": 1}


def agent(*script: Any, tools: list[str] | None = None, **fields: Any) -> dict[str, Any]:
    """An agent whose model says this, turn by turn."""
    own: dict[str, Any] = {name: fields.pop(name) for name in ("retry", "timeout") if name in fields}
    config = {"provider": "echo", "prompt": "Find tea.", "tools": tools or ["search"], "echo": list(script), **fields}
    return {"id": "a", "type": "agent", "config": config, **own}


def call(tool: str, **arguments: Any) -> dict[str, Any]:
    return {"name": tool, "arguments": arguments}


def toolbox(**tools: Callable[..., Any]) -> Steps:
    made = Steps()
    for name, function in tools.items():
        made.tools.add(function, name)
    return made


def search(query: str) -> list[str]:
    """Look around."""
    return [f"{query} 1", f"{query} 2"]


def greet(name: str) -> str:
    return f"hello {name}"


def refuse(query: str) -> str:
    raise ValueError(f"no {query} today")


def leave(query: str) -> str:
    sys.exit(f"no {query}")


def interrupt(query: str) -> str:
    raise KeyboardInterrupt(query)


async def leave_the_loop(query: str) -> str:
    return leave(query)


async def interrupt_the_loop(query: str) -> str:
    return interrupt(query)


async def spent_in(stage: Stage, run_id: str) -> Spent:
    return total(told_spent(event.facts.data) for event in await stage.events(run_id))


def without_times(output: dict[str, Any]) -> dict[str, Any]:
    assert all(each.pop("duration_ms") >= 0 for each in output["calls"])
    return output


async def test_an_agent_calls_tools_until_it_has_an_answer(stage: Stage) -> None:
    """Several in one turn; the output tells the answer and each call; every call of the model is counted."""
    stage.worker(toolbox(search=search))
    stage.supervisor()
    script = [{"tools": [call("search", query="tea"), call("search", query="mate")]}, "Tea, or mate."]
    done = await stage.run(await stage.register(agent(*script)))
    output = without_times(done.output["a"])
    calls = sorted(output.pop("calls"), key=lambda each: str(each["arguments"]))
    assert output == {"answer": "Tea, or mate.", "turns": 2, "exhausted": False}
    assert calls == [
        {"tool": "search", "arguments": {"query": "mate"}, "result": ["mate 1", "mate 2"], "error": None},
        {"tool": "search", "arguments": {"query": "tea"}, "result": ["tea 1", "tea 2"], "error": None},
    ]
    spent = await spent_in(stage, done.run_id)
    assert (spent.calls, spent.unknown) == (2, 0)


async def test_tools_that_would_end_their_process_end_their_call(stage: Stage) -> None:
    """On the loop or beside it; the model is told, as of any other error, and the worker lives on."""
    bad = {"exit": leave, "interrupt": interrupt, "async_exit": leave_the_loop, "async_interrupt": interrupt_the_loop}
    stage.worker(toolbox(**bad))
    stage.supervisor()
    script = [{"tools": [call(name, query="tea") for name in bad]}, "None."]
    done = await stage.run(await stage.register(agent(*script, tools=list(bad))))
    assert {each["tool"]: each["error"] for each in done.output["a"]["calls"]} == {
        "exit": "SystemExit: no tea",
        "async_exit": "SystemExit: no tea",
        "interrupt": "RetryableError: the tool has raised KeyboardInterrupt",
        "async_interrupt": "RetryableError: the tool has raised KeyboardInterrupt",
    }
    assert not any(end.is_set() for end in stage.ends)


async def test_the_results_are_told_to_the_model(stage: Stage) -> None:
    """Without a script echo calls what its prompt says, and answers what it was told."""
    stage.worker(toolbox(search=search, greet=greet))
    stage.supervisor()
    prompt = 'Find it.\ncall: search {"query": "tea"}\ncall: greet {"name": "Ida"}'
    node = agent(tools=["search", "greet"], prompt=prompt)
    del node["config"]["echo"]
    answer = (await stage.run(await stage.register(node))).output["a"]["answer"]
    assert sorted(answer.split("\n")) == ['["tea 1","tea 2"]', "hello Ida"]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (call("refuse", query="tea"), "ValueError: no tea today"),
        (
            call("search", text="tea"),
            "INPUT_INVALID: $: object contains unknown field `text`, in the arguments of 'search'",
        ),
        (call("bank", sum=1), "INPUT_INVALID: there is no tool 'bank'"),
        ({"name": "search", "arguments": "tea"}, "INPUT_INVALID: the arguments are no JSON: "),
        ({"name": "search", "arguments": "[1]"}, "INPUT_INVALID: the arguments of a tool are an object"),
        ({"name": "search", "arguments": "[" * 5_000 + "]" * 5_000}, "INPUT_INVALID: the arguments are no JSON: "),
    ],
)
async def test_what_goes_wrong_with_a_tool_is_told_to_the_model(stage: Stage, asked: Any, error: str) -> None:
    """It fails nothing: the model may try something else."""
    stage.worker(toolbox(search=search, refuse=refuse))
    stage.supervisor()
    node = agent({"tools": [asked]}, "Sorry.", tools=["search", "refuse"])
    output = (await stage.run(await stage.register(node))).output["a"]
    assert output["answer"] == "Sorry."
    (told,) = output["calls"]
    assert told["result"] is None
    assert told["error"].startswith(error)


async def test_a_model_without_an_end_fails_or_says_so(stage: Stage) -> None:
    """As the document wants it, after as many turns as it allows; no tool of the last turn is left out."""
    stage.worker(toolbox(search=search))
    stage.supervisor()
    script = {"tools": [call("search", query="tea")], "text": "Still looking."}
    done = await stage.run(await stage.register(agent(script, max_turns=2)))
    assert done.error is not None
    assert (done.error["type"], done.error["attempt"]) == ("AGENT_EXHAUSTED", 1)
    assert done.error["message"] == "the model has come to no end within 2 turns: it has called search"
    assert (await spent_in(stage, done.run_id)).calls == 2
    told = await stage.run(await stage.register(agent(script, max_turns=2, on_exhausted="answer"), id="v"))
    output = told.output["a"]
    assert (output["answer"], output["turns"], output["exhausted"]) == ("Still looking.", 2, True)
    assert len(output["calls"]) == 2


async def test_an_answer_of_the_wrong_shape_is_asked_for_again(stage: Stage) -> None:
    """In the next turn, with what is wrong; the answer is the JSON."""
    stage.worker(toolbox(search=search))
    stage.supervisor()
    schema = {"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}}
    node = agent({"tools": [call("search", query="tea")]}, {"price": "much"}, 'It is {"price": 3}.', schema=schema)
    output = (await stage.run(await stage.register(node))).output["a"]
    assert (output["answer"], output["turns"]) == ({"price": 3}, 3)


async def test_turns_that_end_with_a_wrong_shape_say_so(stage: Stage) -> None:
    """What the model was told last is what was wrong; the log says why each call failed."""
    stage.worker(toolbox(refuse=refuse))
    stage.supervisor()
    schema = {"type": "object", "required": ["price"]}
    script = [{"tools": [call("refuse", query="tea")]}, {"cost": 3}]
    done = await stage.run(await stage.register(agent(*script, tools=["refuse"], schema=schema, max_turns=3)))
    assert done.error is not None
    said = "the model has given no answer of the wanted shape within 3 turns: answer: "
    assert done.error["message"].startswith(said)
    assert "price" in done.error["message"]
    async with stage.client.pool.acquire() as conn:
        reader = StepLogReader(conn, stage.redis, stage.client.keys.partition(0), stage.place.env, done.run_id)
        failed = [line async for line in reader.past() if shown_text(line.text) == "tool has failed"]
    assert [shown_fields(line.fields)["error"] for line in failed] == ["ValueError: no tea today"]


async def test_a_model_that_asks_for_tools_without_end_is_no_answer(stage: Stage) -> None:
    """Each call is stored, and goes back to the model: nobody wants thousands of them at once."""
    stage.worker(toolbox(search=search))
    stage.supervisor()
    script = {"tools": [call("search", query="tea")] * 1_001}
    done = await stage.run(await stage.register(agent(script, retry=ONCE)))
    assert done.error is not None
    assert (done.error["type"], done.error["message"]) == (
        "OUTPUT_INVALID",
        "the model asks for 1,001 tools at once, at most 1,000",
    )
    assert (await spent_in(stage, done.run_id)).calls == 1


async def test_a_tool_that_no_worker_has_leaves_the_agent_waiting(stage: Stage) -> None:
    """No model is called before all tools are there."""
    first = stage.worker(toolbox(refuse=refuse))
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(agent("Done.")))

    async def applied() -> int:
        return first.applied

    await until(applied, lambda count: count > 0)
    first.stop()
    stage.worker(toolbox(search=search))
    assert (await stage.result(run_id)).output["a"]["answer"] == "Done."
    assert (await spent_in(stage, run_id)).calls == 1


async def test_a_worker_that_dies_costs_the_turn_that_it_was_in(stage: Stage) -> None:
    """The next one has what was said until then, calls with the same key, and counts what the first one has spent."""
    began, keys = anyio.Event(), list[str]()

    async def slow(context: Context) -> str:
        keys.append(context.idempotency_key)
        if len(keys) == 1:
            began.set()
            await anyio.sleep_forever()
        return "found"

    steps = toolbox(search=search, slow=slow)
    stage.worker(steps, lease_ms=1_000)
    stage.supervisor()
    script = [{"tools": [call("search", query="tea")]}, {"tools": [call("slow")]}, "Done."]
    run_id = await stage.client.submit(await stage.register(agent(*script, tools=["search", "slow"])))
    await began.wait()
    await until(lambda: turns_kept(stage, run_id), lambda turns: turns == 2)
    await stage.kill(0)
    await stage.run_out(stage.workers[0])
    stage.worker(steps, lease_ms=1_000)
    done = await stage.result(run_id)
    output = done.output["a"]
    assert (output["answer"], output["turns"], [each["tool"] for each in output["calls"]]) == (
        "Done.",
        3,
        ["search", "slow"],
    )
    assert keys == [f"{run_id}/a/2.0"] * 2
    spent = await spent_in(stage, run_id)
    assert (spent.calls, spent.unknown) == (3, 0)


async def test_what_was_said_is_stored_once(stage: Stage) -> None:
    """A talk of many long results takes as much room as they have, and not as much again with each turn."""
    turns, chars = 9, 30_000
    asked: list[int] = []

    def read(page: int) -> str:
        asked.append(page)
        return f"{page}" * (chars // len(f"{page}"))

    stage.worker(toolbox(read=read))
    stage.supervisor()
    script = [{"tools": [call("read", page=page)]} for page in range(turns)]
    done = await stage.run(await stage.register(agent(*script, "Done.", tools=["read"], max_turns=turns + 1)))
    assert [len(each["result"]) for each in done.output["a"]["calls"]] == [chars] * turns
    keys = [key async for key in stage.redis.scan_iter(stage.client.keys.blob("*"))]
    stored = sum(len(content or b"") for content in await stage.redis.mget(keys))
    assert turns * chars < stored < 5 * turns * chars  # a message, a call, and the outputs of the step and of the run
    assert asked == list(range(turns))


async def test_long_results_survive_the_worker_that_got_them(stage: Stage) -> None:
    """The next one tells the model the same, and the output has all of it."""
    began, calls = anyio.Event(), list[str]()

    def read() -> str:
        calls.append("read")
        return "page " * 20_000

    async def slow() -> str:
        calls.append("slow")
        if not began.is_set():
            began.set()
            await anyio.sleep_forever()
        return "found"

    steps = toolbox(read=read, slow=slow)
    stage.worker(steps, lease_ms=1_000)
    stage.supervisor()
    script = [{"tools": [call("read")], "text": "I read. " * 1_000}, {"tools": [call("slow")]}, "Done."]
    run_id = await stage.client.submit(await stage.register(agent(*script, tools=["read", "slow"])))
    await began.wait()
    await until(lambda: turns_kept(stage, run_id), lambda turns: turns == 2)
    await stage.kill(0)
    await stage.run_out(stage.workers[0])
    stage.worker(steps, lease_ms=1_000)
    output = (await stage.result(run_id)).output["a"]
    assert (output["answer"], output["turns"], calls) == ("Done.", 3, ["read", "slow", "slow"])
    assert [each["result"] for each in output["calls"]] == ["page " * 20_000, "found"]
    assert (await spent_in(stage, run_id)).input_tokens > 2 * 65_536 // 4


async def test_a_worker_that_stops_hands_the_agent_on(stage: Stage) -> None:
    """Between two calls, at once; the next one goes on from there, and what was spent is counted once."""
    began, goes_on = anyio.Event(), anyio.Event()

    async def slow() -> str:
        began.set()
        await goes_on.wait()
        return "found"

    steps = toolbox(slow=slow)
    first = stage.worker(steps)
    stage.supervisor()
    run_id = await stage.client.submit(
        await stage.register(agent({"tools": [call("slow")]}, "Done.", tools=["slow"], retry=ONCE))
    )
    await began.wait()
    first.stop()
    goes_on.set()
    await stage.ends[0].wait()
    stage.worker(steps)
    done = await stage.result(run_id)
    assert (done.output["a"]["answer"], done.output["a"]["turns"]) == ("Done.", 2)
    assert len(done.output["a"]["calls"]) == 1
    types = await stage.types(run_id)
    assert "spending.recorded" in types
    assert "step.retried" not in types
    assert (await spent_in(stage, run_id)).calls == 2


async def test_an_agent_goes_on_with_prices_in_another_currency(stage: Stage, tmp_path: Path) -> None:
    """What was spent before is told by itself, in its own; no attempt fails by it, and nothing is counted twice."""
    began = anyio.Event()

    async def slow() -> str:
        if not began.is_set():
            began.set()
            await anyio.sleep_forever()
        return "found"

    price = {
        "provider": "echo",
        "models": ["*"],
        "currency": "EUR",
        "input": 1,
        "output": 2,
        "valid_from": "2024-01-01",
    }
    (tmp_path / "prices.json").write_text(json.dumps([price]), encoding="utf-8")
    steps = toolbox(slow=slow)
    stage.worker(steps, lease_ms=1_000)
    stage.supervisor()
    run_id = await stage.client.submit(
        await stage.register(agent({"tools": [call("slow")]}, "Done.", tools=["slow"], retry=ONCE))
    )
    await began.wait()
    await until(lambda: turns_kept(stage, run_id), lambda turns: turns == 1)
    await stage.kill(0)
    await stage.run_out(stage.workers[0])
    stage.worker(steps, lease_ms=1_000, prices=load_prices(tmp_path / "prices.json"))
    done = await stage.result(run_id)
    assert done.status == "COMPLETED", done.error
    assert (done.output["a"]["answer"], done.output["a"]["turns"]) == ("Done.", 2)
    told = [(each.facts.type, told_spent(each.facts.data)) for each in await stage.events(run_id)]
    spent = [(kind, each.calls, each.unknown, each.currency) for kind, each in told if each.calls]
    assert spent == [("spending.recorded", 1, 0, "USD"), ("step.succeeded", 1, 0, "EUR")]
