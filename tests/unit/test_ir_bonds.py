"""What the IR holds of approvals, signals, milestones, compensations and cancelling."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import has_errors
from courante.compiler.ir import LOOP_ENDS, Edge, Ir, Node, Read, ReadKind, decode_ir, encode_ir
from courante.compiler.normalize import normalize, to_document
from courante.compiler.workflow import Approval, EdgeKind, JoinPolicy, Retry, Signal

from .test_ir import compile_value, compiled, document, named, node


def waits(id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="signal", config={"name": id}, **more)


def at(ir: Ir, id: str) -> Node:
    return ir.nodes[named(ir)[id]]


def only_in(ir: Ir, id: str) -> Edge:
    (number,) = at(ir, id).ins
    return ir.edges[number]


def test_what_a_node_waits_for_is_in_the_ir() -> None:
    """Gates, approvals and signals stand at their node, filled in; only extensions are left of a config."""
    config = {"form": {"type": "object"}, "expires": "2s", "x-a": 1}
    ir = compiled(
        [
            node("gate", requires_approval=True),
            node("ask", "gate", type="approval", config=config),
            node("one", "ask", type="signal", config={"name": "paid", "expires": 3}),
            node("some", "one", type="signal", config={"first_of": [{"name": "a"}, {"name": "b"}, {"after": "1h"}]}),
        ]
    )
    assert [(one.approval, one.signal) for one in ir.nodes] == [
        (Approval(), None),
        (Approval(form={"type": "object"}, expires_ms=2_000), None),
        (None, Signal(names=("paid",), after_ms=3_000)),
        (None, Signal(names=("a", "b"), after_ms=3_600_000, is_choice=True)),
    ]
    assert ir.nodes[1].config == {"x-a": 1}


def test_a_separate_approver_leaves_no_trace_where_none_is_asked_for() -> None:
    """What was compiled before keeps its bytes; what asks for one says so, and is read back."""
    plain = encode_ir(compiled([node("gate", requires_approval={"separate_approver": False})]))
    assert plain == encode_ir(compiled([node("gate", requires_approval=True)]))
    assert b"separate_approver" not in plain
    assert decode_ir(plain).nodes[0].approval == Approval()
    asking = decode_ir(encode_ir(compiled([node("gate", requires_approval={"separate_approver": True})])))
    assert asking.nodes[0].approval == Approval(separate_approver=True)


def test_times_retries_and_mutexes_are_in_the_ir() -> None:
    """What the defaults say is at every node; no node that runs is without a retry policy."""
    nodes = [node("a", queue_timeout=1, mutex="printer"), node("b", "a", heartbeat_timeout="2s", timeout="3s")]
    policy = {"retry_budget": 5, "stuck": {"after": "10m", "action": "fail"}}
    ir = compiled(nodes, policy=policy, defaults={"queue_timeout": "9s", "max_retries": 1})
    assert [(one.queue_timeout_ms, one.heartbeat_timeout_ms, one.timeout_ms, one.mutex) for one in ir.nodes] == [
        (1_000, None, None, "printer"),
        (9_000, 2_000, 3_000, ""),
    ]
    assert [one.retry for one in ir.nodes] == [Retry(max_attempts=2)] * 2
    assert (ir.ir_version, ir.retry_budget, ir.stuck_ms, ir.fails_when_stuck) == (3, 5, 600_000, True)
    assert (compiled([node("a")]).retry_budget, compiled([node("a")]).stuck_ms) == (None, None)


def test_the_hash_of_a_config_says_what_is_waited_for() -> None:
    """Another signal or form is another node; a gate before a node is not what the node does."""

    def hash_of(**fields: Any) -> str:
        return compiled([node("a", **fields)]).nodes[0].config_hash

    assert hash_of(type="signal", config={"name": "a"}) != hash_of(type="signal", config={"name": "b"})
    assert hash_of(type="approval") != hash_of(type="approval", config={"form": {}})
    assert hash_of() == hash_of(requires_approval=True)


def test_a_milestone_is_an_edge_that_parking_decides() -> None:
    """It is an in-edge of its node, the last, under the strict join, and no way out of the node that waits."""
    ir = compiled([node("a"), waits("w", "a"), node("b", "a", while_waiting="w")])
    w, b = at(ir, "w"), at(ir, "b")
    (number,) = w.milestones
    edge = ir.edges[number]
    assert (edge.kind, edge.source, edge.target, edge.slot) == (EdgeKind.MILESTONE, 1, 2, 1)
    assert (w.outs, w.is_terminal, w.waits_while) == ((), True, -1)
    assert (b.join, b.ins[-1], b.waits_while) == (JoinPolicy.EVERY, number, 1)
    assert ir.frontier[edge.dead_from : edge.dead_to] == (number,)
    assert [terminal.id for terminal in ir.terminals] == ["w", "b"]


def test_a_milestone_gives_no_input() -> None:
    """The default input is that of the declared predecessors; the token of the node that waits is read last."""
    ir = compiled([node("a"), waits("w", "a"), node("b", "a", while_waiting="w"), node("c", while_waiting="w")])
    token = Read(ReadKind.TOKEN, 1, ())
    assert (at(ir, "b").sources, at(ir, "b").reads) == ((("a", 0),), (Read(ReadKind.OUTPUT, 0, ()), token))
    assert (at(ir, "c").sources, at(ir, "c").reads) == ((), (Read(ReadKind.INPUT), token))


def test_a_milestone_alone_makes_no_join_and_no_entry() -> None:
    """A node that only waits for another to wait has just that edge: dead, it dies with what depends on it."""
    ir = compiled([node("a"), waits("w", "a"), node("b", while_waiting="w"), node("j", "b", "a")])
    assert (at(ir, "b").join, ir.entries) == (None, (0,))
    edge = only_in(ir, "b")
    assert edge.kind is EdgeKind.MILESTONE
    arrivals = [ir.nodes[ir.edges[entry].target].id for entry in ir.frontier[edge.dead_from : edge.dead_to]]
    assert arrivals == ["j"]


def test_a_milestone_stays_in_its_iteration_and_item() -> None:
    """Both ends have one scope, so the edge copies it, and the token is read there."""
    ir = compiled(
        [node("h"), waits("w", "h"), node("b", "h", while_waiting="w"),
         node("l", "b", "w", loop={"while": "false", "back_to": "h"})]
    )  # fmt: skip
    assert (at(ir, "w").levels, at(ir, "b").levels) == ((0,), (0,))
    assert ir.edges[at(ir, "w").milestones[0]].scope == (0,)
    assert at(ir, "b").reads[-1] == Read(ReadKind.TOKEN, 1, (0,))


def test_a_way_that_dies_through_a_waiting_node_reaches_its_milestones() -> None:
    """The frontier of an edge that leads through the node holds the arrival of its milestone edges too."""
    ir = compiled(
        [node("a"), node("p", "a", when="false"), waits("w", "p"), node("b", "a", while_waiting="w"), node("z", "w")]
    )
    (milestone,) = at(ir, "w").milestones
    edge = only_in(ir, "w")
    assert milestone in ir.frontier[edge.dead_from : edge.dead_to]
    assert milestone in ir.frontier[at(ir, "p").dead_from : at(ir, "p").dead_to]


def test_a_compensation_stands_behind_the_node_that_it_undoes() -> None:
    """It is neither entry nor terminal, has the scope of its node, and its output as input."""
    again = {"while": "false", "back_to": "h"}
    ir = compiled(
        [
            node("x"),
            node("h", "x"),
            node("a", "h", compensate="undo"),
            node("l", "a", loop=again),
            node("undo", type="transform", config={"expression": "[steps.x.output, steps.h.output, steps.a.input]"}),
        ]
    )
    a, undo = at(ir, "a"), at(ir, "undo")
    assert (a.compensate, a.compensates, undo.compensate, undo.compensates) == (4, -1, -1, 2)
    assert (undo.levels, undo.ins, undo.outs, undo.is_terminal) == (a.levels, (), (), False)
    assert (ir.entries, [terminal.id for terminal in ir.terminals]) == ((0,), ["l"])
    assert undo.sources == (("a", 0),)
    assert undo.reads == (
        Read(ReadKind.OUTPUT, 2, (0,)),
        Read(ReadKind.OUTPUT, 0, ()),
        Read(ReadKind.OUTPUT, 1, (0,)),
        Read(ReadKind.STEP_INPUT, 2, (0,)),
    )
    assert a.keeps_input


def test_a_compensation_reads_the_iteration_before_as_its_node_could() -> None:
    """What the node could read of the iteration before, its compensation can."""
    ir = compiled(
        [
            node("h", compensate="undo"),
            node("b", "h"),
            node("l", "b", loop={"while": "false", "back_to": "h"}),
            node("undo", type="transform", config={"expression": "steps.b.output"}),
        ]
    )
    before = compiled(
        [
            node("h", type="transform", config={"expression": "steps.b.output"}),
            node("b", "h"),
            node("l", "b", loop={"while": "false", "back_to": "h"}),
        ]
    )
    assert at(ir, "undo").reads[-1] == at(before, "h").reads[-1]


def test_cancels_are_numbers() -> None:
    """Who is withdrawn stands at the node in the order of the document."""
    ir = compiled([node("a"), node("b", "a"), node("c", "a"), node("d", "a", cancels=["c", "b"])])
    assert [one.cancels for one in ir.nodes] == [(), (), (), (2, 1)]


def test_a_document_with_bonds_is_connected() -> None:
    """A compensation and a milestone count as connected: there is no warning."""
    nodes = [waits("w", compensate="undo"), node("b", while_waiting="w"), node("undo")]
    workflow, _ = normalize(document(nodes))
    assert workflow is not None
    assert compile_workflow(workflow)[1] == []


TYPES = ["noop", "wait", "signal", "approval"]
CONFIGS: dict[str, dict[str, Any]] = {"wait": {"for": "1s"}, "signal": {"name": "s"}}


@st.composite
def bonded(draw: st.DrawFn) -> dict[str, Any]:
    """Documents of a random graph with loops, milestones, compensations and cancels; not all are valid."""
    count = draw(st.integers(2, 9))
    nodes: list[dict[str, Any]] = []
    for i in range(count):
        type = draw(st.sampled_from(TYPES))
        made = node(f"n{i}", type=type, config=CONFIGS.get(type, {}))
        sources = sorted(draw(st.sets(st.integers(0, i - 1), max_size=2))) if i else []
        if sources:
            made["depends_on"] = [f"n{source}" for source in sources]
        others = st.integers(0, i).map(lambda n: f"n{n}")
        waiting = [f"n{n}" for n in range(i) if nodes[n]["type"] != "noop" and n not in sources]
        if draw(st.booleans()) and waiting:
            made["while_waiting"] = draw(st.sampled_from(waiting))
        elif len(sources) > 1:
            made["join"] = draw(st.sampled_from(["all", "every", "any"]))
        if draw(st.integers(0, 9)) == 0:
            made["cancels"] = [draw(others)]
        if draw(st.integers(0, 5)) == 0:
            made["loop"] = {"while": "false", "back_to": draw(others)}
        nodes.append(made)
    for i in range(draw(st.integers(0, 2))):
        nodes[draw(st.integers(0, count - 1))]["compensate"] = f"c{i}"
        nodes.append(node(f"c{i}"))
    return document(nodes)


def compiled_if_sound(value: dict[str, Any]) -> Ir | None:
    workflow, diagnostics = normalize(value)
    if workflow is None:
        return None
    ir, diagnostics = compile_workflow(workflow)
    assert (ir is None) == has_errors(diagnostics)
    return ir


def felt(ir: Ir, number: int) -> set[int]:
    """Where a dead edge is felt, by walking: the rule of section 4, with milestones as ways out of what died."""
    edge = ir.edges[number]
    target = ir.nodes[edge.target]
    if target.join is not None:
        return {number}
    found: set[int] = set()
    if target.loop_region >= 0:
        region = ir.regions[target.loop_region]
        found |= {-1 - gate for gate in region.gates}
        found |= {LOOP_ENDS - target.loop_region} if region.keeps_last else set()
    return found.union(*(felt(ir, way) for way in (*target.outs, *target.milestones)))


@given(bonded())
def test_the_frontier_of_every_edge_is_where_its_death_is_felt(value: dict[str, Any]) -> None:
    """The slice of an edge holds what a walk finds, each once, with milestones among the ways out."""
    ir = compiled_if_sound(value)
    if ir is None:
        return
    for number, edge in enumerate(ir.edges):
        slice = ir.frontier[edge.dead_from : edge.dead_to]
        assert len(set(slice)) == len(slice)
        assert set(slice) == felt(ir, number)


@given(bonded())
def test_bonds_hold_within_one_scope(value: dict[str, Any]) -> None:
    """Milestones, cancels and compensations of an accepted document never leave their region, and agree both ways."""
    ir = compiled_if_sound(value)
    if ir is None:
        return
    milestones = {e for e, edge in enumerate(ir.edges) if edge.kind is EdgeKind.MILESTONE}
    assert {e for one in ir.nodes for e in one.milestones} == milestones
    assert milestones.isdisjoint({e for one in ir.nodes for e in one.outs})
    for number, one in enumerate(ir.nodes):
        partners = [*one.cancels, *(n for n in (one.compensate, one.compensates, one.waits_while) if n >= 0)]
        assert all(ir.nodes[other].levels == one.levels and other != number for other in partners)
        if one.compensate >= 0:
            assert ir.nodes[one.compensate].compensates == number
            assert one.compensate not in ir.entries
        if one.waits_while >= 0:
            assert {ir.edges[e].source for e in one.ins if e in milestones} == {one.waits_while}
            assert one.join is (JoinPolicy.EVERY if len(one.ins) > 1 else None)


@given(bonded())
def test_the_ir_of_bonds_is_that_of_the_normal_form(value: dict[str, Any]) -> None:
    """Written out and read again the document gives the same bytes, and they decode to the same IR."""
    workflow, _ = normalize(value)
    if workflow is None or compiled_if_sound(value) is None:
        return
    content = encode_ir(compile_value(value))
    assert encode_ir(compile_value(to_document(workflow))) == content
    assert encode_ir(decode_ir(content)) == content


@pytest.mark.parametrize("count", [300])
def test_many_milestones_are_linear(count: int) -> None:
    """A chain of nodes that each wait, each with a node that runs meanwhile and feeds one join, stays one array."""
    chain = [waits(f"w{i}", *([f"w{i - 1}"] if i else [])) for i in range(count)]
    meanwhile = [node(f"m{i}", while_waiting=f"w{i}") for i in range(count)]
    ir = compiled([*chain, *meanwhile, node("j", *(f"m{i}" for i in range(count)))])
    assert len(ir.frontier) < 3 * len(ir.edges)
