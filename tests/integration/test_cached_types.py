"""What counts as the same input, by the type of the step; secrets are in no key, no log and no kept output."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.ir import caches_of
from courante.sdk.authoring.steps import Steps
from integration.floor import compile_document
from integration.http_site import Answer, Asked, open_site
from integration.stage import Stage, until
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
CANARY = "canary-11d0ab37"


async def kept(stage: Stage) -> list[str]:
    prefix = stage.client.keys.prefix
    await until(lambda: _keys(stage, f"{prefix}cache-lock:*"), lambda found: not found)
    return await _keys(stage, f"{prefix}cache:*")


async def _keys(stage: Stage, pattern: str) -> list[str]:
    return sorted([key.decode() async for key in stage.redis.scan_iter(match=pattern)])


async def reasons(stage: Stage, run_id: str) -> dict[str, str]:
    events = await stage.events(run_id)
    return {event.facts.node: event.facts.reason for event in events if event.facts.type == "step.succeeded"}


async def test_a_call_is_its_request(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what the run has been given only what the templates read counts, and of a secret only its name."""
    asked: list[Asked] = []

    def give(request: Asked) -> Answer:
        asked.append(request)
        return Answer(body=b'{"n": 1}', headers={"content-type": "application/json"})

    stage.worker(http_allow="127.0.0.1")
    stage.supervisor()
    async with open_site(give) as site:
        config = {
            "url": "{{ input.site }}/{{ input.path }}",
            "method": "POST",
            "headers": {"x-key": "{{ secret('TOKEN') }}"},
            "json": {"q": "{{ input.q }}"},
        }
        workflow = await stage.register({"id": "a", "type": "http", "config": config, "cache": "global"})
        for number, (path, q) in enumerate([("x", 1), ("x", 1), ("x", 2), ("y", 1)]):
            monkeypatch.setenv("COURANTE_SECRET_TOKEN", f"{CANARY}-{number}")
            given = {"site": site.url, "path": path, "q": q, "other": number}
            done = await stage.run(workflow, given)
            assert done.output["a"]["body"] == {"n": 1}
            assert await kept(stage)
    assert len(asked) == 3
    assert await places_of(stage, CANARY) == []


async def test_a_model_is_asked_once_for_the_same(stage: Stage) -> None:
    """Prompt, model and parameters, as they are sent; a hit costs nothing."""
    stage.worker()
    stage.supervisor()
    config = {"provider": "echo", "model": "echo-1", "prompt": "Say {{ input.word }}"}
    await stage.register({"id": "a", "type": "llm", "config": config, "cache": "global"})
    found: list[str] = []
    for given in ({"word": "hi"}, {"word": "hi", "more": 1}, {"word": "ho"}):
        done = await stage.run("w", given)
        assert done.output == {"a": f"Say {given['word']}"}
        found.append((await reasons(stage, done.run_id))["a"])
        assert await kept(stage)
    assert found == ["", "cache_hit", ""]
    async with stage.client.pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM run_spending WHERE env = $1", stage.place.env) == 2


async def test_a_tool_is_its_name_and_arguments(stage: Stage) -> None:
    """The arguments are kept with the step as those of any call, also where it was not made."""
    calls: list[tuple[str, int]] = []
    steps = Steps()

    def search(query: str, limit: int = 2) -> int:
        calls.append((query, limit))
        return limit

    steps.tools.add(search, "search")
    stage.worker(steps)
    stage.supervisor()
    node = {"id": "a", "type": "tool", "config": {"tool": "search"}, "input": {"query": "input.q"}, "cache": "global"}
    await stage.register(
        node, {"id": "b", "type": "transform", "depends_on": "a", "config": {"expression": "steps.a.input"}}
    )
    for given in ({"q": "x"}, {"q": "x", "z": 1}, {"q": "y"}):
        done = await stage.run("w", given)
        assert done.output == {"b": {"query": given["q"]}}
        assert await kept(stage)
    assert calls == [("x", 2), ("y", 2)]


RULES = {"rules": [{"when": "output == 1", "next": "b"}], "default": "c"}
SHAPING: list[tuple[str, dict[str, Any], list[Any], list[bool]]] = [
    ("transform", {"expression": "input.a + 1"}, [{"a": 1}, {"a": 1}, {"a": 2}], [False, True, False]),
    ("transform", {"expression": "run.id"}, [1, 1], [False, False]),
    ("filter", {"where": "item > 1"}, [[1, 2], [1, 2], [2, 1]], [False, True, False]),
    ("echo", {"value": "{{ input.a }}!"}, [{"a": 1}, {"a": 1, "b": 2}], [False, True]),
    ("sleep", {"for": "1ms"}, [1, 1, 2], [False, True, False]),
    ("validate", {"schema": {"type": "integer"}}, [1, 1, 2], [False, True, False]),
    ("noop", {}, [None, None], [False, True]),
    ("conditional", RULES, [1, 1, 2], [False, True, False]),
]


@pytest.mark.parametrize(("kind", "config", "inputs", "hits"), SHAPING)
async def test_nodes_that_shape_data(
    stage: Stage, kind: str, config: dict[str, Any], inputs: list[Any], hits: list[bool]
) -> None:
    """The values that they read; the id of the run is one of them where an expression says it."""
    stage.worker()
    stage.supervisor()
    nodes: list[dict[str, Any]] = [{"id": "a", "type": kind, "config": config, "cache": "global"}]
    if kind == "conditional":
        nodes += [{"id": name, "type": "noop", "depends_on": "a"} for name in "bc"]
    await stage.register(*nodes)
    found: list[str] = []
    for given in inputs:
        done = await stage.run("w", given)
        assert done.status == "COMPLETED"
        if kind == "conditional":
            assert list(done.output) == ["b" if given == 1 else "c"]
        found.append((await reasons(stage, done.run_id))["a"])
        assert await kept(stage)
    assert [reason == "cache_hit" for reason in found] == hits


def test_what_has_no_cache_leaves_no_trace() -> None:
    """An IR has its caches by step; those of ``defaults`` are for the steps that can have one."""
    nodes = [{"id": "a", "type": "noop"}, {"id": "b", "type": "wait", "config": {"for": "1s"}}]
    _, plain = compile_document({"courante": 1, "id": "w", "nodes": nodes})
    _, cached = compile_document({"courante": 1, "id": "w", "nodes": nodes, "defaults": {"cache": {"ttl": "1s"}}})
    assert str(plain.caches) == "UNSET"
    assert {name: cache.ttl_ms for name, cache in caches_of(cached).items()} == {"a": 1_000}
