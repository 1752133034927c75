"""Approvals with ``separate_approver``: who has started the run decides nothing, through whichever door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from courante.sdk.access.scopes import Scope
from courante.sdk.errors import ApproverNotSeparate, InputInvalid
from courante.sdk.schedules.schedule import Schedule
from integration.api_asking import asking
from integration.cases import node, says, waits
from integration.child_runs import child, children
from integration.cli_process import open_cli
from integration.onlooker import agrees, asks, call_up, waiting
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
REVIEW = asks("review", separate_approver=True)
SHIP = node("ship", requires_approval={"separate_approver": True})


async def started(stage: Stage, by: str, step: str = "review", workflow: str = "w") -> str:
    run_id = await stage.client.submit(workflow, by=by)
    await waiting(stage, run_id, step)
    return run_id


async def decisions(stage: Stage, run_id: str) -> list[str]:
    """What the log has of commands after the start."""
    facts = [event.facts for event in await stage.events(run_id)]
    return [str(each.data["type"]) for each in facts if each.type == "command.applied"]


async def test_who_has_started_the_run_decides_nothing(stage: Stage) -> None:
    """Neither a yes nor a no, nor an end by force, nor before it is asked; somebody else does, and it goes on."""
    call_up(stage)
    await stage.register(REVIEW, SHIP | {"depends_on": "review"})
    run_id = await started(stage, "ada")
    client = stage.client
    doors: list[Callable[[], Awaitable[object]]] = [
        lambda: client.approve(run_id, by="ada"),
        lambda: client.reject(run_id, by="Ada "),
        lambda: client.approve(run_id, "ship", by="ada"),
        lambda: client.force_succeed(run_id, "review", {}, by="ada"),
        lambda: client.force_skip(run_id, "ship", by="ada"),
    ]
    for door in doors:
        with pytest.raises(
            ApproverNotSeparate, match="asks for somebody else than who has started the run, and that was"
        ):
            await door()
    with pytest.raises(ApproverNotSeparate, match="nobody says who this is"):
        await client.approve(run_id)
    with pytest.raises(InputInvalid, match="waits for a signal"):
        await client.signal(run_id, "!approval/0", {"decision": "approve"}, by="ada")
    assert await decisions(stage, run_id) == []
    await client.approve(run_id, by="bob")
    await waiting(stage, run_id, "ship")
    await client.force_succeed(run_id, "ship", 7, by="bob")
    assert (await stage.result(run_id)).output == {"ship": 7}
    await agrees(stage, run_id)


async def test_somebody_with_two_keys_is_one_person(stage: Stage) -> None:
    """What stands before an @ is who it is; keys of others may be for the same device."""
    call_up(stage)
    await stage.register(REVIEW)
    run_id = await started(stage, "ada@laptop")
    for same in ("ada@phone", "Ada", "ada@laptop: eve", "ci: ada@phone"):
        with pytest.raises(ApproverNotSeparate, match="and that was"):
            await stage.client.approve(run_id, by=same)
    await stage.client.approve(run_id, by="bob@laptop")
    assert (await stage.result(run_id)).status == "COMPLETED"


@pytest.mark.parametrize("nobody", ["", " ", "\u200b", "\u2003\t"])
async def test_blanks_are_nobody(stage: Stage, nobody: str) -> None:
    """A name in which nothing can be seen is none: neither of who starts a run nor of who decides."""
    call_up(stage)
    await stage.register(REVIEW)
    with pytest.raises(InputInvalid, match="nobody says who this is"):
        await stage.client.submit("w", by=nobody)
    run_id = await started(stage, "ada")
    with pytest.raises(ApproverNotSeparate, match="nobody says who this is"):
        await stage.client.approve(run_id, by=nobody)
    with pytest.raises(ApproverNotSeparate, match="and that was"):
        await stage.client.approve(run_id, by=f"{nobody}ada{nobody}")


async def test_who_starts_it_must_be_known(stage: Stage) -> None:
    """A start in nobody's name is refused where a step will ask for somebody else, and a schedule of nobody's too."""
    await stage.register(REVIEW)
    with pytest.raises(InputInvalid, match="by: step 'review' asks for somebody else"):
        await stage.client.submit("w")
    daily = Schedule(id="daily", workflow="w", cron="0 3 * * *")
    with pytest.raises(InputInvalid, match="by: step 'review' asks for somebody else"):
        await stage.client.schedules.create(daily)
    assert await stage.client.schedules.create(msgspec.structs.replace(daily, by="ada"))
    await stage.register(asks("review"), id="open")
    assert await stage.client.submit("open")


async def test_keys_are_who_they_are(stage: Stage) -> None:
    """Over HTTP it is the key that counts, whoever else a body names; the refusal says why."""
    call_up(stage)
    await stage.register(REVIEW)
    scopes = (Scope.SUBMIT, Scope.APPROVE, Scope.READ, Scope.OPERATE)
    async with asking(stage.client, *scopes) as ours, asking(stage.client, *reversed(scopes)) as theirs:
        run_id = (await ours.post("/v1/runs", json={"workflow": "w", "by": "ada"})).json()["run_id"]
        await waiting(stage, run_id, "review")
        (asked,) = (await theirs.get("/v1/approvals")).json()["approvals"]
        assert asked["separate_approver"] is True
        path = f"/v1/runs/{run_id}"
        for answer in (
            await ours.post(f"{path}/approve", json={"by": "bob"}),
            await ours.post(f"{path}/reject", json={"by": "bob"}),
            await ours.post(f"{path}/steps/review/force", json={"end": "succeed", "output": {}, "by": "bob"}),
            await theirs.post(f"{path}/approve", json={"by": "ada"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (403, "approver_not_separate"), answer.text
        assert "somebody else has to decide" in answer.json()["hint"]
        done = await theirs.post(f"{path}/approve", json={"by": "bob"})
        assert (done.status_code, done.json()["state"]) == (200, "applied"), done.text


async def test_the_paths_of_older_systems(stage: Stage) -> None:
    """Approving a task there is no way around."""
    call_up(stage)
    await stage.register(SHIP)
    async with asking(stage.client, Scope.SUBMIT, Scope.APPROVE, Scope.READ) as ours:
        made = await ours.post("/runs", json={"workflow_id": "w"})
        assert made.status_code == 201, made.text
        run_id = made.json()["id"]
        await waiting(stage, run_id, "ship")
        refused = await ours.post(f"/task-runs/{await blocked(ours, run_id)}/approve")
        assert (refused.status_code, refused.json()["code"]) == (403, "approver_not_separate"), refused.text


async def blocked(api: httpx.AsyncClient, run_id: str) -> str:
    """The id of the task of a run that is BLOCKED."""
    told: dict[str, Any] = (await api.get(f"/runs/{run_id}")).json()
    (found,) = [task["id"] for task in told["task_runs"] if task["status"] == "BLOCKED"]
    return str(found)


async def test_a_run_that_goes_on_is_of_both(stage: Stage) -> None:
    """Neither who started the first run nor who started it again may decide about it."""
    call_up(stage)
    await stage.register(REVIEW, says("ship", "review"))
    first = await started(stage, "ada")
    await stage.client.cancel(first, by="ada")
    await stage.result(first)
    second = (await stage.client.retry(first, by="bob")).run_id
    await until(lambda: stage.types(second), lambda types: "step.waiting" in types)
    for who in ("ada", "bob"):
        with pytest.raises(ApproverNotSeparate):
            await stage.client.approve(second, "review", by=who)
    await stage.client.approve(second, "review", by="eve")
    assert (await stage.result(second)).status == "COMPLETED"


async def test_a_word_of_before_is_not_taken_over_to_something_else(stage: Stage) -> None:
    """Who has approved a run does not start it again with another input, nor gives what a decision would have said."""
    call_up(stage)
    await stage.register(REVIEW, says("ship", "review"))
    first = await started(stage, "ada")
    await stage.client.approve(first, by="bob")
    await stage.result(first)
    with pytest.raises(ApproverNotSeparate, match="bob has approved step 'review'"):
        await stage.client.rerun(first, ["ship"], input={"n": 2}, by="bob")
    with pytest.raises(InputInvalid, match="by: step 'review'"):
        await stage.client.rerun(first, ["ship"])
    same = await stage.client.rerun(first, ["ship"], by="bob")
    assert (await stage.result(same.run_id)).status == "COMPLETED"
    other = await stage.client.rerun(first, ["ship"], input={"n": 2}, by="eve")
    assert (await stage.result(other.run_id)).status == "COMPLETED"
    whole = await stage.client.rerun(first, ["review"], input={"n": 2}, by="bob")
    await until(lambda: stage.types(whole.run_id), lambda types: "step.waiting" in types)
    with pytest.raises(ApproverNotSeparate, match="its output is given"):
        await stage.client.fork(first, 2, override={"review": {"decision": "approve"}}, by="eve")


async def first_of(stage: Stage, run_id: str, type: str) -> int:
    """The number of the first event of a type, when it has come."""
    types = await until(lambda: stage.types(run_id), lambda types: type in types)
    return types.index(type) + 1


async def is_refused_to_him(stage: Stage, run_id: str, at: int) -> None:
    """Bob, who has decided about a run, forks it with another input only from where that is not known yet."""
    with pytest.raises(ApproverNotSeparate, match="bob has approved step 'ship'"):
        await stage.client.fork(run_id, at, input={"n": 2}, by="bob")
    await stage.client.fork(run_id, at, input={"n": 2}, by="eve")
    asked_again = await stage.client.fork(run_id, 2, input={"n": 2}, by="bob")
    assert await first_of(stage, asked_again.run_id, "step.waiting")


@pytest.mark.parametrize("step", [SHIP, asks("ship", separate_approver=True)])
async def test_a_decision_that_nobody_has_acted_on_is_not_taken_over(stage: Stage, step: dict[str, Any]) -> None:
    """It is in the run from the moment it is given, though its step has not gone on yet."""
    call_up(stage)
    await stage.register(step)
    run_id = await started(stage, "ada", "ship")
    await stage.client.approve(run_id, by="bob")
    await is_refused_to_him(stage, run_id, await first_of(stage, run_id, "token.released"))


async def test_a_decision_that_was_given_early_is_not_taken_over(stage: Stage) -> None:
    """Before its step has asked for it."""
    call_up(stage)
    await stage.register(waits("go", name="go"), SHIP | {"depends_on": "go"})
    run_id = await started(stage, "ada", "go")
    await stage.client.approve(run_id, "ship", by="bob")
    await is_refused_to_him(stage, run_id, await first_of(stage, run_id, "command.applied"))


async def test_a_decision_about_a_step_that_is_tried_again_is_not_taken_over(stage: Stage) -> None:
    """What it has let in has failed since, and waits for its next attempt."""

    def breaks() -> None:
        raise ValueError("no tea today")

    stage.supervisor()
    stage.worker({"breaks": breaks})
    again = {"max_attempts": 2, "base": "1h"}
    await stage.register(SHIP | {"type": "function", "config": {"handler": "breaks"}, "retry": again})
    run_id = await started(stage, "ada", "ship")
    await stage.client.approve(run_id, by="bob")
    await is_refused_to_him(stage, run_id, await first_of(stage, run_id, "timer.set"))


async def retried(stage: Stage, run_id: str) -> str:
    """Cancel a run and let bob start it again; returns when the new one waits."""
    await stage.client.cancel(run_id, by="ada")
    await stage.result(run_id)
    again = (await stage.client.retry(run_id, by="bob")).run_id
    await until(lambda: stage.types(again), lambda types: "step.waiting" in types)
    return again


async def test_whose_beginning_is_not_known_any_more(stage: Stage) -> None:
    """Where retention has deleted the first of three runs, nobody can tell that it was not him who started it."""
    call_up(stage)
    await stage.register(REVIEW, says("ship", "review"))
    first = await started(stage, "ada")
    last = await retried(stage, await retried(stage, first))
    async with stage.client.pool.acquire() as conn:
        await conn.execute("DELETE FROM commands WHERE run_id = $1", first)
    with pytest.raises(ApproverNotSeparate, match="it is not known who that was"):
        await stage.client.approve(last, "review", by="ada")


@pytest.mark.parametrize("step", [REVIEW, SHIP])
async def test_an_end_by_force_is_a_word_too(stage: Stage, step: dict[str, Any]) -> None:
    """Who has ended the wait of a run by force does not start it again with another input either."""
    call_up(stage)
    name = step["id"]
    await stage.register(step, says("after", name))
    first = await started(stage, "ada", name)
    await stage.client.force_succeed(first, name, {}, by="bob")
    assert (await stage.result(first)).status == "COMPLETED"
    with pytest.raises(ApproverNotSeparate, match=f"bob has ended step '{name}' by force"):
        await stage.client.rerun(first, ["after"], input={"n": 2}, by="bob")
    other = await stage.client.rerun(first, ["after"], input={"n": 2}, by="eve")
    assert (await stage.result(other.run_id)).status == "COMPLETED"


async def test_a_child_run_is_started_by_who_started_its_parent(stage: Stage) -> None:
    """And by who started the run that its parent goes on from."""
    call_up(stage)
    await stage.register(REVIEW, id="inner")
    await stage.register(child(), id="outer")
    run_id = await stage.client.submit("outer", by="ada")
    (inner,) = await until(lambda: children(stage, run_id), lambda rows: len(rows) == 1 and rows[0].status is not None)
    await waiting(stage, inner.run_id, "review")
    with pytest.raises(ApproverNotSeparate):
        await stage.client.approve(inner.run_id, by="ada")
    await stage.client.cancel(run_id, by="ada")
    await stage.result(run_id)
    again = (await stage.client.retry(run_id, by="bob")).run_id
    (inner,) = await until(lambda: children(stage, again), lambda rows: len(rows) == 1 and rows[0].status is not None)
    await until(lambda: stage.types(inner.run_id), lambda types: "step.waiting" in types)
    for who in ("ada", "bob"):
        with pytest.raises(ApproverNotSeparate):
            await stage.client.approve(inner.run_id, "review", by=who)
    await stage.client.approve(inner.run_id, "review", by="eve")
    assert (await stage.result(again)).status == "COMPLETED"


async def test_at_the_command_line(stage: Stage, tmp_path: Path) -> None:
    """It is said who may not decide, and that somebody else has to."""
    call_up(stage)
    await stage.register(REVIEW)
    run_id = await started(stage, "ada")
    place = stage.place
    environ = {
        "COURANTE_REDIS_URL": place.redis_url,
        "COURANTE_DATABASE_URL": place.database_url,
        "COURANTE_ENV": place.env,
    }
    with open_cli("cli", tmp_path, environ) as cli:
        shown = await cli.ask("status", run_id)
        assert "not by who has started the run" in shown.out
        refused = await cli.ask("approve", run_id, "--by", "ada", "--json")
        assert (refused.code, refused.json["error"]["code"]) == (1, "approver_not_separate")
        assert (await cli.ask("approve", run_id, "--by", "bob", "--json")).code == 0
        mine = (await cli.ask("run", "w", "--detach", "--json")).json["run_id"]
        await waiting(stage, mine, "review")
        assert (await cli.ask("approve", mine, "--json")).json["error"]["code"] == "approver_not_separate"
        theirs = (await cli.ask("run", "w", "--detach", "--by", "eve", "--json")).json["run_id"]
        await waiting(stage, theirs, "review")
        assert (await cli.ask("approve", theirs, "--json")).code == 0
    assert {(await stage.result(each)).status for each in (run_id, theirs)} == {"COMPLETED"}
