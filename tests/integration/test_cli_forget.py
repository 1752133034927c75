"""``courante forget`` at the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from command_line import Said
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
Ask = Callable[..., Any]


async def test_a_run_is_forgotten_and_says_so(stage: Stage, ask: Ask) -> None:
    """Looked at first; then status, replay and retry tell it, and the second time nothing is left to do."""
    stage.supervisor()
    stage.worker()
    await stage.register({"id": "a", "type": "transform", "config": {"expression": "input.name"}})
    run_id = (await stage.run("w", {"name": "ann"})).run_id
    planned = await ask("forget", run_id, "--dry-run")
    assert (planned["dry_run"], planned["forgotten"], planned["events"]) == (True, [run_id], 3)
    assert (await ask("status", run_id))["output"] == {"a": "ann"}
    assert (await ask("forget", run_id, code=64))["error"]["code"] == "not_confirmed"
    assert (await ask("forget", run_id, code=64, is_json=False)).out == ""
    done = await ask("forget", run_id, "--yes", "--by", "bob", "--reason", "ticket 7")
    assert done == {
        "dry_run": False, "by": "bob", "reason": "ticket 7", "forgotten": [run_id], "events": 3, "payloads": 0,
        "left": 0, "not_ended": [], "related": [], "before": [],
    }  # fmt: skip
    shown = await ask("status", run_id)
    assert (shown["status"], shown["output"]) == ("COMPLETED", None)
    assert (shown["forgotten"]["by"], shown["forgotten"]["reason"]) == ("bob", "ticket 7")
    said: Said = await ask("status", run_id, is_json=False)
    assert "by bob: ticket 7; its values are gone" in said.out
    verified = await ask("replay", run_id, "--verify")
    assert (verified["ok"], verified["emptied"]) == (True, 3)
    said = await ask("replay", run_id, "--verify", is_json=False)
    assert "3 payloads emptied" in said.out
    said = await ask("forget", run_id, "--yes", is_json=False)
    assert "0 events with a payload" in said.out
    assert f"{run_id} was forgotten before" in said.out


async def test_many_are_found_by_workflow_and_time(stage: Stage, ask: Ask) -> None:
    stage.supervisor()
    stage.worker()
    for name in ("w", "v"):
        await stage.register({"id": "a", "type": "noop"}, id=name)
    mine = [(await stage.run("w", number, tags=["x"])).run_id for number in range(2)]
    other = (await stage.run("v", 1)).run_id
    assert (await ask("forget", "--before", "1h"))["forgotten"] == []
    assert (await ask("forget", "--yes", "--workflow", "w", "--before", "0s", "--limit", "1"))["forgotten"] == mine[:1]
    assert (await ask("forget", "--yes", "--tag", "x", "--before", "0s"))["forgotten"] == mine[1:]
    said: Said = await ask("forget", "--yes", "--workflow", "w", "--before", "0s", is_json=False)
    assert "no runs to forget" in said.out
    assert (await ask("status", other))["forgotten"] is None


async def test_what_cannot_be_forgotten_is_told(stage: Stage, ask: Ask) -> None:
    stage.supervisor()
    stage.worker()
    await stage.register({"id": "a", "type": "signal", "config": {"name": "go"}})
    run_id = await stage.client.submit("w", None)
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    assert (await ask("forget", run_id, code=1))["error"]["code"] == "run_not_ended"
    assert (await ask("forget", "run_nothing", code=3))["error"]["code"] == "run_not_found"
    for wrong in ((), (run_id, "--before", "1d"), (run_id, "--workflow", "w"), ("--before", "soon")):
        assert (await ask("forget", *wrong, code=64))["error"]["code"]
