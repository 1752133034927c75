"""A workflow says which steps a change of the outside world makes out of date."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import has_errors
from courante.compiler.ir import changes_of, encode_ir
from courante.compiler.normalize import normalize, to_document
from courante.sdk.authoring.building import workflow

NODES: list[dict[str, Any]] = [{"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "depends_on": "a"}]


def document(**more: Any) -> dict[str, Any]:
    return {"courante": 1, "id": "w", "nodes": NODES, **more}


def test_changes_come_through_to_the_ir_and_back() -> None:
    """Without them the IR has the bytes that it had before there were any."""
    found, diagnostics = normalize(document(changes={"prices": "a", "texts.v1": ["b", "a", "b"]}))
    assert diagnostics == []
    assert found is not None
    assert normalize(to_document(found))[0] == found
    ir, _ = compile_workflow(found)
    assert ir is not None
    assert changes_of(ir) == {"prices": ("a",), "texts.v1": ("b", "a")}
    plain, _ = normalize(document())
    assert plain is not None
    assert b"changes" not in encode_ir(compile_workflow(plain)[0])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "code", "path", "hint"),
    [
        ({"x": ["bb"]}, "unknown_node", ("changes", "x"), ""),
        ({"x": []}, "unknown_node", ("changes", "x"), ""),
        ({"x": ""}, "unknown_node", ("changes", "x"), ""),
        ({"x": [1]}, "wrong_type", ("changes", "x", 0), ""),
        ({"x": 1}, "wrong_type", ("changes", "x"), ""),
        ({"a,b": ["a"]}, "bad_id", ("changes", "a,b"), ""),
        (["a"], "wrong_type", ("changes",), ""),
    ],
)
def test_what_is_wrong_with_changes_is_said_with_its_place(changes: Any, code: str, path: Any, hint: str) -> None:
    found, diagnostics = normalize(document(changes=changes))
    assert found is None
    assert [(each.code, each.path) for each in diagnostics] == [(code, path)]
    assert hint in diagnostics[0].hint


def test_a_step_that_is_nearly_meant_is_named() -> None:
    nodes = [{"id": "publish", "type": "noop"}]
    _, (found,) = normalize({"courante": 1, "id": "w", "nodes": nodes, "changes": {"x": ["publsh"]}})
    assert found.hint == "did you mean 'publish'?"


DIALECTS: list[dict[str, Any]] = [
    {"name": "w", "steps": [{"id": "a", "skill": "s"}, {"id": "b", "skill": "s", "dependencies": ["a"]}]},
    {"name": "w", "tasks": [{"id": "a", "provider": "echo", "model": "m", "prompt": "p"}]},
]


@pytest.mark.parametrize("written", DIALECTS)
def test_other_dialects_have_them_too(written: dict[str, Any]) -> None:
    found, diagnostics = normalize({**written, "changes": {"x": ["a"]}})
    assert not has_errors(diagnostics), diagnostics
    assert found is not None
    assert found.changes == {"x": ("a",)}


def test_a_flow_says_them_in_python() -> None:
    flow = workflow("w", changes={"texts": ["b"]})
    first = flow.node("a", "noop")
    flow.node("b", "noop", after=first)
    flow.change("prices", first)
    flow.change("texts", first, "b")
    assert flow.workflow().changes == {"texts": ("b", "a"), "prices": ("a",)}
