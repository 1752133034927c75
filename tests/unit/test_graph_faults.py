"""Graphs that could never come to an end are refused by name; those that only look so are not."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import Diagnostic, Severity
from courante.compiler.normalize import normalize
from courante.testing import rehearse

CHOICE: dict[str, Any] = {
    "id": "which",
    "type": "conditional",
    "config": {"rules": [{"when": "input == 'left'", "next": ["left"]}], "default": ["right"]},
}


def noop(id: str, *depends_on: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "noop", "depends_on": list(depends_on), **fields}


def errors(*nodes: dict[str, Any], **fields: Any) -> list[Diagnostic]:
    """All errors of a document, of whichever part of the compiler."""
    workflow, found = normalize({"courante": 1, "id": "w", "nodes": list(nodes), **fields})
    if workflow is not None:
        found = compile_workflow(workflow)[1]
    return [one for one in found if one.severity is Severity.ERROR]


FAULTS = {
    "an edge from nowhere": ("unknown_node", [noop("a"), noop("b", "gost")], "gost"),
    "an edge to nowhere": (
        "unknown_node",
        [{**noop("a"), "rules": [{"when": "true", "next": ["gost"]}]}],
        "gost",
    ),
    "an error edge to nowhere": ("unknown_node", [{**noop("a"), "on_error": "gost"}], "gost"),
    "a circle that nothing leads into": ("cycle", [noop("a"), noop("b", "c"), noop("c", "b")], "'b' -> 'c' -> 'b'"),
    "a circle alone": ("no_entry", [noop("a", "b"), noop("b", "a")], "no node can start"),
    "a join that asks for more than can come": (
        "at_least_out_of_range",
        [noop("a"), noop("b"), noop("z", "a", "b", join={"at_least": 3})],
        "'z'",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_graph_that_could_never_go_on_is_refused(fault: str) -> None:
    """F71: by name, before anything runs."""
    code, nodes, named = FAULTS[fault]
    found = [one for one in errors(*nodes) if one.code == code]
    assert found, [one.code for one in errors(*nodes)]
    assert named in found[0].message


@pytest.mark.parametrize("join", ["all", "any"])
@pytest.mark.parametrize("taken", ["left", "right"])
def test_a_join_of_branches_that_exclude_each_other_fires(join: str, taken: str) -> None:
    """F71: the way that is not taken says so, and nobody waits for it for ever."""
    nodes = [CHOICE, noop("left", "which"), noop("right", "which"), noop("z", "left", "right", join=join)]
    run = rehearse({"courante": 1, "id": "w", "nodes": nodes}, taken).require("COMPLETED")
    assert run.step("z").status == "SUCCEEDED"


def test_a_join_that_asks_for_every_branch_of_a_choice_ends_its_run() -> None:
    """F71: it can not fire; it dies at the first branch that is not taken, and the run is over."""
    nodes = [CHOICE, noop("left", "which"), noop("right", "which"), noop("z", "left", "right", join="every")]
    run = rehearse({"courante": 1, "id": "w", "nodes": nodes}, "left").require("COMPLETED")
    assert run.step("z").status == "SKIPPED"
