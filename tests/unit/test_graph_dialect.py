"""The graph dialect as its documents are found: ``workflow.schema.json``, and the older form with tasks."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.normalize import read_document
from courante.compiler.source import load_source
from courante.compiler.workflow import Loop, Node, Retry, Routing, Rule


def read(node: dict[str, Any], **more: Any) -> tuple[Node | None, list[tuple[str, str]]]:
    """One node, read, and what was found: code and severity."""
    found = read_document({"name": "x", "nodes": [{"id": "a", **node}], "edges": [], **more})
    nodes = found.workflow.nodes if found.workflow is not None else ()
    return (nodes[0] if nodes else None), [(d.code, d.severity.value) for d in found.diagnostics]


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        ({"type": "start"}, {"type": "noop"}),
        ({"type": "end"}, {"type": "noop"}),
        ({"type": "task"}, {"type": "noop"}),
        ({"type": "task", "config_ref": "cas://sha256:abc"}, {"config": {"handler": "cas://sha256:abc"}}),
        ({"type": "task", "config_ref": {"type_url": "t", "cas_ref": "sha256:c"}}, {"config": {"handler": "sha256:c"}}),
        ({"type": "task", "config_ref": "r", "config": {"name": "f"}}, {"config": {"name": "f", "handler": "f"}}),
        (
            {"type": "task", "config": {"action": "send", "timeout": 30, "retries": 2, "to": "all"}},
            {
                "config": {"action": "send", "to": "all", "handler": "send"},
                "timeout_ms": 30_000,
                "retry": Retry(max_attempts=3),
            },
        ),
        ({"type": "function", "config": {"function_name": "f"}}, {"config": {"function_name": "f", "handler": "f"}}),
        ({"type": "transform", "config": {"transformation": "upper"}}, {"config": {"handler": "upper"}}),
        (
            {"type": "filter", "config": {"filter_expression": "value.score > 50"}},
            {"type": "filter", "config": {"where": "item.score > 50"}},
        ),
        (
            {
                "type": "function",
                "config": {"handler": "f"},
                "timeout_ms": 1500,
                "retry": {"max_attempts": 4, "backoff_ms": 20, "backoff_multiplier": 3},
            },
            {
                "config": {"handler": "f"},
                "timeout_ms": 1500,
                "retry": Retry(max_attempts=4, base_ms=20, factor=3),
            },
        ),
        (
            {"type": "loop", "config": {"function_name": "f", "loop_back_to": "a", "max_iterations": 5}},
            {
                "config": {"function_name": "f", "handler": "f"},
                "loop": Loop(condition="true", back_to="a", max_iterations=5),
            },
        ),
    ],
)
def test_what_a_node_does(node: dict[str, Any], expected: dict[str, Any]) -> None:
    """All its names for code name a registered function."""
    fields: dict[str, Any] = {"type": "function", **expected}
    assert read(node) == (Node(id="a", **fields), [])


@pytest.mark.parametrize(
    ("node", "code", "severity"),
    [
        ({"type": "conditional", "config": {"default": "a", "evaluation_field": "x"}}, "ignored_field", "warning"),
        ({"type": "task", "branch": {"type": "agent_driven", "default": ["a"]}}, "unknown_value", "error"),
        ({"type": "task", "timeout_ms": "soon"}, "bad_duration", "error"),
        ({"type": "task", "config_ref": 7}, "wrong_type", "error"),
        ({"type": "function", "config": {"nme": "f"}}, "missing_field", "error"),
    ],
)
def test_what_cannot_be_meant(node: dict[str, Any], code: str, severity: str) -> None:
    """One finding each; that a node is its own successor is found later."""
    assert read(node)[1] == [(code, severity)]


def test_branches_and_loops_may_be_switched_off_and_conditions_turned_round() -> None:
    """``enabled: false`` is as if it were not there."""
    branch = {"enabled": False, "rules": [{"condition": "x", "next_nodes": ["b"]}]}
    loop = {"enabled": False, "loop_back_to": "b", "max_iterations": 0}
    assert read({"type": "task", "branch": branch, "loop": loop}) == (Node(id="a", type="noop"), [])
    turned = {"condition": {"type": "cel", "expression": "output.ok", "invert": True}, "next_nodes": ["a"]}
    node, _ = read({"type": "task", "branch": {"rules": [turned]}})
    assert node is not None
    assert node.routing == Routing(rules=(Rule(when="!(output.ok)", next=("a",)),))


def test_the_id_is_made_of_the_name_wherever_that_stands() -> None:
    """On the root or in the metadata; without either the finding says what is missing."""
    document = {"nodes": [{"id": "a", "type": "task"}], "edges": []}
    named = read_document({**document, "metadata": {"name": "Data Pipeline", "tags": ["x"]}})
    assert named.workflow is not None
    assert named.workflow.id == "data-pipeline"
    (found,) = read_document(document).diagnostics
    assert (found.code, found.message) == ("missing_field", "the field 'id' is missing")


def test_findings_stand_where_the_field_was_written() -> None:
    lines = ["name: x", "edges: []", "nodes:", "  - id: a", "    type: task"]
    text = "\n".join([*lines, "    retry:", "      backoff_ms: soon", "    timeout_ms: []"])
    source = load_source(text)
    found = source.locate(read_document(source.value).diagnostics)
    assert sorted((d.code, d.line) for d in found) == [("bad_duration", 7), ("bad_duration", 8)]
