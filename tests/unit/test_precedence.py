"""Precedence against a run of the graph in which one node takes for ever."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.analysis.graph import Findings, build_graph, sort_graph
from courante.compiler.analysis.precedence import Precedence
from courante.compiler.normalize import normalize
from courante.compiler.workflow import EdgeKind, JoinPolicy, Workflow

FOREVER = 1_000_000


@st.composite
def workflows(draw: st.DrawFn) -> Workflow:
    """Random graphs with joins of all policies, and milestones."""
    nodes: list[dict[str, Any]] = []
    for i in range(draw(st.integers(2, 9))):
        node: dict[str, Any] = {"id": f"n{i}", "type": "noop"}
        sources = sorted(draw(st.sets(st.integers(0, i - 1), max_size=4))) if i else []
        if sources:
            node["depends_on"] = [f"n{source}" for source in sources]
        if draw(st.integers(0, 3)) == 0 and i:
            node["while_waiting"] = f"n{draw(st.integers(0, i - 1))}"
        elif sources:
            node["join"] = draw(st.sampled_from(["all", "every", "any", {"at_least": len(sources)}, "each"]))
        nodes.append(node)
    workflow, found = normalize({"courante": 1, "id": "w", "nodes": nodes})
    assert workflow is not None, found
    return workflow


def starts(workflow: Workflow, slow: int) -> list[int]:
    """When each node starts at the earliest, if ``slow`` takes for ever, waits from its start, and others take 1."""
    graph = build_graph(workflow)
    begun = [0] * len(workflow.nodes)
    for number, node in enumerate(workflow.nodes):
        times = [
            begun[link.source] + (0 if link.kind is EdgeKind.MILESTONE else FOREVER if link.source == slow else 1)
            for link in (graph.links[e] for e in graph.ins[number])
        ]
        is_first = node.while_waiting is None and node.join is not None
        policy = node.join.policy if is_first and node.join is not None else JoinPolicy.ALL
        begun[number] = (min if policy in (JoinPolicy.ANY, JoinPolicy.EACH) else max)(times, default=0)
    return begun


@given(workflows())
def test_a_node_precedes_those_that_never_start_without_its_end(workflow: Workflow) -> None:
    """One node has surely ended before another starts exactly when the other never starts while the one goes on."""
    graph, findings = build_graph(workflow), Findings(workflow)
    sort_graph(graph, findings)
    assert not findings.found
    everyone = range(len(workflow.nodes))
    precedence = Precedence(graph, findings, [(one, other) for one in everyone for other in everyone])
    for one in everyone:
        begun = starts(workflow, one)
        assert [precedence.precedes(one, other) for other in everyone] == [time >= FOREVER for time in begun]


def test_what_was_not_asked_about_is_not_told() -> None:
    """Without pairs there is no work, and no answer."""
    workflow, _ = normalize({"courante": 1, "id": "w", "nodes": [{"id": "a", "type": "noop"}]})
    assert workflow is not None
    graph, findings = build_graph(workflow), Findings(workflow)
    sort_graph(graph, findings)
    assert not findings.found
    assert not Precedence(graph, findings, []).precedes(0, 0)
