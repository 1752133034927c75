"""``courante statistics`` and the filters of ``courante events``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio.to_thread
import pytest

from command_line import Said, spawn
from integration.cases import node
from integration.flaky import Flaky
from integration.journal import step
from integration.stage import Stage

pytestmark = pytest.mark.anyio


async def call(stage: Stage, folder: Path, *argv: str) -> Said:
    place = stage.place
    environ = {"REDIS_URL": place.redis_url, "DATABASE_URL": place.database_url, "ENV": place.env}
    settings = {f"COURANTE_{name}": value for name, value in environ.items()}
    return await anyio.to_thread.run_sync(partial(spawn, *argv, cwd=folder, environ=settings))


async def test_runs_steps_and_retries_are_counted(stage: Stage, tmp_path: Path) -> None:
    worker = stage.worker(Flaky().steps())
    stage.supervisor()
    said = await call(stage, tmp_path, "statistics")
    assert (said.code, said.out) == (0, "no runs\n")
    retry = {"max_attempts": 3, "base": "1ms"}
    await stage.register(step("a", "flaky", retry=retry), node("b", "a"), id="good")
    await stage.register(step("a", "bad", retry={"max_attempts": 2, "base": "1ms"}), node("b", "a"), id="bad")
    good, bad = await stage.run("good", 1), await stage.run("bad", 1)
    found = (await call(stage, tmp_path, "statistics", "--json")).json
    assert found["runs"]["by_status"] == {"COMPLETED": 1, "FAILED": 1}
    assert (found["runs"]["success_rate"], found["runs"]["failure_rate"]) == (0.5, 0.5)
    assert found["runs"]["seconds"]["longest"] >= found["runs"]["seconds"]["median"] > 0
    assert found["retries"] | {"average_attempts": 0} == {
        "steps": 2, "recovered": 1, "exhausted": 1, "success_rate": 0.5, "average_attempts": 0,
    }  # fmt: skip
    told = {(one["workflow"], one["step"]): one for one in found["steps"]}
    assert (told["good", "a"]["attempts"], told["good", "a"]["recovered"]) == (3, 1)
    assert (told["bad", "a"]["failed"], told["bad", "a"]["exhausted"]) == (1, 1)
    assert list(found["workers"]) == [worker.name]
    assert found["is_cut"] is False
    one = (await call(stage, tmp_path, "statistics", "--run", bad.run_id, "--json")).json
    assert (one["runs"]["by_status"], one["run_id"]) == ({"FAILED": 1}, bad.run_id)
    assert {step["workflow"] for step in one["steps"]} == {"bad"}
    of_good = (await call(stage, tmp_path, "statistics", "--workflow", "good", "--since", "1h", "--json")).json
    assert (of_good["runs"]["total"], of_good["runs"]["failure_rate"]) == (1, 0)
    none = (await call(stage, tmp_path, "statistics", "--workflow", "other", "--json")).json
    assert (none["runs"]["success_rate"], none["retries"]["average_attempts"], none["steps"]) == (None, None, [])
    said = await call(stage, tmp_path, "statistics")
    assert "1 COMPLETED, 1 FAILED" in said.out
    assert "2 steps: 1 recovered, 1 not" in said.out
    print(said.out)
    unknown = await call(stage, tmp_path, "statistics", "--run", "run_1", "--json")
    assert (unknown.code, unknown.json["error"]["code"]) == (3, "run_not_found")
    assert (await call(stage, tmp_path, "statistics", "--since", "yesterday")).code == 64
    only = await call(stage, tmp_path, "events", good.run_id, "--step", "a", "--type", "step.re*", "--json")
    assert only.out.count('"step.retried"') == only.out.count("\n") == 2
    ends = await call(
        stage, tmp_path, "events", good.run_id, "--type", "run.completed", "--type", "run.started", "--json"
    )
    assert ends.out.count("\n") == 2
