"""Rehearsals with outputs that were kept: what follows is as if the steps had been executed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import read_document
from courante.sdk.fold.fold import fold
from courante.testing import rehearse


def call(id: str, *after: str, **fields: Any) -> dict[str, Any]:
    node = {"id": id, "type": "function", "config": {"handler": id}, "depends_on": list(after)}
    return {**node, "cache": "global", **fields}


DOCUMENT: dict[str, Any] = {
    "courante": 1,
    "id": "w",
    "nodes": [
        call("a"),
        call("b", "a", rules=[{"when": "output > 1", "next": "c"}], default="d"),
        call("c", "b", loop={"while": "loop.iteration < 3", "back_to": "c", "max_iterations": 5}),
        call("d", "b"),
        call("e", "c", "d", "a", join="all", input={"c": "steps.c.status", "a": "steps.a.output"}),
        {"id": "each", "type": "map", "depends_on": "e", "config": {"items": "[1, 2]"}},
        call("i", "each", input="item"),
        {"id": "all", "type": "aggregate", "depends_on": "i"},
    ],
}
OUTPUTS: dict[str, Any] = {"a": 1, "b": 2, "c": 3, "d": 4, "e": {"x": []}, "i": "one"}


@given(st.sets(st.sampled_from(sorted(OUTPUTS))))
def test_a_kept_output_is_as_good_as_a_made_one(names: set[str]) -> None:
    """Whichever steps are hits: the same steps end, the run has the same output, and its log folds to the same."""
    mocks = {name: output for name, output in OUTPUTS.items() if name not in names}
    made = rehearse(DOCUMENT, None, OUTPUTS).require()
    taken = rehearse(DOCUMENT, None, mocks, cached={name: OUTPUTS[name] for name in names}).require()
    assert taken.output == made.output
    assert [(step.id, step.scope, step.output) for step in taken.steps] == [
        (step.id, step.scope, step.output) for step in made.steps
    ]
    assert {step.id for step in taken.steps if step.reason == "cache_hit"} == names - {"d"}
    assert {step.status for step in taken.steps if step.reason == "cache_hit"} <= {"SKIPPED"}
    workflow = read_document(DOCUMENT).workflow
    assert workflow is not None
    ir, _ = compile_workflow(workflow)
    assert ir is not None
    for upto in range(1, len(made.events) + 1):
        assert fold(ir, taken.events[:upto]) == fold(ir, made.events[:upto])


def test_only_steps_with_a_cache_have_kept_outputs() -> None:
    for name in ("all", "nobody"):
        with pytest.raises(ValueError, match="no step with a cache"):
            rehearse(DOCUMENT, None, OUTPUTS, cached={name: 1})
