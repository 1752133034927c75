"""Tools in Python, called by nodes on a real worker, and what the log keeps of their calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from cli_views import read_view
from courante import Context, StepCall
from courante.api.wire.traces import ToolError
from courante.sdk.authoring.steps import Steps
from courante.sdk.stores.traces import list_traces
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def asks(tool: str, input: Any = None, id: str = "a", **fields: Any) -> dict[str, Any]:
    config = {"tool": tool, **fields.pop("config", {})}
    return {"id": id, "type": "tool", "config": config, **({} if input is None else {"input": input}), **fields}


def toolbox(**tools: Callable[..., Any]) -> Steps:
    made = Steps()
    for name, function in tools.items():
        made.tools.add(function, name)
    return made


def search(query: str, limit: int = 2) -> list[str]:
    return [f"{query} {number}" for number in range(limit)]


async def whoami(context: Context) -> list[object]:
    return [context.node, context.attempt, context.idempotency_key]


def refuse(query: str) -> str:
    raise ValueError(f"no {query} today")


async def test_a_tool_is_called_with_its_arguments_by_name(stage: Stage) -> None:
    """Plain or async; those that are left out have their defaults; further fields of the config are arguments too."""
    stage.worker(toolbox(search=search, whoami=whoami))
    stage.supervisor()
    nodes = [
        asks("search", {"query": "input.q"}, id="a"),
        asks("search", {"query": "steps.a.output[1]"}, id="b", depends_on="a", config={"limit": "{{ input.n }}"}),
        asks("whoami", {}, id="c", depends_on="b"),
    ]
    done = await stage.run(
        await stage.register(*nodes, output="[steps.b.output, steps.c.output]"), {"q": "tea", "n": 1}
    )
    assert done.output == [["tea 1 0"], ["c", 1, f"{done.run_id}/c"]]


async def test_the_input_wins_over_the_config(stage: Stage) -> None:
    """A setting is what holds where nobody says otherwise."""
    stage.worker(toolbox(search=search))
    stage.supervisor()
    node = asks("search", {"query": "'tea'", "limit": "1"}, config={"limit": 5, "query": "coffee"})
    assert (await stage.run(await stage.register(node))).output == {"a": ["tea 0"]}


@pytest.mark.parametrize(
    ("input", "said"),
    [
        ({"query": "1"}, "$.query: expected `str`, got `int`, in the arguments of 'search'"),
        ({"q": "'tea'"}, "$: object contains unknown field `q`, in the arguments of 'search'"),
        ("'tea'", "the arguments of a tool are an object, their names and values, not a value that is no object"),
    ],
)
async def test_arguments_that_do_not_fit_fail_the_step_at_once(stage: Stage, input: Any, said: str) -> None:
    """As what a step's hint refuses."""
    stage.worker(toolbox(search=search))
    stage.supervisor()
    done = await stage.run(await stage.register(asks("search", input)))
    assert done.error is not None
    assert (done.error["type"], done.error["attempt"], done.error["message"]) == ("INPUT_INVALID", 1, said)


async def test_a_tool_that_fails_fails_its_step(stage: Stage) -> None:
    """After the policy's attempts, with what the tool has raised; the arguments of each attempt are kept."""
    stage.worker(toolbox(refuse=refuse))
    stage.supervisor()
    node = asks("refuse", {"query": "'tea'"}, retry={"max_attempts": 2, "base": "1ms"})
    done = await stage.run(await stage.register(node))
    assert done.error is not None
    assert (done.error["type"], done.error["message"], done.error["attempt"]) == ("ValueError", "no tea today", 2)
    view = await read_view(stage, done.run_id)
    (step,) = view.steps
    assert step.trace is not None
    assert (step.trace.arguments, step.trace.result) == ({"query": "tea"}, None)
    assert step.trace.error == ToolError(type="ValueError", message="no tea today")
    async with stage.client.pool.acquire() as conn:
        traces = await list_traces(conn, stage.place.env, done.run_id, ["a"])
    assert [attempt for _, _, attempt in traces] == [1, 2]


async def test_a_call_can_be_read_with_its_run(stage: Stage) -> None:
    """Which tool, its arguments, what it gave and how long that took; also what is too large to travel inline."""

    async def slow(text: str) -> str:
        await anyio.sleep(0.02)
        return text * 2

    stage.worker(toolbox(slow=slow))
    stage.supervisor()
    text = "tea" * 10_000
    done = await stage.run(await stage.register(asks("slow", {"text": "input"})), text)
    (step,) = (await read_view(stage, done.run_id)).steps
    assert step.trace is not None
    told = step.trace
    assert (told.tool, told.arguments, told.result, told.error) == ("slow", {"text": text}, text * 2, None)
    assert step.trace.duration_ms >= 20


async def test_a_template_may_choose_the_tool(stage: Stage) -> None:
    """Among those that the document allows; the trace says which one it was."""
    stage.worker(toolbox(search=search, refuse=refuse))
    stage.supervisor()
    node = asks("{{ input.tool }}", {"query": "'tea'"}, config={"allow": ["search"]})
    workflow = await stage.register(node)
    done = await stage.run(workflow, {"tool": "search"})
    assert done.output == {"a": ["tea 0", "tea 1"]}
    (step,) = (await read_view(stage, done.run_id)).steps
    assert step.trace is not None
    assert step.trace.tool == "search"
    refused = await stage.run(workflow, {"tool": "refuse"})
    assert refused.error is not None
    assert refused.error["message"] == "the tool 'refuse' is none of those that this step may call"


async def test_a_tool_that_a_worker_does_not_have_is_left_to_another(stage: Stage) -> None:
    """It fails nothing, and the one that has it runs it."""
    first = stage.worker(toolbox(refuse=refuse))
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(asks("search", {"query": "'tea'"})))

    async def applied() -> int:
        return first.applied

    await until(applied, lambda count: count > 0)
    first.stop()
    stage.worker(toolbox(search=search))
    assert (await stage.result(run_id)).output == {"a": ["tea 0", "tea 1"]}


async def test_middleware_stands_around_tools_too(stage: Stage) -> None:
    """As around steps: it knows the arguments, and may change what comes of them."""
    steps = toolbox(search=search)

    async def loud(call: StepCall) -> Any:
        return [call.step, str(call.input), *[text.upper() for text in await call()]]

    steps.add_middleware(loud)
    stage.worker(steps)
    stage.supervisor()
    done = await stage.run(await stage.register(asks("search", {"query": "'tea'", "limit": "1"})))
    assert done.output == {"a": ["search", "{'query': 'tea', 'limit': 1}", "TEA 0"]}
