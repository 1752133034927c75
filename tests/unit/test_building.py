"""Workflows built in Python are those of the document, and each form prints as the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from courante import step, workflow
from courante.compiler.analysis import compile_workflow
from courante.compiler.ir import encode_ir
from courante.compiler.normalize import normalize, read_document
from courante.compiler.source import load_source
from courante.compiler.workflow import Workflow
from courante.sdk.authoring.building import Flow
from courante.sdk.authoring.flow_text import flow_text
from courante.sdk.errors import DocumentInvalid

from .test_dialects import GOLDEN
from .test_normalize import native_documents

SAMPLES = Path(__file__).parents[2] / "test_data"


def read_samples() -> dict[str, Any]:
    """Every sample by name; those of ``examples.yaml`` by theirs."""
    found: dict[str, Any] = {}
    for path in sorted(SAMPLES.glob("*.yaml")):
        value: Any = load_source(path.read_bytes()).value
        found |= value if path.stem == "examples" else {path.stem: value}
    return found


WORKFLOWS = {
    **{name: read_document(value).workflow for name, value in read_samples().items()},
    **{f"golden {name}": made for name, (_, made) in GOLDEN.items()},
}


@step("test_building.score")
def score_order(order: dict[str, float]) -> float:
    return order["amount"]


def run(text: str) -> Flow:
    """The flow that a module builds."""
    names: dict[str, Any] = {}
    exec(compile(text, "flow", "exec"), names)  # noqa: S102 - what flow_text has written
    flow = names["flow"]
    assert isinstance(flow, Flow)
    return flow


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_sample_as_python_gives_the_same_ir(name: str) -> None:
    """Byte for byte, where this version runs it; the workflow is equal in any case."""
    meant = WORKFLOWS[name]
    assert meant is not None
    flow = run(flow_text(meant))
    assert flow.workflow() == meant
    ir, _ = compile_workflow(meant)
    if ir is not None:
        assert encode_ir(flow.compile()) == encode_ir(ir)
    assert flow_text(flow.workflow()) == flow_text(meant)


def test_most_samples_are_run() -> None:
    """So that the sentence above is not empty."""
    irs = [compile_workflow(made)[0] for made in WORKFLOWS.values() if made is not None]
    assert sum(ir is not None for ir in irs) > 15


@given(native_documents())
def test_every_workflow_can_be_written_in_python(document: Any) -> None:
    """Whatever its fields."""
    meant, _ = normalize(document)
    if meant is not None:
        assert run(flow_text(meant)).workflow() == meant


def built() -> Workflow:
    flow = workflow("order-scoring", name="Order scoring", policy={"timeout": "1h"})
    score = flow.step("score", score_order, timeout="30s", config={"size": 3})
    decide = flow.node("decide-it", "conditional", after=score)
    accept = flow.node("accept", "noop", input={"was": decide.output, "first": score.output.items[0]["a b"]})
    review = flow.node("review", "noop", on_error="sorry")
    decide.when("output > 0.8", accept).otherwise(review)
    done = flow.node("done", "noop", join="any")
    sorry = flow.node("sorry", "noop")
    last = flow.node("last", "noop")
    again = [accept, review] >> done >> last
    assert again is last
    last.repeat(while_="loop.iteration < 3", back_to=last, max_iterations=4, on_exhausted=[sorry])
    flow.edge(review, last, when="output.late")
    return flow.workflow()


DOCUMENT = """
courante: 1
id: order-scoring
name: Order scoring
policy: {timeout: 1h}
nodes:
  - {id: score, type: function, config: {handler: test_building.score, size: 3}, timeout: 30s}
  - id: decide-it
    type: conditional
    depends_on: score
    config: {rules: [{when: "output > 0.8", next: accept}], default: review}
  - {id: accept, type: noop, input: {was: 'steps["decide-it"].output', first: 'steps.score.output.items[0]["a b"]'}}
  - {id: review, type: noop, on_error: sorry}
  - {id: done, type: noop, join: any, depends_on: [accept, review]}
  - {id: sorry, type: noop}
  - id: last
    type: noop
    depends_on: done
    loop: {while: loop.iteration < 3, back_to: last, max_iterations: 4, on_exhausted: sorry}
edges:
  - {from: review, to: last, when: output.late}
"""


def test_what_is_built_is_what_the_document_says() -> None:
    """Chains, branches, loops, edges, and paths in place of expressions."""
    meant, diagnostics = normalize(load_source(DOCUMENT).value)
    assert diagnostics == []
    assert built() == meant


def test_several_nodes_side_by_side() -> None:
    """A chain may widen and narrow."""
    flow = workflow("w")
    a, b, c, d = (flow.node(name, "noop") for name in "abcd")
    assert a >> [b, c] >> d is d
    edges = [(edge.source, edge.target) for edge in flow.workflow().edges]
    assert edges == [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]


def test_what_is_wrong_comes_all_at_once() -> None:
    """When the workflow is asked for."""
    flow = workflow("w")
    flow.node("a", "nop", after="nobody")
    with pytest.raises(DocumentInvalid) as raised:
        flow.workflow()
    assert {found.code for found in raised.value.diagnostics} == {"unknown_type", "unknown_node"}
    with pytest.raises(ValueError, match="put @step above it"):
        flow.step("b", len)


def test_the_document_is_a_copy() -> None:
    """Changing it does not change the flow."""
    flow = workflow("w")
    flow.node("a", "noop", metadata={"x": []})
    flow.document["nodes"][0]["metadata"]["x"].append(1)
    assert flow.document["nodes"][0]["metadata"] == {"x": []}


def test_a_subflow_is_a_workflow_run_as_a_step() -> None:
    """By its id or as a flow, of a version or the latest; it prints as it is written."""
    inner = workflow("billing")
    inner.node("e", "echo", config={"value": 1})
    outer = workflow("outer")
    first = outer.subflow("first", inner, input={"order": "input.id"})
    outer.subflow("second", "billing", 3, after=first, config={"detached": True})
    nodes = outer.document["nodes"]
    assert [node["config"] for node in nodes] == [
        {"workflow": "billing"},
        {"workflow": "billing", "version": 3, "detached": True},
    ]
    text = flow_text(outer.workflow())
    assert "flow.subflow('second', 'billing', 3, after=first, config={'detached': True})" in text
    assert run(text).compile() == outer.compile()
