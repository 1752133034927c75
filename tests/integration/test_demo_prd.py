"""Relay's demonstration as people go through it: run, watch, approve in the middle, and read what the steps say."""

from __future__ import annotations

import json
from pathlib import Path

import anyio.to_thread
import pytest

from command_line import Said, spawn
from courante.runner.models.terms import ModelTerms
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
SAMPLES = Path(__file__).resolve().parents[2] / "test_data"
INPUT = ("--input", "topic=AI coding assistant", "--input", "target_audience=developers")
MODELS = {"research": "gpt-4o-mini", "outline": "claude-sonnet-4-5", "draft": "gpt-4o"}
STAGES = [
    "started",
    "resolving inputs",
    "upstream output found",
    "rendering prompt",
    "calling provider",
    "response received",
    "extracting JSON",
    "validation passed",
    "completed",
]


async def courante(stage: Stage, folder: Path, *argv: str) -> Said:
    """Call a command while the workers of the stage go on."""
    environ = {
        "COURANTE_REDIS_URL": stage.place.redis_url,
        "COURANTE_DATABASE_URL": stage.place.database_url,
        "COURANTE_ENV": stage.place.env,
        "COURANTE_HOME": str(folder / "home"),
    }
    return await anyio.to_thread.run_sync(lambda: spawn(*argv, cwd=folder, environ=environ))


async def test_the_demonstration_waits_for_somebody_and_finishes(stage: Stage, tmp_path: Path) -> None:
    """It stops at the review; approved from the command line it goes on to its end, and its logs tell the stages."""
    stage.worker(models=ModelTerms(provider="echo"))
    stage.supervisor()
    run = await courante(stage, tmp_path, "run", str(SAMPLES / "demo_prd.yaml"), *INPUT, "--detach", "--json")
    run_id = run.json["run_id"]
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    waiting = (await courante(stage, tmp_path, "status", run_id, "--json")).json
    assert waiting["status"] == "WAITING"
    assert [step["id"] for step in waiting["steps"] if step["status"] == "WAITING"] == ["review"]
    spent = {step["id"]: (step["model"], step["usage"], step["cost"]) for step in waiting["steps"] if "usage" in step}
    assert {step: model for step, (model, _, _) in spent.items()} == MODELS
    assert all(usage["total_tokens"] > 0 and cost["amount"] > 0 for _, usage, cost in spent.values())
    assert waiting["usage"]["total_tokens"] == sum(usage["total_tokens"] for _, usage, _ in spent.values())
    assert waiting["cost"]["currency"] == "USD"
    view = (await courante(stage, tmp_path, "status", run_id)).out
    assert "⊗ review    WAITING" in view
    assert view.count(" tokens, ") == 4  # of the run and of three steps
    approved = await courante(stage, tmp_path, "approve", run_id, "--yes", "--json")
    assert (approved.code, approved.json["step"]) == (0, "review")
    done = await stage.result(run_id)
    assert done.output == json.loads((SAMPLES / "demo_prd.expected.json").read_text())["output"]
    said = await courante(stage, tmp_path, "logs", run_id, "--step", "outline", "--json")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert [line["text"] for line in lines] == STAGES
    assert lines[2]["fields"] == {"step": "research"}
    assert lines[5]["fields"]["output_tokens"] > 0
    shown = await courante(stage, tmp_path, "logs", run_id, "--follow")
    assert shown.out.count("response received") == 5
    assert shown.out.index("research") < shown.out.index("outline") < shown.out.index("draft")
