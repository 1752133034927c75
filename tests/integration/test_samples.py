"""Every sample of ``test_data`` runs on real servers as its expected result says, and its log can be replayed."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import msgspec
import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import Severity
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source
from courante.runner.models.terms import ModelTerms
from courante.sdk.authoring.steps import REGISTRY
from courante.sdk.embedded import Servers
from integration.floor import Command, Done, Floor, open_floor

SAMPLES = Path(__file__).resolve().parents[2] / "test_data"
EXPECTED = sorted(path.name.removesuffix(".expected.json") for path in SAMPLES.glob("*.expected.json"))
SINGLE = [name for name in EXPECTED if name != "examples"]
CALL_OUT = {"graph_http": "graph", "pipeline": "native", "relay_prompts": "relay", "sequence_prompts": "sequence"}
"""They run in test_http_node and test_pipeline, which have a server to call, and in test_llm_node."""
DIALECTS = {
    "relay": "relay",
    "typed_steps": "typed_steps",
    "graph": "graph",
    "graph_tasks": "graph",
    "sequence": "sequence",
    "demo_prd": "relay",
    "demo_content": "relay",
    "campaign_build": "typed_steps",
    "feed_discovery": "sequence",
}

pytestmark = pytest.mark.anyio


class Expected(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``completed``: sets of steps (``node scope``); all of one set complete before any of the next.

    ``approved``: the step that somebody approves, and the one that has succeeded by then.
    """

    input: Any
    status: str
    output: Any
    completed: list[list[str]]
    approved: tuple[str, str] | None = None

    @property
    def commands(self) -> list[Command]:
        if self.approved is None:
            return []
        step, before = self.approved
        return [Command("when_done", {"step": before}), Command("approve", {"step": step})]


def read_sample(name: str) -> Any:
    return load_source((SAMPLES / f"{name}.yaml").read_bytes()).value


def read_expected(name: str) -> bytes:
    return (SAMPLES / f"{name}.expected.json").read_bytes()


def check(done: Done, expected: Expected) -> None:
    assert (done.result.status, done.result.output) == (expected.status, expected.output), done.result.error
    order = iter(done.completed)
    for phase in expected.completed:
        assert {next(order, None) for _ in phase} == set(phase)
    assert list(order) == []
    assert done.verification.ok, done.verification
    assert done.verification.events == done.events[-1].seq


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    spec = spec_from_file_location("sample_handlers", SAMPLES / "handlers.py")
    assert spec is not None
    assert spec.loader is not None
    handlers = module_from_spec(spec)
    sys.modules[spec.name] = handlers
    spec.loader.exec_module(handlers)
    async with open_floor(embedded_servers, REGISTRY, ModelTerms(provider="echo")) as made:
        yield made


@pytest.mark.parametrize("name", SINGLE)
async def test_a_sample_runs_as_expected(floor: Floor, name: str) -> None:
    """Status, output and completed steps are the expected ones, in an allowed order, and the log verifies."""
    expected = msgspec.json.decode(read_expected(name), type=Expected)
    check(await floor.run(read_sample(name), expected.input, expected.commands), expected)


@pytest.mark.parametrize("name", ["sequential", "parallel", "branch", "loop"])
async def test_an_example_runs_as_expected(floor: Floor, name: str) -> None:
    """The same for the four documents of ``examples.yaml``."""
    expected = msgspec.json.decode(read_expected("examples"), type=dict[str, Expected])
    check(await floor.run(read_sample("examples")[name], expected[name].input), expected[name])


@pytest.mark.parametrize(("name", "dialect"), [*DIALECTS.items(), *CALL_OUT.items()])
def test_a_sample_is_in_its_dialect(name: str, dialect: str) -> None:
    """Each dialect has a sample that runs; it is read as that, and compiles."""
    read = read_document(read_sample(name))
    assert read.dialect == dialect
    assert read.workflow is not None
    _, diagnostics = compile_workflow(read.workflow)
    codes = {found.code for found in diagnostics if found.severity is Severity.ERROR}
    assert codes == set()


def test_every_sample_has_its_test() -> None:
    """A sample is there with its expected result, or among those that are run elsewhere."""
    samples = {path.stem for path in SAMPLES.glob("*.yaml")}
    assert samples == {*EXPECTED, *CALL_OUT}
