"""Dead letters and retries at the command line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from command_line import Said
from integration.cases import node, waits
from integration.stage import Stage
from integration.test_dead_letters import Handlers, failed, step

pytestmark = pytest.mark.anyio
Ask = Callable[..., Any]


async def begin(stage: Stage) -> Handlers:
    """A workflow whose second step is broken."""
    handlers = Handlers()
    stage.supervisor()
    stage.worker(handlers.steps())
    await stage.register(step("a"), step("b", "a", handler="breaks", max_retries=0), step("c", "b"))
    return handlers


async def test_a_dead_letter_is_listed_shown_and_started_again(stage: Stage, ask: Ask) -> None:
    handlers = await begin(stage)
    assert (await ask("dlq", "list")) == {"dead_letters": [], "next": None}
    base = await failed(stage, "w", tags=["x"])
    (letter,) = (await ask("dlq", "list", "--workflow", "w", "--tag", "x", "--error", "FatalError"))["dead_letters"]
    assert {name: letter[name] for name in ("run_id", "workflow", "step", "scope", "attempts", "state")} == {
        "run_id": base, "workflow": "w", "step": "b", "scope": "", "attempts": 1, "state": "open",
    }  # fmt: skip
    assert letter["error"]["message"] == "the shop is closed"
    assert (await ask("dlq", "list", "--error", "POISONED"))["dead_letters"] == []
    said: Said = await ask("dlq", "list", is_json=False)
    line = said.stable.splitlines()[1]
    assert (line.split()[:3], line.endswith("  FatalError: the shop is closed")) == (["RUN", "w", "b"], True)
    shown = await ask("dlq", "show", f"{base}/b")
    assert (shown["requeue"]["impacted"], shown["requeue"]["reused"], shown["refused"]) == (["b", "c"], ["a"], None)
    said = await ask("dlq", "show", base, is_json=False)
    assert "raise FatalError" in said.out
    status: Said = await ask("status", base, is_json=False)
    assert status.stable.splitlines()[-1] == "next: courante dlq show RUN"
    assert said.stable.splitlines()[-2:] == [
        f"· RUN would go on after event {shown['requeue']['base_seq']}: b, c; 1 step taken over",
        "next: courante dlq requeue RUN",
    ]
    dry = await ask("dlq", "requeue", base, "--dry-run")
    assert (dry["dry_run"], [one["base_run_id"] for one in dry["requeued"]], dry["refused"]) == (True, [base], [])
    handlers.is_broken = False
    done = (await ask("dlq", "requeue", base, "--by", "ada"))["requeued"][0]
    assert (await stage.result(done["run_id"])).status == "COMPLETED"
    assert (done["base_run_id"], done["is_new"]) == (base, True)
    said = await ask("dlq", "requeue", base, is_json=False)
    assert "was started again before" in said.out
    (closed,) = (await ask("dlq", "list", "--all"))["dead_letters"]
    assert (closed["state"], closed["requeued_as"]) == ("requeued", done["run_id"])
    assert (await ask("replay", done["run_id"], "--verify"))["ok"]
    error = (await ask("dlq", "requeue", done["run_id"], code=1))["error"]
    assert (error["code"], "is COMPLETED" in error["message"]) == ("not_restartable", True)
    assert (await ask("dlq", "requeue", "run_nobody", code=3))["error"]["code"] == "run_not_found"
    assert (await ask("dlq", "show", done["run_id"], code=3))["error"]["code"] == "no_dead_letter"


async def test_many_at_once(stage: Stage, ask: Ask) -> None:
    """Bulk by filters; without any, nothing is done that nobody has asked for."""
    handlers = await begin(stage)
    runs = [await failed(stage, "w", tags=["x"] if n else []) for n in range(3)]
    assert (await ask("dlq", "requeue", code=64))["error"]["code"] == "usage"
    assert (await ask("dlq", "drop", code=64))["error"]["code"] == "usage"
    page = await ask("dlq", "list", "--limit", "2")
    rest = await ask("dlq", "list", "--limit", "2", "--cursor", page["next"])
    assert [one["run_id"] for one in page["dead_letters"] + rest["dead_letters"]] == runs[::-1]
    assert len((await ask("dlq", "drop", "--all", "--dry-run"))["dropped"]) == 3
    dropped = await ask("dlq", "drop", f"{runs[0]}/b", "--reason", "sold out", "--by", "ada")
    assert dropped["dropped"] == [{"run_id": runs[0], "step": "b", "scope": ""}]
    assert (await ask("dlq", "drop", runs[0]))["dropped"] == []
    (told,) = [one for one in (await ask("dlq", "list", "--all"))["dead_letters"] if one["state"] == "dropped"]
    assert (told["run_id"], told["dropped_by"], told["drop_reason"]) == (runs[0], "ada", "sold out")
    handlers.is_broken = False
    done = await ask("dlq", "requeue", "--tag", "x", "--workflow", "w", "--yes")
    assert [one["base_run_id"] for one in done["requeued"]] == runs[1:]
    for one in done["requeued"]:
        assert (await stage.result(one["run_id"])).status == "COMPLETED"
    assert (await ask("dlq", "list"))["dead_letters"] == []
    mixed = await ask("dlq", "requeue", runs[0], "run_nobody", code=1)
    assert ([one["base_run_id"] for one in mixed["requeued"]], mixed["refused"][0]["code"]) == (
        [runs[0]],
        "run_not_found",
    )


async def test_a_retry(stage: Stage, ask: Ask) -> None:
    """Also of a run that was cancelled; of one that goes on it is refused."""
    stage.supervisor()
    stage.worker()
    await stage.register(node("a", type="echo", config={"value": 1}), waits("s", "a", name="go"))
    run_id = await stage.client.submit("w")
    error = (await ask("retry", run_id, code=1))["error"]
    assert (error["code"], "has not ended" in error["message"]) == ("not_restartable", True)
    await stage.client.cancel(run_id)
    assert (await stage.result(run_id)).status == "CANCELLED"
    status: Said = await ask("status", run_id, is_json=False)
    assert status.stable.splitlines()[-1] == "next: courante retry RUN"
    dry = await ask("retry", run_id, "--dry-run")
    assert ("s" in dry["impacted"], dry["base_run_id"]) == (True, run_id)
    done = await ask("retry", run_id, "--by", "ada")
    assert (await ask("retry", run_id))["run_id"] == done["run_id"]
    await stage.client.signal(done["run_id"], "go", 5)
    assert (await stage.result(done["run_id"])).status == "COMPLETED"
    assert "next:" not in (await ask("status", done["run_id"], is_json=False)).out
    said: Said = await ask("retry", run_id, "--again", is_json=False)
    assert said.stable.startswith("✓ RUN goes on as RUN: ")


async def test_what_cannot_be_started_again_says_what_else_can_be_done(stage: Stage, ask: Ask) -> None:
    """Status leads to the dead letter, and that goes on from there: start it anew, and drop it; then what happened."""
    stage.supervisor()
    stage.worker(Handlers().steps())
    bad = step("b", "a", handler="breaks", max_retries=0)
    await stage.register(step("a", compensate="undo"), bad, step("undo"))
    base = await failed(stage, "w")
    status: Said = await ask("status", base, is_json=False)
    assert status.stable.splitlines()[-1] == "next: courante dlq show RUN"
    said: Said = await ask("dlq", "show", base, is_json=False)
    refused, otherwise, following = said.stable.splitlines()[-3:]
    assert "it cannot be started again: when RUN ended, what it had done was undone (a)" in refused
    assert otherwise == "· start it anew: courante run w"
    assert following == "next: courante dlq drop RUN"
    await ask("dlq", "drop", base, "--reason", "done by hand")
    said = await ask("dlq", "show", base, is_json=False)
    assert said.stable.splitlines()[-1] == "next: courante events RUN"
