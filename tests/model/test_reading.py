"""The naive reading against runs worked out by hand from the text, and against laws that hold for every graph.

The graphs are the "first tests" of the token rules that need no maps and no mutex; the expected nodes were
written down from the text, not from the reading.
"""

from __future__ import annotations

from itertools import islice
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.reading.draw import LARGE, SMALL, Taste, document, documents, every_document
from model.reading.graph import Document, Graph, Kind, from_document
from model.reading.oracle import Outcome, Seeded, Told
from model.reading.reading import Colour, End, Reading, read
from model.reading.regions import Reason, RegionKind, refusal, regions

AGAIN = Outcome(again=True)
POLICIES = {"all", "every", "at_least", "each"}


def node(name: str, *depends_on: str, **more: object) -> dict[str, object]:
    return {"id": name, "type": "noop", "depends_on": list(depends_on), **more}


def loop(back_to: str, limit: int = 9, **more: object) -> dict[str, object]:
    return {"while": "output.again", "back_to": back_to, "max_iterations": limit, **more}


def first(*targets: str, default: str) -> dict[str, object]:
    """One rule and its default, to be spread into a node."""
    return {"rules": [{"when": "output.r[0]", "next": list(targets)}], "default": [default]}


def workflow(*nodes: dict[str, object], on_failure: str = "continue") -> Document:
    return {"courante": 1, "id": "t", "policy": {"on_failure": on_failure}, "nodes": list(nodes)}


def run(document: Document, oracle: Told | None = None) -> Reading:
    graph = from_document(document)
    assert refusal(graph) == set()
    return read(graph, oracle or Told())


def places(text: str) -> set[tuple[str, str]]:
    """``A L:L#1`` is A outside all regions and L in iteration 1."""
    return {(name, scope) for name, _, scope in (place.partition(":") for place in text.split())}


def test_an_edge_out_of_a_loop_has_its_status_in_the_last_iteration() -> None:
    """Y leads on to L in iteration 1 and out to Z in iteration 2; Z runs once."""
    document = workflow(node("H"), node("Y", "H", **first("L", default="Z")), node("L", loop=loop("H")), node("Z", "L"))
    on = Outcome(rules=(True,))
    reading = run(document, Told(outcomes={"Y L#1": on, "L": AGAIN}))
    assert reading.executed == places("H:L#1 Y:L#1 L:L#1 H:L#2 Y:L#2 Z")
    assert reading.ends["L", "L#2"] is End.DEAD


def test_a_side_branch_and_the_loop_node_meet_once() -> None:
    """Y leads to L and Z in parallel; Z waits for the end of the loop."""
    document = workflow(node("H"), node("Y", "H"), node("L", "Y", loop=loop("H")), node("Z", "Y", "L"))
    reading = run(document, Told(outcomes={"L L#1": AGAIN}))
    assert reading.executed == places("H:L#1 Y:L#1 L:L#1 H:L#2 Y:L#2 L:L#2 Z")
    assert reading.iterations == {("L", ""): 2}


def test_going_back_decides_no_edge() -> None:
    """A->L, L->J, A->J with L on itself: J fires after the break, with both edges live."""
    document = workflow(node("A"), node("L", "A", loop=loop("L")), node("J", "L", "A", join="every"))
    reading = run(document, Told(outcomes={"L L#1": AGAIN, "L L#2": AGAIN}))
    assert reading.executed == places("A L:L#1 L:L#2 L:L#3 J")
    assert (1, "L#1") not in reading.edges


def test_each_iteration_has_its_own_join() -> None:
    document = workflow(node("H"), node("P", "H"), node("Q", "H"), node("L", "P", "Q", join="any", loop=loop("H")))
    reading = run(document, Told(outcomes={"L L#1": AGAIN}))
    assert reading.executed == places("H:L#1 P:L#1 Q:L#1 L:L#1 H:L#2 P:L#2 Q:L#2 L:L#2")


def test_any_fires_once() -> None:
    reading = run(workflow(node("A"), node("P", "A"), node("Q", "A"), node("J", "P", "Q", join="any")))
    assert reading.executed == places("A P Q J")


@pytest.mark.parametrize(("join", "executed"), [("all", "A P J"), ("every", "A P"), ("any", "A P J")])
def test_all_merges_what_a_choice_left(join: str, executed: str) -> None:
    """A->P or Q, both lead to J: the default runs J after the one that was chosen."""
    document = workflow(node("A", **first("P", default="Q")), node("P"), node("Q"), node("J", "P", "Q", join=join))
    assert run(document, Told(outcomes={"A": Outcome(rules=(True,))})).executed == places(executed)


@pytest.mark.parametrize(("rules", "executed"), [((True,), "A P J"), ((), "A J")])
def test_all_merges_a_shortcut(rules: tuple[bool, ...], executed: str) -> None:
    """A->P or J, P->J: J runs either way."""
    document = workflow(node("A", **first("P", default="J")), node("P"), node("J", "P"))
    assert run(document, Told(outcomes={"A": Outcome(rules=rules)})).executed == places(executed)


@pytest.mark.parametrize(("join", "executed"), [("all", "A Q X P"), ("every", "A Q X")])
def test_every_asks_for_the_choice_as_well(join: str, executed: str) -> None:
    """A->P or Q, X->P: without ``every`` P runs though A went elsewhere."""
    document = workflow(node("A", **first("P", default="Q")), node("P", "X", join=join), node("Q"), node("X"))
    assert run(document).executed == places(executed)


@pytest.mark.parametrize("on_failure", ["continue", "fail_fast"])
def test_an_unhandled_failure_is_not_a_branch_not_taken(on_failure: str) -> None:
    nodes = (node("A"), node("P", "A"), node("Q", "A"), node("J", "P", "Q"), node("K", "J"))
    reading = run(workflow(*nodes, on_failure=on_failure), Told(outcomes={"P": Outcome(ok=False)}))
    assert reading.executed == places("A P Q")
    assert reading.unhandled == places("P")
    assert reading.ends["K", ""] is End.LOST
    assert reading.status == "FAILED"


def test_each_makes_one_activation_per_live_edge() -> None:
    """{P, Q}->J each->{K, T}, K->T: everything below J exists twice, joins included."""
    document = workflow(node("P"), node("Q"), node("J", "P", "Q", join="each"), node("K", "J"), node("T", "J", "K"))
    assert run(document).executed == places("P Q J:J@0 K:J@0 T:J@0 J:J@1 K:J@1 T:J@1")
    one = run(document, Told(outcomes={"P": Outcome(ok=False)}))
    assert one.executed == places("P Q J:J@1 K:J@1 T:J@1")
    assert one.status == "FAILED"


def test_a_handled_failure_takes_the_error_edge_only() -> None:
    document = workflow(node("A", on_error="E"), node("B", "A"), node("E"), node("J", "B", "E"))
    reading = run(document, Told(outcomes={"A": Outcome(ok=False)}))
    assert reading.executed == places("A E J")
    assert reading.status == "COMPLETED"


@pytest.mark.parametrize(
    ("more", "executed", "status"), [({"on_exhausted": "X"}, "X", "COMPLETED"), ({}, "", "FAILED")]
)
def test_an_exhausted_loop_takes_its_own_edge_or_fails(more: dict[str, object], executed: str, status: str) -> None:
    others = [node("X")] if more else []
    document = workflow(node("L", loop=loop("L", 2, **more)), node("Z", "L"), *others)
    reading = run(document, Told(outcomes={"L": AGAIN}))
    assert reading.executed == places("L:L#1 L:L#2 " + executed)
    assert reading.status == status


def test_rules_without_a_way_fail_and_unnamed_dependents_are_always_taken() -> None:
    rules = [{"when": "output.r[0]", "next": ["B"]}]
    document = workflow(node("A", rules=rules), node("B"), node("C", "A"))
    assert run(document).unhandled == places("A")
    assert run(document, Told(outcomes={"A": Outcome(rules=(True,))})).executed == places("A B C")


def test_a_skipped_node_lets_its_edges_die() -> None:
    reading = run(workflow(node("A", when="input.when.A"), node("B", "A")), Told(false=frozenset({"A"})))
    assert reading.executed == places("")
    assert reading.ends == {("A", ""): End.SKIPPED, ("B", ""): End.DEAD}
    assert reading.status == "COMPLETED"


def test_inner_loops_start_anew_and_each_iteration_keeps_its_own_end() -> None:
    """H heads two loops, I within L; S leaves both from H and counts with the last iteration of both."""
    nodes = (node("H"), node("I", "H", loop=loop("H")), node("L", "I", loop=loop("H")), node("S", "H"))
    told = Told(outcomes={"I L#1/I#1": AGAIN, "I L#1/I#2": AGAIN, "L L#1": AGAIN})
    reading = run(workflow(*nodes), told)
    inner = "H:L#1/I#{0} I:L#1/I#{0} "
    expected = "".join(inner.format(n) for n in (1, 2, 3)) + "L:L#1 H:L#2/I#1 I:L#2/I#1 L:L#2 S"
    assert reading.executed == places(expected)
    assert reading.iterations == {("I", "L#1"): 3, ("I", "L#2"): 1, ("L", ""): 2}


@pytest.mark.parametrize(
    ("nodes", "reasons"),
    [
        ((node("H"), node("X"), node("L", "H", "X", loop=loop("H"))), {Reason.INTO_LOOP}),
        ((node("H"), node("A", "H", loop=loop("H")), node("B", "H", loop=loop("H"))), {Reason.OVERLAP}),
        (
            (node("P"), node("Q"), node("J", "P", "Q", join="each"), node("X"), node("T", "J", "X")),
            {Reason.INTO_EACH},
        ),
        (
            (node("H"), node("P", "H"), node("J", "H", "P", join="each"), node("L", "J", loop=loop("H"))),
            {Reason.EACH_INSIDE},
        ),
        ((node("A"), node("B", loop=loop("A"))), {Reason.BACK_TO}),
        ((node("A", "B"), node("B", "A")), {Reason.CYCLE}),
        ((node("A"), node("B"), node("C", "A", "B", join={"at_least": 3})), {Reason.AT_LEAST}),
        ((node("P"), node("Q"), node("J", "P", "Q", join="each"), node("L", "J", loop=loop("J"))), set[Reason]()),
    ],
)
def test_refused_shapes_are_named(nodes: tuple[dict[str, object], ...], reasons: set[Reason]) -> None:
    assert refusal(from_document(workflow(*nodes))) == reasons


def test_drawn_documents_are_mostly_accepted_and_varied() -> None:
    """Under a fifth is refused, and every shape that the rules speak of comes up."""
    graphs = [from_document(document(Random(seed), LARGE if seed % 2 else SMALL)) for seed in range(200)]
    good = [graph for graph in graphs if not refusal(graph)]
    assert 160 < len(good) < 200
    bodies = [region for graph in good for region in regions(graph) if len(region.nodes) > 2]
    assert sum(region.kind is RegionKind.LOOP for region in bodies) > 40
    assert sum(region.kind is RegionKind.EACH for region in bodies) > 20
    assert {edge.kind for graph in good for edge in graph.edges} == set(Kind)
    assert {found.join.policy for graph in good for found in graph.nodes.values()} == POLICIES
    assert {found.rules.every_rule for graph in good for found in graph.nodes.values() if found.rules} == {True, False}


@settings(max_examples=150)
@given(documents(), st.integers(0, 10_000))
def test_loops_end_once_and_activations_bear_the_number_of_a_live_edge(document: Document, seed: int) -> None:
    """All iterations but the last go back; (join, i) exists if and only if in-edge i of the join is live."""
    graph = from_document(document)
    reading = read(graph, Seeded.varied(graph, seed))
    for (name, outer), last in reading.iterations.items():
        prefix = outer + "/" if outer else ""
        ends = [reading.ends[name, f"{prefix}{name}#{iteration}"] for iteration in range(1, last + 1)]
        assert [end is End.BACK for end in ends] == [True] * (last - 1) + [False]
        assert f"{prefix}{name}#{last + 1}" not in {scope for other, scope in reading.ends if other == name}
    each = [region for region in regions(graph) if region.kind is RegionKind.EACH]
    for region in each:
        if any(region.nodes < other.nodes for other in regions(graph)):
            continue
        for index, edge in enumerate(graph.ins[region.owner]):
            is_live = any(
                reading.edges.get((edge.number, scope)) is Colour.LIVE and _is_last(reading, graph, edge.source, scope)
                for other, scope in reading.ends
                if other == edge.source
            )
            begins = [scope for other, scope in reading.ends if other == region.owner]
            assert any(scope.startswith(f"{region.id}{index}") for scope in begins) == is_live


def _is_last(reading: Reading, graph: Graph, source: str, scope: str) -> bool:
    """True if the scope is the last iteration of every loop around the source."""
    outer = ""
    for part in scope.split("/") if scope else ():
        owner, _, iteration = part.partition("#")
        if iteration and reading.iterations[owner, outer] != int(iteration):
            return False
        outer = f"{outer}/{part}" if outer else part
    return source in graph.nodes


@settings(max_examples=100)
@given(documents(Taste(loops_max=0)), st.integers(0, 10_000))
def test_a_stricter_join_never_runs_more(document: Document, seed: int) -> None:
    """Without failures: ``every`` runs no more than ``all``, and ``any`` the same nodes as ``all``."""
    runs: list[frozenset[tuple[str, str]]] = []
    for policy in ("every", "all", "any"):
        graph = from_document(_with_joins(document, policy))
        reading = read(graph, Seeded(graph=graph, seed=seed, failing=0.0, rule=1.0))
        assert reading.status == "COMPLETED"
        runs.append(reading.executed)
    assert runs[0] <= runs[1] == runs[2]


def _with_joins(document: Document, policy: str) -> Document:
    nodes = msgspec.convert(document["nodes"], list[dict[str, object]])
    return {**document, "nodes": [{**found, "join": policy} for found in nodes]}


def test_every_small_graph_has_a_reading() -> None:
    """Every run of an accepted graph of up to three nodes ends, and of a sample of those with four."""
    assert [sum(1 for _ in every_document(size)) for size in (1, 2, 3)] == [2, 12, 252]
    accepted_ones = 0
    for found in [*every_document(2), *every_document(3), *islice(every_document(4), 0, None, 40)]:
        graph = from_document(found)
        if not refusal(graph):
            accepted_ones += 1
            for seed in range(3):
                assert read(graph, Seeded(graph=graph, seed=seed)).ends
    assert accepted_ones > 200
