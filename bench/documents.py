"""The workflows that the benchmarks run: nothing but no-op steps, so that what is measured is the engine."""

from __future__ import annotations

from ..compiler.analysis.build import compile_workflow
from ..compiler.ir import Ir
from ..compiler.normalize import read_document
from ..compiler.workflow import Json, Workflow


def chain(length: int) -> dict[str, Json]:
    """``length`` steps, one after the other."""
    nodes: list[Json] = [{"id": "n0", "type": "noop"}]
    nodes += [{"id": f"n{i}", "type": "noop", "depends_on": f"n{i - 1}"} for i in range(1, length)]
    return {"courante": 1, "id": f"bench-chain-{length}", "output": f"steps.n{length - 1}.output", "nodes": nodes}


def cached_chain(length: int) -> dict[str, Json]:
    """The same, each step with a cache."""
    return {**chain(length), "id": f"bench-cached-{length}", "defaults": {"cache": "global"}}


def fanout(width: int) -> dict[str, Json]:
    """One step, ``width`` side by side, one that joins them."""
    sides: list[Json] = [f"side{i}" for i in range(width)]
    nodes: list[Json] = [{"id": "first", "type": "noop"}]
    nodes += [{"id": side, "type": "noop", "depends_on": "first"} for side in sides]
    nodes += [{"id": "last", "type": "noop", "depends_on": sides}]
    return {"courante": 1, "id": f"bench-fanout-{width}", "nodes": nodes}


def mapped() -> dict[str, Json]:
    """A map over the run's input, a step for each item, and an aggregate of which the number of results is told."""
    return {
        "courante": 1,
        "id": "bench-map",
        "output": "size(steps.all.output)",
        "nodes": [
            {"id": "each", "type": "map"},
            {"id": "step", "type": "noop", "depends_on": "each"},
            {"id": "all", "type": "aggregate", "depends_on": "step"},
        ],
    }


def waiting(length: int, ms: int) -> dict[str, Json]:
    """``length`` waits, one after the other: events that come evenly, and cost no worker anything."""
    nodes: list[Json] = [{"id": "n0", "type": "wait", "config": {"for": f"{ms}ms"}}]
    nodes += [
        {"id": f"n{i}", "type": "wait", "config": {"for": f"{ms}ms"}, "depends_on": f"n{i - 1}"}
        for i in range(1, length)
    ]
    return {"courante": 1, "id": f"bench-waiting-{length}-{ms}", "nodes": nodes}


def parked() -> dict[str, Json]:
    """A step, and then a wait that no benchmark sees the end of."""
    return {
        "courante": 1,
        "id": "bench-parked",
        "nodes": [
            {"id": "first", "type": "noop"},
            {"id": "pause", "type": "wait", "depends_on": "first", "config": {"for": "24h"}},
            {"id": "last", "type": "noop", "depends_on": "pause"},
        ],
    }


def halfway(queue: str) -> dict[str, Json]:
    """Three steps, the last two of them in a queue of their own."""
    nodes: list[Json] = [
        {"id": "first", "type": "noop"},
        {"id": "second", "type": "noop", "depends_on": "first", "queue": queue},
        {"id": "third", "type": "noop", "depends_on": "second", "queue": queue},
    ]
    return {"courante": 1, "id": "bench-halfway", "nodes": nodes}


def held() -> dict[str, Json]:
    """One step that stays in the hands of its worker."""
    return {"courante": 1, "id": "bench-held", "nodes": [{"id": "only", "type": "sleep", "config": {"for": "24h"}}]}


def looping() -> dict[str, Json]:
    """Two steps, again and again, as often as the input says."""
    again: Json = {"while": "output < input.n", "back_to": "step", "max_iterations": 1_000_000}
    nodes: list[Json] = [
        {"id": "step", "type": "transform", "config": {"expression": "loop.iteration"}},
        {
            "id": "count",
            "type": "transform",
            "depends_on": "step",
            "config": {"expression": "steps.step.output"},
            "loop": again,
        },
    ]
    return {"courante": 1, "id": "bench-looping", "output": "steps.count.output", "nodes": nodes}


def compiled(document: dict[str, Json]) -> tuple[Workflow, Ir]:
    read = read_document(document)
    assert read.workflow is not None, read.diagnostics
    ir, diagnostics = compile_workflow(read.workflow)
    assert ir is not None, diagnostics
    return read.workflow, ir
