"""Nodes of type validate hold a value against a JSON Schema."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.normalize import normalize
from integration.stage import Stage

pytestmark = pytest.mark.anyio
SCHEMA = {
    "type": "object",
    "required": ["id"],
    "properties": {"id": {"type": "integer"}, "tag": {"enum": ["{{x}}"]}},
}


def checks(**config: Any) -> dict[str, Any]:
    return {"id": "a", "type": "validate", "config": {"schema": SCHEMA, **config}}


async def test_what_fits_is_passed_on(stage: Stage) -> None:
    """The input as it is, or what an expression gives; braces in a schema are no template."""
    stage.worker()
    stage.supervisor()
    value = {"id": 7, "more": [1], "tag": "{{x}}"}
    assert (await stage.run(await stage.register(checks()), value)).output == {"a": value}
    workflow = await stage.register(checks(value="input.inner"), id="inner")
    assert (await stage.run(workflow, {"inner": value})).output == {"a": value}


async def test_what_does_not_fit_fails_the_node_with_every_place(stage: Stage) -> None:
    """At the first attempt."""
    stage.worker()
    stage.supervisor()
    done = await stage.run(await stage.register(checks()), {"id": "7", "tag": "x"})
    assert done.error is not None
    assert (done.error["type"], done.error["attempt"]) == ("VALUE_INVALID", 1)
    assert "$.id: " in done.error["message"]
    assert "$.tag: " in done.error["message"]


async def test_a_report_can_be_branched_on(stage: Stage) -> None:
    """Nothing fails; the rules read what is wrong."""
    stage.worker()
    stage.supervisor()
    nodes: list[dict[str, Any]] = [
        {**checks(report=True), "rules": [{"when": "output.valid", "next": "good"}], "default": "bad"},
        {"id": "good", "type": "noop"},
        {"id": "bad", "type": "transform", "config": {"expression": "size(steps.a.output.problems)"}},
    ]
    workflow = await stage.register(*nodes)
    assert (await stage.run(workflow, {"id": 1})).output == {"good": {"valid": True, "problems": []}}
    assert (await stage.run(workflow, {})).output == {"bad": 1}


def test_a_schema_that_is_none_is_refused_with_the_document() -> None:
    """At its place; so is one that leads outside."""
    for schema, words in (({"type": "objekt"}, "no JSON Schema"), ({"$ref": "https://x.example/y"}, "outside")):
        node = {"id": "a", "type": "validate", "config": {"schema": schema}}
        _, found = normalize({"courante": 1, "id": "w", "nodes": [node]})
        assert [each.code for each in found] == ["bad_schema"]
        assert found[0].path[:4] == ("nodes", 0, "config", "schema")
        assert words in found[0].message
