"""Normalizing: idempotent, total, and true to the order of edges."""

from __future__ import annotations

import copy
import random
from collections.abc import Sequence
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from courante.compiler.analysis import compile_document
from courante.compiler.diagnostics import has_errors
from courante.compiler.normalize import normalize, read_document, to_document
from courante.compiler.source import load_source, source_of
from courante.compiler.workflow import Edge, Json, Workflow

from .test_dialects import GOLDEN
from .test_native import SAMPLE

DOCUMENTS: list[Json] = [load_source(SAMPLE).value, *(load_source(text).value for text, _ in GOLDEN.values())]


def _again(workflow: Workflow, *warned: str) -> Workflow:
    """Read once more what was read. warned: codes of what may be said of it again."""
    read, diagnostics = normalize(to_document(workflow))
    assert [found for found in diagnostics if found.code not in warned] == []
    assert read is not None
    return read


@pytest.mark.parametrize("value", DOCUMENTS)
def test_the_native_form_of_a_workflow_is_read_back(value: Json) -> None:
    """``normalize(to_document(w)) == w``, and the document is plain JSON and does not change any more."""
    workflow, _ = normalize(value)
    assert workflow is not None
    assert _again(workflow) == workflow
    document = to_document(workflow)
    assert source_of(document).value == document
    assert to_document(_again(workflow)) == document


Fields = dict[str, Any]

NOTHING: Fields = {}
_ids = st.sampled_from("abcdef")
_targets = st.lists(_ids, max_size=3) | _ids
_when = st.sampled_from(["true", "output.x > 1", "input.y"])
_durations = st.sampled_from(["250ms", "1.5h", "90s", 30, 0.25, "2d"])
_retry = st.fixed_dictionaries(
    {},
    optional={
        "max_attempts": st.integers(1, 9),
        "base": _durations,
        "factor": st.sampled_from([1, 1.5, 3]),
        "jitter": st.booleans(),
        "on": st.lists(st.sampled_from(["network", "429", 500, "5xx"]), max_size=3),
    },
)
_rules = st.lists(
    st.fixed_dictionaries({"when": _when, "next": st.lists(_ids, min_size=1, max_size=3) | _ids}),
    min_size=1,
    max_size=3,
)
_routing: dict[str, st.SearchStrategy[Any]] = {"default": _targets, "mode": st.sampled_from(["first", "all"])}
_loop = st.fixed_dictionaries(
    {"while": _when, "back_to": _ids},
    optional={"max_iterations": st.integers(1, 50), "on_exhausted": _targets, "delay": _durations},
)
_approvals = st.sampled_from(
    [
        NOTHING,
        {"form": {"type": "object", "x-order": ["a"]}},
        {"expires": "2d", "escalate_to": "lead"},
        {"expires": 90, "escalate_to": "lead", "escalate_after": "1500ms", "x-why": 1},
        {"escalate_to": "lead", "escalate_after": 1},
        {"separate_approver": True},
        {"separate_approver": False, "expires": 1},
    ]
)
_common: dict[str, st.SearchStrategy[Any]] = {
    "timeout": _durations,
    "queue_timeout": _durations,
    "heartbeat_timeout": _durations,
    "cache": st.sampled_from(["global", "run_only", False, {}, {"ttl": "1h"}, {"scope": "run_only", "ttl": 5}]),
    "queue": st.sampled_from(["gpu", "default"]),
    "priority": st.sampled_from(["high", "normal", "low"]),
    "requires_approval": st.booleans() | _approvals,
}
_attempts: st.SearchStrategy[Fields] = st.one_of(
    st.just(NOTHING),
    st.fixed_dictionaries({"retry": _retry}),
    st.fixed_dictionaries({"max_retries": st.integers(0, 5)}),
)
TYPES: list[Fields] = [
    {"type": "noop"},
    {"type": "http", "config": {"url": "{{ input.url }}"}},
    {"type": "function", "config": {"handler": "h"}},
    {"type": "sleep", "config": {"for": 0.012}},
    {"type": "transform", "config": {"mapping": {"a": 1, "b": "input.b"}}},
    {"type": "filter", "config": {"where": "item > 1"}},
    {"type": "approval", "config": {"form": {"title": "{{ no template"}, "expires": "90s", "x-note": 1}},
    {"type": "signal", "config": {"name": "paid", "x-note": {}}},
    {"type": "signal", "config": {"name": "paid", "expires": 0.5}},
    {"type": "signal", "config": {"first_of": [{"name": "a"}, {"after": "7d"}, {"name": "b"}]}},
    {"type": "conditional", "config": {"rules": [{"when": "true", "next": "a"}], "mode": "all"}},
]
HELD = frozenset({"mutex", "concurrency", "rate_limit"})
"""Left out, with a warning, where a node is only waited for."""
_types = st.sampled_from(TYPES)
_fields = st.fixed_dictionaries(
    {},
    optional={
        **_common,
        "name": st.sampled_from(["", "A node"]),
        "depends_on": _targets,
        "input": st.sampled_from(["input.x", {"a": 1, "b": "input.b", "c": None}]),
        "when": _when,
        "join": st.sampled_from(["all", "every", "any", "each", {"at_least": 2}]),
        "on_error": _targets,
        "compensate": _ids,
        "mutex": st.just("m"),
        "concurrency": st.sampled_from([{"key": "'k'", "limit": 2}, {"key": "input.x", "limit": 9, "fair": "run.id"}]),
        "rate_limit": st.just({"key": "'r'", "limit": 10, "per": "1m"}),
        "while_waiting": _ids,
        "cancels": _targets,
        "loop": _loop,
        "metadata": st.just({"k": [1]}),
        "x-note": st.just(1),
    },
)
_limits: st.SearchStrategy[Fields] = st.fixed_dictionaries(
    {},
    optional={
        "retry_budget": st.integers(0, 9),
        "stuck": st.fixed_dictionaries({"after": _durations}, optional={"action": st.sampled_from(["alert", "fail"])}),
    },
)
_routings: st.SearchStrategy[Fields] = st.one_of(
    st.just(NOTHING), st.fixed_dictionaries({"rules": _rules}, optional=_routing)
)
_edges = st.lists(
    st.fixed_dictionaries({"from": _ids, "to": _ids}), max_size=8, unique_by=lambda edge: (edge["from"], edge["to"])
)


@st.composite
def native_documents(draw: st.DrawFn) -> dict[str, Json]:
    """Valid native documents of six nodes, with every field that the reader knows."""
    nodes: list[Json] = []
    for name in draw(st.permutations("abcdef")):
        node: dict[str, Json] = {"id": name, **draw(_types), **draw(_fields), **draw(_attempts)}
        if node["type"] != "conditional":
            node.update(draw(_routings))
        if node["type"] in {"approval", "signal"}:
            node = {name: value for name, value in node.items() if name not in HELD}
        nodes.append(node)
    edges = [dict(edge) for edge in draw(_edges)]
    for edge in edges:
        if draw(st.booleans()):
            edge["when"] = draw(_when)
    document: dict[str, Json] = {"courante": 1, "id": "w", "nodes": nodes, "edges": edges}
    if draw(st.booleans()):
        document["defaults"] = {**draw(st.fixed_dictionaries({}, optional=_common)), **draw(_attempts)}
    if draw(st.booleans()):
        document["policy"] = {"on_failure": "continue", "timeout": draw(_durations), "max_parallel": 3}
        document["policy"] |= draw(_limits)
    return document


@given(native_documents())
def test_normalizing_is_idempotent(document: dict[str, Json]) -> None:
    """Whatever a valid document says, its workflow written and read again is the same workflow."""
    before = copy.deepcopy(document)
    workflow, diagnostics = normalize(document)
    assert [each for each in diagnostics if each.code != "conflicting_fields"] == []
    if workflow is not None:
        assert _again(workflow) == workflow
        assert document == before


@given(native_documents())
def test_every_edge_is_there_once_and_every_naming_is_an_edge(document: dict[str, Json]) -> None:
    """No pair and kind stands twice; ``depends_on``, rules, errors and ``edges`` each name their edges."""
    workflow, _ = normalize(document)
    if workflow is None:
        return
    keys = [(edge.source, edge.target, edge.kind.value) for edge in workflow.edges]
    assert len(set(keys)) == len(keys)
    wanted: set[tuple[str, str, str]] = {(edge["from"], edge["to"], "normal") for edge in document["edges"]}
    for node in workflow.nodes:
        wanted |= {(node.id, target, "error") for target in node.on_error}
        if node.while_waiting is not None:
            wanted.add((node.while_waiting, node.id, "milestone"))
        if node.loop is not None:
            wanted |= {(node.id, target, "exhausted") for target in node.loop.on_exhausted}
        if node.routing is not None:
            wanted |= {(node.id, target, "normal") for rule in node.routing.rules for target in rule.next}
            wanted |= {(node.id, target, "normal") for target in node.routing.default}
    for node in document["nodes"]:
        sources = node.get("depends_on", [])
        wanted |= {(source, node["id"], "normal") for source in sources}
    assert set(keys) == wanted


def test_the_order_of_edges_survives_however_they_were_named() -> None:
    """Edges named in ``edges`` against the order of the nodes keep their order."""
    nodes = [{"id": name, "type": "noop"} for name in "abcd"]
    pairs = [("a", "d"), ("a", "b"), ("b", "d"), ("a", "c"), ("c", "d")]
    edges = [{"from": source, "to": target} for source, target in pairs]
    workflow, _ = normalize({"courante": 1, "id": "w", "nodes": nodes, "edges": edges})
    assert workflow is not None
    assert workflow.edges == tuple(Edge(source=source, target=target) for source, target in pairs)
    assert _again(workflow) == workflow


def test_the_native_form_says_nothing_twice() -> None:
    """Only what differs from the defaults is written, and each edge in one place."""
    text = """
courante: 1
id: w
nodes:
  - {id: a, type: noop, rules: [{when: "true", next: [b, c]}]}
  - {id: b, type: noop, depends_on: [a]}
  - {id: c, type: noop}
  - {id: d, type: noop, depends_on: [b]}
edges:
  - {from: c, to: d, when: "output.x"}
  - {from: a, to: b}
"""
    workflow, _ = normalize(load_source(text).value)
    assert workflow is not None
    assert to_document(workflow) == {
        "courante": 1,
        "id": "w",
        "nodes": [
            {"id": "a", "type": "noop", "rules": [{"when": "true", "next": ["b", "c"]}]},
            {"id": "b", "type": "noop", "depends_on": ["a"]},
            {"id": "c", "type": "noop"},
            {"id": "d", "type": "noop", "depends_on": ["b"]},
        ],
        "edges": [{"from": "c", "to": "d", "when": "output.x"}],
    }


def _places(value: Json, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    below: list[tuple[str | int, Json]] = []
    if isinstance(value, dict):
        below += cast("dict[str, Json]", value).items()
    elif isinstance(value, list):
        below += enumerate(cast("Sequence[Json]", value))
    return [path, *(place for step, each in below for place in _places(each, (*path, step)))]


ODD: list[Json] = [
    None,
    True,
    0,
    -1,
    2**63 - 1,
    0.5,
    "",
    "a",
    "{{",
    "{{ 'a",
    "x-",
    [],
    {},
    [[]],
    [None],
    {"a": None},
    {"": {}},
]


def mangled(seed: int) -> dict[str, Json]:
    """A valid document in which a few places hold something odd, are gone, or are called something else."""
    chance = random.Random(seed)
    value: dict[str, Json] = copy.deepcopy(chance.choice(DOCUMENTS))
    for _ in range(chance.randint(1, 4)):
        path = chance.choice(_places(value))
        if not path:
            continue
        box: Any = value
        for step in path[:-1]:
            box = box[step]
        match chance.randint(0, 3):
            case 0:
                del box[path[-1]]
            case 1 if isinstance(path[-1], str):
                box[chance.choice(["typo", "x-y", "rules", "loop", "config", "when", "id"])] = box.pop(path[-1])
            case _:
                box[path[-1]] = copy.deepcopy(chance.choice(ODD))
    return value


@given(st.integers(0, 2**32))
@example(20108).via("a fault of the 8th of edges, of which there are more than nodes")
@example(21640882).via("a word of 'retry.on' that is warned of, in a document that is accepted")
def test_a_mangled_document_gives_a_workflow_or_errors_never_an_exception(seed: int) -> None:
    """Front ends are total; every finding has a code and a message; what is accepted is idempotent.

    What could be read of a document that is refused is analysed all the same.
    """
    read = read_document(mangled(seed))
    ir, found = compile_document(read)
    assert (ir is None) == has_errors(found)
    assert all(each in found for each in read.diagnostics)
    assert len({(each.code, each.path, each.message) for each in found}) == len(found)
    assert (read.workflow is None) == has_errors(read.diagnostics)
    assert all(found.code and found.message for found in read.diagnostics)
    if read.workflow is not None:
        assert _again(read.workflow, *(found.code for found in read.diagnostics)) == read.workflow


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"name": "x"}, {"tasks": None}, {"steps": 1}, {"nodes": {}}])
def test_what_is_no_document_is_refused(value: Json) -> None:
    """A value that is no document gives errors, whatever it is."""
    workflow, diagnostics = normalize(value)
    assert workflow is None
    assert has_errors(diagnostics)


def test_native_paths_lead_back_to_the_original() -> None:
    """What the analysis finds about a native path can be shown in the document that was given."""
    read = read_document(load_source(GOLDEN_SEQUENCE).value)
    assert read.origin(("nodes", 0, "config", "prompt")) == ("steps", 0, "promptUser")
    assert read.origin(("nodes", 1, "input", "limit")) == ("steps", 1, "inputMapping", "limit")
    native = read_document(load_source(SAMPLE).value)
    assert native.origin(("nodes", 2, "rules", 0, "when")) == ("nodes", 2, "config", "rules", 0, "when")
    assert native.origin(("nodes", 10, "loop", "while")) == ("nodes", 10, "loop", "while")


GOLDEN_SEQUENCE = next(text for dialect, (text, _) in GOLDEN.items() if dialect == "sequence")


@pytest.mark.parametrize(
    "document",
    [{"courante": 1, "id": "x", "nodes": {}}, {"nodes": {}, "edges": []}, {"id": "x", "steps": {}}, {"tasks": {}}],
    ids=["native", "graph", "sequence", "relay"],
)
def test_steps_by_their_ids_are_one_fault_in_every_dialect(document: dict[str, Json]) -> None:
    name = next(name for name in ("nodes", "steps", "tasks") if name in document)
    read = read_document({**document, name: {"first": {"type": "noop"}, "second": {"type": "noop"}}})
    assert [(found.code, found.path, found.message) for found in read.diagnostics] == [
        ("wrong_type", (name,), f"{name} must be a list, not an object")
    ]
    assert read.diagnostics[0].hint == "write '- id: first' in place of 'first:'"
