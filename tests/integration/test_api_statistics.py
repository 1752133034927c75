"""Figures over HTTP: how runs, steps and retries have gone."""

from __future__ import annotations

import pytest

from integration.cases import node
from integration.flaky import Flaky
from integration.http_calls import open_api
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


async def test_runs_steps_and_retries_are_counted(stage: Stage) -> None:
    """Of all workflows or one, of one run, and since when; what is unknown is refused or empty."""
    worker = stage.worker(Flaky().steps())
    stage.supervisor()
    retry = {"max_attempts": 3, "base": "1ms"}
    await stage.register(step("a", "flaky", retry=retry), node("b", "a"), id="good")
    await stage.register(step("a", "bad", max_retries=0), id="bad")
    await stage.run("good", 1)
    bad = await stage.run("bad", 1)
    async with open_api(stage) as api:
        told = (await api.get("/v1/statistics")).json()
        assert (told["runs"]["by_status"], told["runs"]["success_rate"]) == ({"COMPLETED": 1, "FAILED": 1}, 0.5)
        assert (told["retries"]["steps"], told["retries"]["recovered"]) == (1, 1)
        assert list(told["workers"]) == [worker.name]
        good = (await api.get("/v1/statistics", params={"workflow": "good", "since": "1h"})).json()
        assert [(one["step"], one["attempts"]) for one in good["steps"]] == [("a", 3), ("b", 1)]
        assert set(good["steps"][0]["seconds"]) == {"median", "p95"}
        one = (await api.get("/v1/statistics", params={"run_id": bad.run_id})).json()
        assert (one["runs"]["total"], one["run_id"], one["runs"]["failure_rate"]) == (1, bad.run_id, 1)
        none = (await api.get("/v1/statistics", params={"since": "2100-01-01T00:00:00Z"})).json()
        assert (none["runs"]["total"], none["runs"]["success_rate"], none["runs"]["seconds"]) == (0, None, None)
        assert (await api.get("/v1/statistics", params={"run_id": "run_1"})).json()["code"] == "run_not_found"
        await stage.register(node("ask", type="approval"), id="asks")
        await stage.client.submit("asks")
        asks = "/v1/statistics?workflow=asks"
        told = await until(lambda: api.get(asks), lambda one: "WAITING" in one.text)
        assert told.json()["runs"]["by_status"] == {"WAITING": 1}
        assert (await api.get("/v1/statistics", params={"since": "x"})).json()["code"] == "query_invalid"
