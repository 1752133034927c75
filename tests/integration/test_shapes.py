"""Large and odd graphs: every step runs once, every edge in order, and the run ends.

The makespan is printed beside Graham's bound for list scheduling (R. L. Graham, 1969: work / slots + critical path),
with 2 ms per step and slot for the engine on top. It is a figure, not a promise of this test.
"""

from __future__ import annotations

import time
from collections import Counter
from random import Random
from typing import Any

import pytest

from courante.sdk.client.client import RunResult
from integration.stage import Stage

pytestmark = pytest.mark.anyio
SLOTS = 128
STEP_MS = 2.0
Nodes = list[dict[str, Any]]


def noop(id: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "noop", "depends_on": list(after), **fields}


def echo(id: str, *after: str) -> dict[str, Any]:
    """Its output is short, whatever comes in: in a dense graph of noops each output holds all outputs above it."""
    return {"id": id, "type": "echo", "depends_on": list(after), "config": {"value": id[:8]}}


def asleep(id: str, ms: int, *after: str) -> dict[str, Any]:
    return {"id": id, "type": "sleep", "depends_on": list(after), "config": {"for": f"{ms}ms"}, "input": "'slept'"}


def layers(nodes: int, width: int, seed: int, ms_max: int = 0) -> Nodes:
    """Random layers: each node depends on one to three of the layer before."""
    random = Random(seed)
    made: Nodes = []
    before: list[str] = []
    while len(made) < nodes:
        layer = [f"n{len(made) + number}" for number in range(min(width, nodes - len(made)))]
        for name in layer:
            after = random.sample(before, min(len(before), random.randint(1, 3)))
            made.append(asleep(name, random.randint(0, ms_max), *after) if ms_max else echo(name, *after))
        before = layer
    return made


def critical_path_ms(nodes: Nodes) -> float:
    """Nodes stand after what they depend on."""
    ends: dict[str, float] = {}
    for node in nodes:
        begin = max((ends[name] for name in node["depends_on"]), default=0.0)
        ends[node["id"]] = begin + _ms(node)
    return max(ends.values())


def _ms(node: dict[str, Any]) -> float:
    return float(node.get("config", {}).get("for", "0ms").removesuffix("ms"))


async def play(stage: Stage, nodes: Nodes, timeout_s: float = 60.0) -> RunResult:
    """Run the graph, hold its log against its edges, and print the figures."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(*nodes)
    begin = time.perf_counter()
    run_id = await stage.client.submit(workflow)
    result = await stage.client.wait(run_id, timeout_s=timeout_s)
    makespan_ms = 1_000 * (time.perf_counter() - begin)
    assert (await stage.result(run_id, timeout_s)).status == result.status == "COMPLETED"
    await check_order(stage, run_id, nodes)
    path_ms, work_ms = critical_path_ms(nodes), sum(map(_ms, nodes))
    bound_ms = work_ms / SLOTS + path_ms + STEP_MS * len(nodes) / SLOTS
    print(
        f"{len(nodes)} steps: {makespan_ms:.0f} ms, bound {bound_ms:.0f} ms ({work_ms:.0f} of work, path {path_ms:.0f})"
    )
    return result


async def check_order(stage: Stage, run_id: str, nodes: Nodes) -> None:
    """Every step once, each after all that it depends on."""
    seen: dict[str, int] = {}
    for event in await stage.events(run_id):
        if event.facts.type == "step.succeeded":
            assert event.facts.node not in seen
            seen[event.facts.node] = event.seq
    assert set(seen) == {node["id"] for node in nodes}
    late = [(name, node["id"]) for node in nodes for name in node["depends_on"] if seen[name] > seen[node["id"]]]
    assert late == []


@pytest.mark.parametrize(("count", "width"), [(2_000, 40), (10_000, 100)])
async def test_thousands_of_nodes(stage: Stage, count: int, width: int) -> None:
    """Random layered graphs of 2,000 and of 10,000 steps."""
    await play(stage, layers(count, width, seed=count))


async def test_steps_of_drawn_lengths(stage: Stage) -> None:
    """500 sleeps of 0 to 40 ms in layers wider than the worker has slots."""
    await play(stage, layers(500, 150, seed=7, ms_max=40))


async def test_a_chain(stage: Stage) -> None:
    """300 steps, one after the other."""
    await play(stage, [noop(f"n{n}", *([f"n{n - 1}"] if n else [])) for n in range(300)])


async def test_one_feeds_a_thousand_and_a_thousand_join(stage: Stage) -> None:
    """One node with 1,000 dependents, which all meet again in one join with all of their outputs."""
    middle = [noop(f"m{n}", "first") for n in range(1_000)]
    nodes = [noop("first"), *middle, noop("last", *(node["id"] for node in middle))]
    result = await play(stage, nodes)
    assert len(result.output["last"]) == 1_000
    assert list(result.output["last"])[:3] == ["m0", "m1", "m2"]


async def test_hundreds_of_roots_and_sinks(stage: Stage) -> None:
    """600 roots are more than one call may start; each of them has a sink of its own."""
    roots = [noop(f"r{n}") for n in range(600)]
    sinks = [noop(f"s{n}", f"r{n}", f"r{(n * 7 + 1) % 600}") for n in range(600)]
    result = await play(stage, [*roots, *sinks])
    assert len(result.output) == 600


async def test_a_dead_path_through_a_wide_graph(stage: Stage) -> None:
    """A branch that is not taken kills 1,000 nodes and the run ends with what was chosen."""
    stage.worker()
    stage.supervisor()
    rule = {"rules": [{"when": "false", "next": ["dead"]}], "default": ["alive"]}
    wide = [noop(f"d{n}", "dead") for n in range(1_000)]
    nodes = [
        {"id": "choice", "type": "conditional", "config": rule},
        noop("dead"),
        noop("alive"),
        *wide,
        noop("join", "alive", *(node["id"] for node in wide)),
    ]
    result = await stage.run(await stage.register(*nodes))
    assert result.status == "COMPLETED"
    assert await stage.succeeded(result.run_id) == ["choice", "alive", "join"]


async def test_many_runs_of_one_graph_at_once(stage: Stage) -> None:
    """100 runs of 30 steps share two workers without mixing anything up."""
    stage.worker()
    stage.worker()
    stage.supervisor()
    nodes = layers(30, 6, seed=3)
    workflow = await stage.register(*nodes)
    ids = [await stage.client.submit(workflow, number) for number in range(100)]
    results = await stage.results(ids)
    for number, result in enumerate(results):
        assert result.status == "COMPLETED"
        await check_order(stage, result.run_id, nodes)
        assert (await stage.events(result.run_id))[0].payload == b"%d" % number
    assert Counter(result.run_id for result in results) == Counter(ids)


async def test_names_of_the_greatest_length(stage: Stage) -> None:
    """40 nodes whose ids have 128 characters and differ only in the last ones."""
    names = ["n" * 124 + f"{n:04}" for n in range(40)]
    await play(stage, [echo(name, *names[max(0, n - 3) : n]) for n, name in enumerate(names)])
