"""The IR: what it holds precomputed, that it is the same everywhere, and that it grows with the document only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from random import Random
from typing import Any, cast

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.ir import (
    COPY_ENTER,
    COPY_SLOT,
    LAST,
    PREVIOUS,
    Ir,
    Read,
    ReadKind,
    RegionKind,
    decode_ir,
    encode_ir,
    ir_hash,
)
from courante.compiler.normalize import normalize, to_document
from courante.compiler.workflow import EdgeKind, JoinPolicy
from courante.sdk.marking.rules import WALK_MAX
from model.reading.draw import LARGE, SMALL, accepted

GROWTH_S = 10.0
"""Far beyond what a large document takes, and far below what anything but linear growth would."""


def node(id: str, *depends_on: str, type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": type, **({"depends_on": list(depends_on)} if depends_on else {}), **more}


def document(nodes: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"courante": 1, "id": "w", "nodes": nodes, **more}


def compiled(nodes: list[dict[str, Any]], **more: Any) -> Ir:
    return compile_value(document(nodes, **more))


def compile_value(value: dict[str, Any]) -> Ir:
    workflow, diagnostics = normalize(value)
    assert workflow is not None, diagnostics
    ir, diagnostics = compile_workflow(workflow)
    assert ir is not None, diagnostics
    return ir


def named(ir: Ir) -> dict[str, int]:
    return {one.id: number for number, one in enumerate(ir.nodes)}


DIAMOND = [node("a"), node("b", "a"), node("c", "a"), node("d", "b", "c")]
LOOP = [
    node("x"),
    node("h", "x"),
    node("b", "h", type="transform", config={"expression": "loop.iteration > 1 ? steps.b.output : 0"}),
    node(
        "l", "b", loop={"while": "output < 3", "back_to": "h", "max_iterations": 7, "delay": "2s", "on_exhausted": "e"}
    ),
    node("e"),
    node("z", "l", type="transform", config={"expression": "steps.b.output"}),
]


def test_entries_and_terminals() -> None:
    """Entries have no in-edges, terminals no out-edges; the run's output lists the terminals by id."""
    ir = compiled([*DIAMOND, node("alone")])
    assert [ir.nodes[n].id for n in ir.entries] == ["a", "alone"]
    assert [one.id for one in ir.nodes if one.is_terminal] == ["d", "alone"]
    assert [terminal.id for terminal in ir.terminals] == ["d", "alone"]
    assert [ir.output_reads[t.reads[0]] for t in ir.terminals] == [
        Read(ReadKind.OUTPUT, 3, ()),
        Read(ReadKind.OUTPUT, 4, ()),
    ]


def test_predecessors_successors_and_arity() -> None:
    """In- and out-edges stand in the order of the document; an edge knows its place at its target."""
    ir = compiled(DIAMOND)
    sources = {one.id: [ir.nodes[ir.edges[e].source].id for e in one.ins] for one in ir.nodes}
    targets = {one.id: [ir.nodes[ir.edges[e].target].id for e in one.outs] for one in ir.nodes}
    assert sources == {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}
    assert targets == {"a": ["b", "c"], "b": ["d"], "c": ["d"], "d": []}
    assert [ir.edges[e].slot for e in ir.nodes[3].ins] == [0, 1]
    assert [one.join for one in ir.nodes] == [None, None, None, JoinPolicy.ALL]
    assert [name for name, _ in ir.nodes[3].sources] == ["b", "c"]


def test_phases() -> None:
    """A node's phase is the longest way to it."""
    ir = compiled([*DIAMOND, node("late", "a", "d")])
    assert {one.id: one.phase for one in ir.nodes} == {"a": 0, "b": 1, "c": 1, "d": 2, "late": 3}
    assert ir.phases == 4


@pytest.mark.parametrize(
    ("written", "policy", "need"),
    [
        (None, JoinPolicy.ALL, 0),
        ("all", JoinPolicy.ALL, 0),
        ("every", JoinPolicy.EVERY, 0),
        ("any", JoinPolicy.ANY, 1),
        ({"at_least": 2}, JoinPolicy.AT_LEAST, 2),
    ],
)
def test_join_policies(written: Any, policy: JoinPolicy, need: int) -> None:
    """Policy and number of live arrivals stand at the node."""
    join = {} if written is None else {"join": written}
    ir = compiled([node("a"), node("b"), node("c"), node("d", "a", "b", "c", **join)])
    assert (ir.nodes[3].join, ir.nodes[3].join_need, ir.nodes[3].is_each) == (policy, need, False)


def test_an_each_join_opens_a_region() -> None:
    """A node behind ``each`` has no record; it and everything below stand in its region."""
    ir = compiled([node("a"), node("b"), node("j", "a", "b", join="each"), node("k", "j")])
    assert (ir.nodes[2].is_each, ir.nodes[2].join) == (True, None)
    assert [one.levels for one in ir.nodes] == [(), (), (0,), (0,)]
    assert ir.regions[0].kind is RegionKind.EACH
    assert [ir.edges[e].scope for e in ir.nodes[2].ins] == [(COPY_SLOT,), (COPY_SLOT,)]
    assert ir.terminals[0].is_list


def test_loops_have_their_back_edge_and_limits() -> None:
    """The loop's region says which node decides and where it goes back to; no back edge counts in an arity."""
    ir = compiled(LOOP)
    at = named(ir)
    loop = ir.nodes[at["l"]]
    region = ir.regions[loop.loop_region]
    assert (region.kind, region.node, region.entry, region.depth) == (RegionKind.LOOP, at["l"], at["h"], 0)
    assert loop.loop is not None
    assert (loop.loop.max_iterations, loop.loop.delay_ms) == (7, 2_000)
    assert {one.id: one.levels for one in ir.nodes} == {"x": (), "h": (0,), "b": (0,), "l": (0,), "e": (), "z": ()}
    assert len(ir.nodes[at["h"]].ins) == 1
    assert ir.edges[ir.nodes[at["h"]].ins[0]].scope == (COPY_ENTER,)
    kinds = {ir.nodes[ir.edges[e].target].id: ir.edges[e].kind for e in loop.outs}
    assert kinds == {"z": EdgeKind.NORMAL, "e": EdgeKind.EXHAUSTED}


def test_reads_say_which_iteration() -> None:
    """Inside, a step that is no ancestor is read from the iteration before; outside, from the last one."""
    ir = compiled(LOOP)
    at = named(ir)
    inside = [read for read in ir.nodes[at["b"]].reads if read.node == at["b"]]
    assert inside == [Read(ReadKind.OUTPUT, at["b"], (PREVIOUS,))]
    outside = [read for read in ir.nodes[at["z"]].reads if read.node == at["b"]]
    assert outside == [Read(ReadKind.OUTPUT, at["b"], (LAST,))]
    assert ir.regions[0].keeps_last


def test_a_side_exit_gets_a_gate() -> None:
    """An edge that leaves a loop from a node that does not decide it passes a join of arity 2 that the loop tells."""
    ir = compiled(
        [node("h"), node("y", "h"), node("l", "y", loop={"while": "false", "back_to": "h"}), node("z", "y", "l")]
    )
    (gate,) = [number for number, one in enumerate(ir.nodes) if one.is_gate]
    assert ir.regions[0].gates == (gate,)
    assert ir.nodes[gate].levels == (0,)
    assert ir.nodes[ir.edges[ir.nodes[gate].ins[0]].source].id == "y"
    assert ir.nodes[ir.edges[ir.nodes[gate].outs[0]].target].id == "z"
    assert ir.edges[ir.nodes[gate].outs[0]].origin == 1
    assert ir.entries == (0,)


def test_config_hashes_say_what_a_node_does() -> None:
    """Type and config decide the hash; id, order of keys and edges do not."""
    one = compiled([node("a", type="echo", config={"value": {"x": 1, "y": 2}})]).nodes[0]
    other = compiled([node("b"), node("c", "b", type="echo", config={"value": {"y": 2, "x": 1}})]).nodes[1]
    changed = compiled([node("a", type="echo", config={"value": {"x": 1, "y": 3}})]).nodes[0]
    assert len(one.config_hash) == 16
    assert one.config_hash == other.config_hash != changed.config_hash


def test_frontiers_are_linear() -> None:
    """A chain where each node also feeds one join has a slice per edge of one array."""
    length = 400
    chain = [node("n0"), *(node(f"n{i}", f"n{i - 1}") for i in range(1, length))]
    ir = compiled([*chain, node("j", *(f"n{i}" for i in range(length)))])
    assert len(ir.frontier) < 3 * len(ir.edges)
    first = ir.edges[ir.nodes[0].outs[0]]
    assert first.dead_to - first.dead_from > WALK_MAX


def test_bytes_are_read_as_they_were_written() -> None:
    """Encoding and decoding gives the same IR, for all shapes that are drawn."""
    for seed in range(60):
        ir = compile_value(dict(accepted(seed, LARGE if seed % 3 == 0 else SMALL)))
        assert decode_ir(encode_ir(ir)) == ir


def test_the_order_of_keys_does_not_show() -> None:
    """Two documents that are equal as values give the same bytes, and so does the normalized form."""
    for seed in range(40):
        drawn = dict(accepted(seed, SMALL))
        turned = turn(drawn)
        assert json.dumps(turned) != json.dumps(drawn)
        content = encode_ir(compile_value(drawn))
        assert encode_ir(compile_value(turned)) == content
        workflow, _ = normalize(drawn)
        assert workflow is not None
        assert encode_ir(compile_value(to_document(workflow))) == content


def turn(value: Any) -> Any:
    """The same value with all keys in the opposite order."""
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return {name: turn(fields[name]) for name in reversed(fields)}
    return [turn(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


PROGRAM = """
import sys
from courante.compiler.ir import ir_hash, encode_ir
from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import normalize
from model.reading.draw import LARGE, accepted
for seed in range(25):
    workflow, _ = normalize(dict(accepted(seed, LARGE)))
    ir, found = compile_workflow(workflow)
    print(ir_hash(encode_ir(ir)), len(found), [one.message for one in found])
"""


def test_every_process_makes_the_same_ir() -> None:
    """The seed of Python's hashes, and with it the order of sets, shows neither in bytes nor in diagnostics."""
    told: set[str] = set()
    for hash_seed in ("0", "1", "4711"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = [sys.executable, "-c", PROGRAM]
        told.add(subprocess.run(run, env=environment, capture_output=True, text=True, check=True, timeout=60).stdout)
    assert len(told) == 1
    assert len(told.pop().splitlines()) == 25


def test_the_address_is_of_the_content() -> None:
    """Equal bytes have one address, others another."""
    one, other = encode_ir(compiled(DIAMOND)), encode_ir(compiled(DIAMOND[:3]))
    assert ir_hash(one) == ir_hash(bytes(one)) != ir_hash(other)


def large(nodes: int, edges: int) -> dict[str, Any]:
    """A graph of that size, every step reading one of its predecessors."""
    random = Random(nodes)
    made = [node("n0")]
    for i in range(1, nodes):
        sources = [f"n{j}" for j in sorted(random.sample(range(max(0, i - 50), i), min(i, edges // nodes)))]
        made.append(node(f"n{i}", *sources, type="transform", config={"expression": f"steps.{sources[0]}.output"}))
    return document(made)


def seconds(value: dict[str, Any]) -> float:
    started = time.process_time()
    compile_value(value)
    return time.process_time() - started


def test_a_large_document_takes_its_size() -> None:
    """10,000 nodes and 50,000 edges take their share of time: four times the size is far from sixteen times as long."""
    quarter = min(seconds(large(2_500, 12_500)) for _ in range(2))
    whole = seconds(large(10_000, 50_000))
    assert whole < GROWTH_S
    assert whole < 9 * quarter


@pytest.mark.parametrize("shape", ["chain", "reads", "star"])
def test_deep_and_wide_graphs_do_not_recurse(shape: str) -> None:
    """50,000 nodes in one chain, in one chain that reads far back, and side by side into one join."""
    count = 50_000
    if shape == "star":
        middle = [node(f"n{i}", "a") for i in range(count)]
        nodes = [node("a"), *middle, node("z", *(one["id"] for one in middle))]
    else:
        nodes = [node(f"n{i}", *([f"n{i - 1}"] if i else [])) for i in range(count)]
        for i in range(10, count if shape == "reads" else 0, 100):
            nodes[i].update(type="transform", config={"expression": f"steps.n{i - 10}.output"})
    ir = compiled(nodes)
    assert len(ir.nodes) == len(nodes)
    assert ir.phases == (3 if shape == "star" else count)
