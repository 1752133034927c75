"""Stories of the run engine, each by itself, with its sample ``campaign_build`` on real servers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from typing import Any

import msgspec
import pytest

from courante.runner.models.terms import ModelTerms
from courante.sdk.authoring.steps import REGISTRY
from integration.floor import compile_document
from integration.stage import Stage, until
from integration.test_samples import SAMPLES, Expected, read_expected, read_sample

pytestmark = pytest.mark.anyio
Ask = Callable[..., Any]
EXPECTED = msgspec.json.decode(read_expected("campaign_build"), type=Expected)


async def begin(stage: Stage) -> str:
    """A worker with the sample's handlers, a supervisor, and the sample registered; return its id."""
    if "sample_handlers" not in sys.modules:
        spec = spec_from_file_location("sample_handlers", SAMPLES / "handlers.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[spec.name] = module_from_spec(spec)
        spec.loader.exec_module(sys.modules[spec.name])
    stage.worker(REGISTRY, models=ModelTerms(provider="echo"))
    stage.supervisor()
    workflow, ir = compile_document(read_sample("campaign_build"))
    await stage.client.register(workflow, ir)
    return ir.workflow


async def asked(stage: Stage, run_id: str) -> None:
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)


async def test_a_whole_workflow_is_executed(stage: Stage) -> None:
    """Story 1: all steps in their order, after somebody has agreed, and the run is COMPLETED."""
    run_id = await stage.client.submit(await begin(stage), EXPECTED.input)
    await asked(stage, run_id)
    await stage.client.approve(run_id, "campaign", by="ann")
    done = await stage.result(run_id)
    assert (done.status, done.output) == (EXPECTED.status, EXPECTED.output)
    order = await stage.succeeded(run_id)
    assert (order[0], order[-1]) == ("brief", "campaign")
    assert set(order[1:-1]) == {"slogan", "audience", "price-tag"}


async def test_a_change_executes_only_what_it_reaches(stage: Stage, ask: Ask) -> None:
    """Story 2: what the change does not reach is taken over from the base run, and nothing else."""
    base = await stage.client.submit(await begin(stage), EXPECTED.input)
    await asked(stage, base)
    await stage.client.approve(base, "campaign")
    await stage.result(base)
    planned = await ask("rebuild", base, "--from", "price-tag", "--dry-run")
    assert (set(planned["impacted"]), set(planned["reused"])) == (
        {"price-tag", "campaign"},
        {"brief", "slogan", "audience"},
    )
    run_id = (await ask("rebuild", base, "--from", "price-tag"))["run_id"]
    await asked(stage, run_id)
    await stage.client.approve(run_id, "campaign")
    assert (await stage.result(run_id)).output == EXPECTED.output
    assert await stage.succeeded(run_id) == ["price-tag", "campaign"]
    shown = {step["id"]: step["status"] for step in (await ask("status", run_id))["steps"]}
    assert [shown[id] for id in ("brief", "slogan", "audience")] == ["SKIPPED"] * 3


async def test_a_run_can_be_watched(stage: Stage, ask: Ask) -> None:
    """Story 5: while it waits and after its end the status of each step is as it is, and the list of runs agrees."""
    run_id = await stage.client.submit(await begin(stage), EXPECTED.input)
    await asked(stage, run_id)
    shown = await ask("status", run_id)
    assert shown["status"] == "WAITING"
    steps = {step["id"]: step["status"] for step in shown["steps"]}
    assert (steps.pop("campaign"), set(steps.values())) == ("WAITING", {"SUCCEEDED"})
    await stage.client.approve(run_id, "campaign")
    await stage.result(run_id)
    shown = await ask("status", run_id)
    assert {step["status"] for step in shown["steps"]} == {"SUCCEEDED"}
    assert len(shown["steps"]) == 5
    (listed,) = (await ask("runs"))["runs"]
    assert (listed["run_id"], listed["status"]) == (run_id, "COMPLETED")


async def test_the_same_input_is_made_once(stage: Stage, ask: Ask) -> None:
    """Story 3: a step that is cached is skipped as a hit the second time, and gives the same output."""
    await begin(stage)
    document = read_sample("campaign_build") | {"name": "campaign.cached"}
    document["steps"] = [document["steps"][0] | {"cachePolicy": {"enabled": True, "scope": "global"}}]
    workflow, ir = compile_document(document)
    await stage.client.register(workflow, ir)
    first = await stage.run(ir.workflow, EXPECTED.input)

    async def kept() -> int:
        async with stage.client.pool.acquire() as conn:
            return int(await conn.fetchval("SELECT count(*) FROM step_cache WHERE env = $1", stage.place.env))

    await until(kept, lambda count: count == 1)
    second = await stage.run(ir.workflow, EXPECTED.input)
    assert first.output == second.output
    facts = [event.facts for event in await stage.events(second.run_id) if event.facts.type == "step.succeeded"]
    assert [(one.node, one.reason, one.data["from"]) for one in facts] == [("brief", "cache_hit", first.run_id)]
    shown = {step["id"]: step for step in (await ask("status", second.run_id))["steps"]}
    assert (shown["brief"]["status"], shown["brief"]["cache_hit"]) == ("SKIPPED", True)
    assert all("cache_hit" not in step for name, step in shown.items() if name != "brief")
    other = await stage.run(ir.workflow, {"product": "chair"})
    assert other.output != first.output


async def test_a_failure_is_tried_again_told_and_mended(stage: Stage, ask: Ask) -> None:
    """Story 4: a step is tried with its backoff, then the run has FAILED; what was done stays, and a retry goes on."""
    calls: list[str] = []

    def brief(given: dict[str, Any]) -> dict[str, Any]:
        calls.append("brief")
        return {"product": given["product"], "price": 14}

    def price_tag(price: int) -> str:
        calls.append("price-tag")
        if len(calls) < 4:
            raise ConnectionError("the printer is away")
        return f"{price} EUR"

    stage.worker({"campaign.brief": brief, "campaign.price_tag": price_tag})
    stage.supervisor()
    document = read_sample("campaign_build") | {"name": "campaign.failing"}
    by_id = {step["id"]: step for step in document["steps"]}
    tag = by_id["price-tag"] | {"retryPolicy": {"maxAttempts": 2, "backoffMs": 10}}
    workflow, ir = compile_document(document | {"steps": [by_id["brief"], tag]})
    await stage.client.register(workflow, ir)
    failed = await stage.run(ir.workflow, EXPECTED.input)
    assert (failed.status, calls) == ("FAILED", ["brief", "price-tag", "price-tag"])
    shown = {step["id"]: step for step in (await ask("status", failed.run_id))["steps"]}
    assert (shown["brief"]["status"], shown["price-tag"]["status"]) == ("SUCCEEDED", "FAILED")
    assert shown["price-tag"]["attempts"] == 2
    assert (await stage.types(failed.run_id)).count("step.retried") == 1
    again = await ask("retry", failed.run_id)
    assert again["reused"] == ["brief"]
    done = await stage.result(again["run_id"])
    assert (done.status, done.output) == ("COMPLETED", {"price-tag": "14 EUR"})
    assert calls == ["brief", "price-tag", "price-tag", "price-tag"]
