"""The published JSON Schema agrees with the native reader."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from pathlib import Path

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import normalize, to_document
from courante.compiler.schema import workflow_json_schema
from courante.compiler.source import load_source
from courante.compiler.workflow import Json

from .test_dialects import GOLDEN
from .test_native import SAMPLE
from .test_native_faults import WRONG
from .test_normalize import mangled, native_documents

VALIDATOR = jsonschema_rs.Draft202012Validator(workflow_json_schema())
BEYOND = {"unknown_node", "duplicate_id", "duplicate_edge", "duplicate_event", "conflicting_fields", "bad_schema"}
"""Faults that no schema can say."""
OUT_OF_REACH = {
    "mode alone", "conditional without rules", "handler empty", "escalates some day", "choice of times",
    "timeout of nothing", "queue timeout of nothing", "stuck at once", "approval expires at once",
}  # fmt: skip
"""Faults that this schema does not say."""

MORE = """
courante: 1
id: more
nodes:
  - {id: list, type: noop}
  - {id: give_up, type: noop, depends_on: list}
  - id: poll
    type: http
    depends_on: list
    loop: {while: "output.status != 'ready'", back_to: poll, max_iterations: 50, on_exhausted: give_up, delay: 5s}
  - id: each
    type: map
    depends_on: list
    config: {items: steps.list.output, max_concurrency: 50, more: {signal: extra, expires: 1h}}
  - {id: resize, type: function, depends_on: [each], config: {handler: img.resize}, input: {image: item}}
  - {id: upload, type: function, depends_on: [resize], config: {handler: img.upload}}
  - id: all
    type: aggregate
    depends_on: [upload]
    config: {policy: {tolerate: "5%"}}
  - {id: child, type: subflow, depends_on: all, config: {workflow: billing, version: 3},
     input: {order: steps.all.output}}
  - {id: pause, type: wait, depends_on: list, config: {for: 10m}}
  - {id: paid, type: signal, depends_on: pause, config: {name: payment, expires: 7d}}
  - {id: first, type: signal, depends_on: paid, config: {first_of: [{name: accepted}, {name: withdrawn}, {after: 7d}]}}
  - {id: meanwhile, type: noop, depends_on: pause, while_waiting: paid, mutex: printer}
  - {id: write, type: llm, depends_on: child, config: {provider: anthropic, model: some-model, system: "...",
     prompt: "About {{ input.topic }}", schema: {type: object}, temperature: 0.3, max_tokens: 4096}}
  - {id: look, type: tool, depends_on: write, compensate: e, config: {tool: web_search},
     input: {query: steps.write.output.query, limit: input.limit}}
  - {id: e, type: echo, config: {value: {a: [1]}}}
  - {id: s, type: sleep, depends_on: pause, cancels: [paid, meanwhile], config: {for: 12ms}}
"""


def _published() -> Path:
    return Path(str(files("courante"))) / "docs" / "reference" / "workflow.schema.json"


def test_the_published_file_is_the_schema() -> None:
    """The file in the reference is what the function gives, and is a JSON Schema."""
    assert json.loads(_published().read_text(encoding="utf-8")) == workflow_json_schema()
    jsonschema_rs.meta.validate(workflow_json_schema())


@pytest.mark.parametrize("text", [SAMPLE, MORE])
def test_samples_are_accepted_by_both(text: str) -> None:
    """Every shape of the native document is accepted by the reader and by the schema."""
    value = load_source(text).value
    workflow, diagnostics = normalize(value)
    assert diagnostics == []
    VALIDATOR.validate(value)
    assert workflow is not None
    VALIDATOR.validate(to_document(workflow))


WHOLE = (
    SAMPLE.replace("    while_waiting: review\n    cancels: [notify]\n", "")
    .replace("steps.pick.output", "steps.done.output")
    .replace("{id: notify, type: noop}", "{id: notify, type: noop, while_waiting: review}")
    .replace("{id: accept, type: noop,", "{id: accept, type: noop, cancels: [review, notify],")
    .replace("  - id: poll\n", "  - id: poll\n    depends_on: fetch\n")
)
"""The first sample without what contradicts itself: a milestone and a cancellation of nodes that come later."""


@pytest.mark.parametrize("text", [WHOLE, MORE])
def test_the_samples_compile(text: str) -> None:
    """Everything in them is known to the analysis."""
    workflow, _ = normalize(load_source(text).value)
    assert workflow is not None
    ir, diagnostics = compile_workflow(workflow)
    assert (diagnostics, ir is None) == ([], False)


@pytest.mark.parametrize("dialect", GOLDEN)
def test_the_native_form_of_every_dialect_is_valid(dialect: str) -> None:
    """What a dialect becomes, written out, is a document of the schema."""
    workflow = next(workflow for name, (_, workflow) in GOLDEN.items() if name == dialect)
    VALIDATOR.validate(to_document(workflow))


@given(native_documents())
def test_what_the_reader_accepts_the_schema_accepts(document: dict[str, Json]) -> None:
    """The schema never refuses a document that would run."""
    workflow, _ = normalize(document)
    if workflow is not None:
        VALIDATOR.validate(document)
        VALIDATOR.validate(to_document(workflow))


@given(st.integers(0, 2**32))
def test_what_the_schema_refuses_the_reader_refuses(seed: int) -> None:
    """A mangled native document that the reader accepts is accepted by the schema too."""
    value = mangled(seed)
    workflow, _ = normalize(value)
    if workflow is not None and "courante" in value:
        VALIDATOR.validate(value)


@pytest.mark.parametrize(("name", "value", "code"), [each[:3] for each in WRONG], ids=[each[0] for each in WRONG])
def test_faults_of_form_are_refused_by_the_schema_too(name: str, value: Json, code: str) -> None:
    """Unknown fields, wrong types and ranges are faults in both; references are the reader's alone."""
    if code not in BEYOND and name not in OUT_OF_REACH:
        assert not VALIDATOR.is_valid(value)


_OBJECTS = [
    (), ("policy",), ("defaults",), ("defaults", "retry"), ("nodes", 0), ("nodes", 1, "retry"), ("nodes", 1, "cache"),
    ("nodes", 2, "config"), ("nodes", 2, "config", "rules", 0), ("nodes", 6), ("nodes", 9, "join"),
    ("nodes", 4, "config"), ("nodes", 10, "loop"), ("edges", 0),
]  # fmt: skip


@pytest.mark.parametrize("path", _OBJECTS)
def test_an_unknown_field_is_refused_by_both_and_an_extension_by_none(path: tuple[str | int, ...]) -> None:
    """In every object of the document a misspelt field is an error; a name that begins with ``x-`` is not."""
    for name, is_fine in (("mispelt", False), ("x-mine", True)):
        value = copy.deepcopy(load_source(SAMPLE).value)
        box = value
        for step in path:
            box = box[step]
        box[name] = 1
        workflow, diagnostics = normalize(value)
        assert (workflow is not None, VALIDATOR.is_valid(value)) == (is_fine, is_fine)
        assert [found.path for found in diagnostics] == ([] if is_fine else [(*path, name)])
