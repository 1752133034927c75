"""Milestones, cancelling and compensation: what is refused, where, and what is all right."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source

from .test_analysis import AGAIN, MAP, analyse, check_error, gives, node


def waits(id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="signal", config={"name": id}, **more)


ERRORS: list[tuple[str, list[dict[str, Any]], tuple[str | int, ...], tuple[str, ...]]] = [
    ("compensation_has_edges", [node("a", compensate="b"), node("b", "a")], ("nodes", 1), ("b", "a")),
    (
        "compensation_has_edges",
        [node("a", compensate="b"), node("b", type="wait", config={"for": 1}), node("c", while_waiting="b")],
        ("nodes", 1),
        ("b", "a"),
    ),
    ("compensates_itself", [node("a", compensate="a")], ("nodes", 0, "compensate"), ("a",)),
    (
        "compensates_two",
        [node("a", compensate="c"), node("b", compensate="c"), node("c")],
        ("nodes", 1, "compensate"),
        ("c", "a", "b"),
    ),
    (
        "compensation_field",
        [node("a", compensate="b"), node("b", compensate="c"), node("c")],
        ("nodes", 1, "compensate"),
        ("b", "a", "compensate"),
    ),
    (
        "compensation_field",
        [node("a", compensate="b"), node("b", loop={"while": "false", "back_to": "b"})],
        ("nodes", 1, "loop"),
        ("b", "a", "loop"),
    ),
    (
        "compensation_field",
        [node("a", compensate="b"), node("b", cancels="c"), node("c")],
        ("nodes", 1, "cancels"),
        ("b", "a", "cancels"),
    ),
    (
        "milestone_never_waits",
        [node("a"), node("w", "a"), node("b", "a", while_waiting="w")],
        ("nodes", 2, "while_waiting"),
        ("b", "w", "noop"),
    ),
    (
        "milestone_joins",
        [node("a"), waits("w", "a"), node("b", "a", while_waiting="w", join="all")],
        ("nodes", 2, "join"),
        ("b", "w"),
    ),
    ("milestone_too_late", [waits("w"), node("b", "w", while_waiting="w")], ("nodes", 1, "while_waiting"), ("b", "w")),
    (
        "milestone_too_late",
        [
            node("a"),
            waits("w"),
            node("p", "a", "w"),
            waits("v", "p"),
            node("b", while_waiting="v"),
            node("c", "b", while_waiting="w"),
        ],
        ("nodes", 5, "while_waiting"),
        ("c", "w"),
    ),
    ("cycle", [node("b", while_waiting="w"), waits("w", "b")], ("nodes", 0), ("'b' -> 'w' -> 'b'",)),
    ("cycle", [node("w", requires_approval=True, while_waiting="w")], ("nodes", 0), ("'w' -> 'w'",)),
    (
        "milestone_scope",
        [node("h"), waits("w", "h"), node("l", "w", loop=AGAIN), node("b", while_waiting="w")],
        ("nodes", 3, "while_waiting"),
        ("b", "w"),
    ),
    (
        "milestone_scope",
        [node("h"), waits("w"), node("b", "h", while_waiting="w"), node("l", "b", loop=AGAIN)],
        ("nodes", 2, "while_waiting"),
        ("b", "w"),
    ),
    (
        "milestone_scope",
        [waits("w"), node("h", while_waiting="w", loop=AGAIN)],
        ("nodes", 1, "while_waiting"),
        ("h", "w"),
    ),
    (
        "milestone_scope",
        [MAP, waits("w"), node("b", "m", while_waiting="w"), node("g", "b", type="aggregate")],
        ("nodes", 2, "while_waiting"),
        ("b", "w"),
    ),
    (
        "milestone_scope",
        [MAP, waits("w", "m"), node("g", "w", type="aggregate", while_waiting="w")],
        ("nodes", 2, "while_waiting"),
        ("g", "w"),
    ),
    (
        "milestone_scope",
        [node("p"), node("q"), node("j", "p", "q", join="each"), waits("w"), node("b", "j", while_waiting="w")],
        ("nodes", 4, "while_waiting"),
        ("b", "w"),
    ),
    (
        "map_body_open",
        [MAP, waits("w", "m"), node("b", "m", while_waiting="w"), node("g", "b", type="aggregate")],
        ("nodes", 1),
        ("w", "m"),
    ),
    ("cancels_nothing", [node("a", cancels="a")], ("nodes", 0, "cancels"), ("a", "itself")),
    ("cancels_nothing", [node("a"), node("b", "a", cancels="a")], ("nodes", 1, "cancels"), ("b", "a", "ended")),
    (
        "cancels_nothing",
        [node("a"), node("p", "a"), node("q", "a"), node("b", "p", "q", join="any", cancels="a")],
        ("nodes", 3, "cancels"),
        ("b", "a", "ended"),
    ),
    ("cancels_nothing", [node("a", cancels="b"), node("b", "a")], ("nodes", 0, "cancels"), ("a", "b", "only after")),
    (
        "cancels_nothing",
        [node("a", compensate="c"), node("b", "a", cancels="c"), node("c")],
        ("nodes", 1, "cancels"),
        ("b", "c", "failed"),
    ),
    (
        "cancels_scope",
        [node("h"), node("l", "h", loop=AGAIN), node("b", cancels="h")],
        ("nodes", 2, "cancels"),
        ("b", "h"),
    ),
    (
        "step_cannot_have_run",
        [node("a"), waits("w", "a"), gives("steps.w.output", "a", while_waiting="w")],
        ("nodes", 2, "config", "expression"),
        ("w", "x"),
    ),
    (
        "step_cannot_have_run",
        [node("a", compensate="c"), node("b", "a"), gives("steps.b.output", id="c")],
        ("nodes", 2, "config", "expression"),
        ("b", "c"),
    ),
    (
        "step_cannot_have_run",
        [node("a", compensate="c"), gives("steps.c.output", "a"), node("c")],
        ("nodes", 1, "config", "expression"),
        ("c", "x"),
    ),
    (
        "step_cannot_have_run",
        [node("a", compensate="c"), gives("steps.c.output", id="c")],
        ("nodes", 1, "config", "expression"),
        ("c",),
    ),
    (
        "step_cannot_have_run",
        [node("a", compensate="c", loop={"while": "steps.c.output == 1", "back_to": "a"}), node("c")],
        ("nodes", 0, "loop", "while"),
        ("c", "a"),
    ),
    (
        "step_not_visible",
        [MAP, node("b", "m"), node("g", "b", type="aggregate", compensate="x"), gives("steps.b.output")],
        ("nodes", 3, "config", "expression"),
        ("b", "x"),
    ),
]


@pytest.mark.parametrize(
    ("code", "nodes", "path", "names"), ERRORS, ids=[f"{at}-{e[0]}" for at, e in enumerate(ERRORS)]
)
def test_an_error_names_its_place_and_its_nodes(
    code: str, nodes: list[dict[str, Any]], path: tuple[str | int, ...], names: tuple[str, ...]
) -> None:
    """What could never happen, or would be in no one scope, is refused with its place and the nodes."""
    check_error(code, nodes, path, names)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("a"), waits("w", "a"), node("b", "a", while_waiting="w"), node("c", "b", while_waiting="w"),
         node("d", "w", "c", join="all")],
        [waits("w", "h"), node("h", requires_approval=True), node("b", while_waiting="w"), node("c", while_waiting="h"),
         node("l", "b", "c", "w", loop=AGAIN)],
        [node("a"), node("p"), waits("w", "a"), node("t", "w"), node("j", "p", "t", join="any"),
         node("b", "j", "a", while_waiting="w", join="every")],
        [MAP, waits("w", "m"), node("b", while_waiting="w"), node("g", "b", "w", type="aggregate")],
        [node("a", compensate="c"), gives("input + inputs.a + steps.a.input", id="c", when="steps.a.output > 1")],
        [node("a"), node("p", "a", mutex="m"), node("q", "a", mutex="m"), node("j", "p", "q", join="any",
         cancels=["p", "q"])],
        [node("a", "h", cancels=["b"]), node("b", "h", cancels="a"), node("h"), node("l", "a", "b", loop=AGAIN)],
    ],
)  # fmt: skip
def test_what_can_happen_is_accepted(nodes: list[dict[str, Any]]) -> None:
    """Chains of nodes that run meanwhile, whole milestones in a loop or a map, a way to the node that need not come
    last, a compensation that reads, a discriminator that cancels what it did not wait for, and mutual cancelling.
    """
    assert analyse(nodes) == []


def test_a_milestone_in_a_circle_is_told_what_is_wrong() -> None:
    """The hint is not to write a loop: the node that is to wait comes after the one that is to run meanwhile."""
    found = [one for one in analyse([node("b", while_waiting="w"), waits("w", "b")]) if one.code == "cycle"]
    assert found[0].hint == "'b' runs only while 'w' waits: 'w' can not come after it"


def test_findings_have_their_line() -> None:
    """A refusal of the analysis is shown where the field stands in the text."""
    source = load_source(
        "courante: 1\n"
        "id: w\n"
        "nodes:\n"
        "  - {id: a, type: noop}\n"
        "  - id: b\n"
        "    type: noop\n"
        "    depends_on: a\n"
        "    while_waiting: a\n"
        "    cancels: [a]\n"
        "    compensate: b\n"
    )
    read = read_document(source.value)
    assert read.workflow is not None
    found = source.locate(compile_workflow(read.workflow)[1])
    assert [(one.code, one.line, one.column) for one in found] == [
        ("compensates_itself", 10, 17),
        ("milestone_never_waits", 8, 20),
        ("milestone_too_late", 8, 20),
        ("cancels_nothing", 9, 14),
    ]
