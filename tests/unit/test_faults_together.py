"""Faults together: whatever else is wrong with a document, each fault of it is told at once, at its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from courante.api.reading.documents import compile_text
from courante.compiler.cel import ExpressionError
from courante.compiler.diagnostics import Diagnostic, Severity
from courante.compiler.templates import compile_value

Node = dict[str, Any]
Block = tuple[list[Node], str, tuple[str | int, ...]]
"""Nodes with one fault, its code, and its place below the first of them."""


def node(id: str, *depends_on: str, type: str = "noop", **more: Any) -> Node:
    """One that depends on the first node of the document too."""
    return behind(id, "start", *depends_on, type=type, **more)


def behind(id: str, *depends_on: str, type: str = "noop", **more: Any) -> Node:
    return {"id": id, "type": type, "depends_on": list(depends_on), **more}


def gives(id: str, expression: Any) -> Node:
    return node(id, type="transform", config={"expression": expression})


def blocks(p: str) -> list[Block]:
    """One block for every stage at which a fault can be found; ``p`` begins all ids."""
    a, b, c, d = (f"{p}{letter}" for letter in "abcd")
    mapped = node(a, type="map", config={"items": "[1]"})
    again = {"while": "false", "back_to": a}
    return [
        ([node(a, colour="red")], "unknown_field", (0, "colour")),
        ([node(a, dependson=["start"])], "unknown_field", (0, "dependson")),
        ([node(a, needs=["start"])], "unknown_field", (0, "needs")),
        ([node(a, type="qqq")], "unknown_type", (0, "type")),
        ([node(a, type="functoin", config={"handler": "x"})], "unknown_type", (0, "type")),
        ([node(a, "qqqqqqqqqqqq")], "unknown_node", (0, "depends_on")),
        ([node(a, priority="urgent")], "unknown_value", (0, "priority")),
        ([node(a, timeout="30")], "bad_duration", (0, "timeout")),
        ([node(a, cache=True)], "wrong_type", (0, "cache")),
        ([node(a, retry=3)], "wrong_type", (0, "retry")),
        ([node(a, retry={"max_attempts": 0})], "out_of_range", (0, "retry", "max_attempts")),
        ([node(a, input={"x": ["y"]})], "wrong_type", (0, "input", "x")),
        ([node(a, when=" ")], "empty_expression", (0, "when")),
        ([node(a, type="function")], "missing_field", (0, "config")),
        ([{"id": a, "depends_on": ["start"]}], "missing_field", (0,)),
        ([{"type": "noop", "depends_on": ["start"]}], "missing_field", (0,)),
        ([node(f"{p}!")], "bad_id", (0, "id")),
        ([node(a, on_error="qqqqqqqqqqqq")], "unknown_node", (0, "on_error")),
        ([node(a, loop={"while": "false", "back_to": "qqqqqqqqqqqq"})], "unknown_node", (0, "loop", "back_to")),
        ([gives(a, "steps.qqqqqqqqqqqq.output")], "unknown_name", (0, "config", "expression")),
        ([gives(a, f"steps.{a}.outptu")], "unknown_name", (0, "config", "expression")),
        ([gives(a, "1 +")], "expression_syntax", (0, "config", "expression")),
        ([gives(a, "nobody")], "expression_unknown_name", (0, "config", "expression")),
        ([gives(a, "siz(input)")], "expression_unknown_function", (0, "config", "expression")),
        ([gives(a, f"steps.{b}.output"), node(b)], "step_cannot_have_run", (0, "config", "expression")),
        ([gives(a, f"inputs.{b}"), node(b)], "no_predecessor", (0, "config", "expression")),
        ([node(a, type="llm")], "model_missing", (0, "config")),
        ([node(a, b), node(b, c), node(c, a)], "cycle", (0,)),
        ([node(a), node(b, a, join={"at_least": 9})], "at_least_out_of_range", (1, "join")),
        ([mapped, behind(b, a)], "map_without_aggregate", (0,)),
        ([mapped, behind(b, a), behind(c, a), behind(d, b, type="aggregate")], "map_body_open", (2,)),
        ([node(a), node(b, loop=again)], "back_to_no_ancestor", (1, "loop", "back_to")),
        ([node(a), node(b), behind(c, a, b, loop=again)], "loop_side_entry", (2,)),
        ([node(a, while_waiting=b), node(b)], "milestone_never_waits", (0, "while_waiting")),
        ([node(a, cancels=a)], "cancels_nothing", (0, "cancels")),
        ([node(a, compensate=a)], "compensates_itself", (0, "compensate")),
        ([mapped, behind(b, a), behind(d, b, type="aggregate"),
          behind(c, d, type="transform", config={"expression": f"steps.{b}.output"})],
         "step_not_visible", (3, "config", "expression")),
    ]  # fmt: skip


KINDS = range(len(blocks("x")))


def drawn(kinds: list[int]) -> tuple[dict[str, Any], list[tuple[str, tuple[str | int, ...]]]]:
    """A document with a block of each of ``kinds``, and the faults that it has: code and path."""
    nodes: list[Node] = [{"id": "start", "type": "noop"}]
    faults: list[tuple[str, tuple[str | int, ...]]] = []
    for number, kind in enumerate(kinds):
        more, code, (place, *rest) = blocks(f"n{number}_")[kind]
        faults.append((code, ("nodes", len(nodes) + int(place), *rest)))
        nodes += more
    return {"courante": 1, "id": "w", "nodes": nodes}, faults


def errors(text: str) -> list[Diagnostic]:
    found = [each for each in compile_text(text.encode()).diagnostics if each.severity is Severity.ERROR]
    assert all(each.line > 0 and each.column > 0 for each in found)
    return found


@pytest.mark.parametrize("kind", KINDS, ids=[code for _, code, _ in blocks("x")])
def test_a_fault_alone_is_told_alone(kind: int) -> None:
    """Nothing follows from it that would be told as well."""
    document, faults = drawn([kind])
    assert [(each.code, each.path) for each in errors(json.dumps(document))] == faults


@given(st.lists(st.sampled_from(KINDS), min_size=2, max_size=8), st.booleans())
def test_independent_faults_are_told_together(kinds: list[int], is_json: bool) -> None:
    """Each of them, whatever the stage that finds it, at its line; and nothing else."""
    document, faults = drawn(kinds)
    text = json.dumps(document, indent=1) if is_json else yaml.safe_dump(document, sort_keys=False)
    found = errors(text)
    assert sorted((each.code, each.path) for each in found) == sorted(faults)
    lines = {each.path[1]: each.line for each in found}
    assert [lines[number] for number in sorted(lines)] == sorted(lines.values())


def test_every_expression_of_a_template_is_told() -> None:
    """Of one text and of a whole body, each at its place."""
    body = {"a": "{{ x }} {{ y }} {{ input }}", "b": ["{{ z }}", "{{ steps.aks }}", "{{ 'open"]}
    nodes = [behind("a", type="http", config={"url": "https://a.example", "json": body})]
    found = errors(json.dumps({"courante": 1, "id": "w", "nodes": nodes}))
    place = ("nodes", 0, "config", "json")
    assert sorted((each.message.partition(" (")[0], each.path) for each in found) == [
        ("the step 'aks' does not exist", place),
        ("the string is never closed", (*place, "b", 2)),
        ("unknown name 'x'", (*place, "a")),
        ("unknown name 'y'", (*place, "a")),
        ("unknown name 'z'", (*place, "b", 0)),
    ]


def test_a_key_that_stands_twice_hides_nothing() -> None:
    """The text can still be read: what else is wrong is told with it."""
    text = "courante: 1\nid: w\nnodes:\n  - {id: a, type: noop, type: noop}\n  - {id: b, type: noop, when: steps.aks}\n"
    assert [(each.code, each.line) for each in errors(text)] == [("duplicate_key", 4), ("unknown_name", 5)]


def test_a_misspelt_field_is_judged_as_the_one_that_was_meant() -> None:
    """What it holds may be wrong too, and what depends on it is not."""
    nodes = [
        "{id: fetch, type: noop}",
        "{id: b, type: transform, dependson: fetch, config: {expression: steps.fetch.output}}",
        "{id: c, type: noop, loop: {whle: 'steps.aks', back_to: c}}",
        "{id: d, type: noop, needs: fetsh}",
    ]
    text = "courante: 1\nid: w\nnodes:\n" + "".join(f"  - {each}\n" for each in nodes)
    assert [(each.code, each.line) for each in errors(text)] == [
        ("unknown_field", 5), ("unknown_field", 6), ("unknown_name", 6), ("unknown_field", 7), ("unknown_node", 7),
    ]  # fmt: skip


def test_every_knot_of_cycles_is_told() -> None:
    """Two circles that have nothing in common are two faults, and what comes behind them is judged as well."""
    nodes = [node("a", "b"), node("b", "a"), node("c", "d"), node("d", "c"), gives("e", "1 +"), node("start")]
    nodes[-1].pop("depends_on")
    found = errors(json.dumps({"courante": 1, "id": "w", "nodes": nodes}))
    assert [(each.code, each.path[1]) for each in found] == [("cycle", 0), ("cycle", 2), ("expression_syntax", 4)]


def test_a_node_that_is_wrong_casts_no_doubt_on_the_edge_of_its_number() -> None:
    """Only what a wrong edge itself names is doubted for it."""
    nodes = [behind("a"), behind("b", colour="red"), behind("c"), gives("d", "inputs.b")]
    del nodes[3]["depends_on"]
    edges = [{"from": "a", "to": "qqqqqqqqqqqq"}, {"from": "c", "to": "d"}]
    found = errors(json.dumps({"courante": 1, "id": "w", "nodes": nodes, "edges": edges}))
    assert sorted((each.code, each.path) for each in found) == [
        ("no_predecessor", ("nodes", 3, "config", "expression")),
        ("unknown_field", ("nodes", 1, "colour")),
        ("unknown_node", ("edges", 0, "to")),
    ]


def test_a_text_full_of_faults_is_not_read_to_its_end() -> None:
    """Whoever has told a hundred of them has told enough; a body of many such texts is one value."""
    for body in ("{{ x }} " * 10_000, ["{{ x }} {{ y }} " * 100] * 1_000):
        errors: list[ExpressionError] = []
        compile_value(body, roots=frozenset(), errors=errors)
        assert 100 < len(errors) <= 2 * 100 + 1


def test_an_id_without_an_end_stands_in_no_message() -> None:
    """However many nodes name it."""
    long = "x" * 10_000
    nodes = [{"id": long, "type": "noop"}, *({"id": id, "type": "noop", "compensate": long} for id in "abc")]
    found = errors(json.dumps({"courante": 1, "id": "w", "nodes": nodes}))
    assert [each.code for each in found] == ["bad_id", *["unknown_node"] * 3]
    assert max(len(each.message) for each in found) < 200


MAP = behind("m", type="map", config={"items": "[1]"})
AGGREGATE = behind("g", "b", type="aggregate", config={"policy": "collect"})
READER = behind("r", type="transform", config={"expression": "steps.a.output"})
ONE_FAULT: dict[str, tuple[list[Any], list[tuple[str, tuple[str | int, ...]]]]] = {
    "an aggregate without its type": (
        [MAP, behind("b", "m"), {"id": "g", "depends_on": ["b"]}],
        [("missing_field", ("nodes", 2))],
    ),
    "an aggregate that is no object": ([MAP, behind("b", "m"), "g"], [("wrong_type", ("nodes", 2))]),
    "an aggregate behind nothing that can be read": (
        [MAP, behind("b", "m"), {**AGGREGATE, "depends_on": {"b": None}}],
        [("wrong_type", ("nodes", 2, "depends_on"))],
    ),
    "a node of a map's body that is not there": (
        [MAP, behind("b", "qqqqqqqqqqqq"), AGGREGATE],
        [("unknown_node", ("nodes", 1, "depends_on"))],
    ),
    "rules that cannot be read": (
        [behind("a"), behind("c", "a", type="conditional", config={"rules": 5}), READER],
        [("wrong_type", ("nodes", 1, "config", "rules"))],
    ),
    "rules under another name": (
        [behind("a"), behind("c", "a", type="conditional", config={"ules": [], "default": []}), READER],
        [("unknown_field", ("nodes", 1, "config", "ules"))],
    ),
    "rules of a node without its type": (
        [behind("a"), {"id": "c", "depends_on": ["a"], "config": {"default": ["r"]}}, READER],
        [("missing_field", ("nodes", 1))],
    ),
    "a reference that is misspelt": (
        [behind("a"), behind("c", "a", type="conditional", config={"default": ["reed"]}),
         {**READER, "id": "read"}],
        [("unknown_node", ("nodes", 1, "config", "default"))],
    ),
    "a loop that goes back to nowhere": (
        [behind("a", type="transform", config={"expression": "inputs.l"}),
         behind("l", "a", loop={"while": "false"})],
        [("missing_field", ("nodes", 1, "loop"))],
    ),
    "a provider that is no text": (
        [behind("a", type="llm", config={"model": "m", "provider": 5})],
        [("wrong_type", ("nodes", 0, "config", "provider"))],
    ),
    "an id that stands twice": (
        [behind("a"), behind("b"), behind("a", "b", type="transform", config={"expression": "steps.b.output"})],
        [("duplicate_id", ("nodes", 2, "id"))],
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", ONE_FAULT)
def test_what_follows_from_a_fault_is_not_told(fault: str) -> None:
    """Where a way, a type or a loop cannot be read, nothing is concluded from its not being there."""
    nodes, faults = ONE_FAULT[fault]
    found = errors(json.dumps({"courante": 1, "id": "w", "nodes": nodes}))
    assert [(each.code, each.path) for each in found] == faults
