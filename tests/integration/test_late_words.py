"""A decision that comes in the very moment in which its wait expires: the answer says what became of it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from courante.sdk.client import deciding
from courante.sdk.client.control import Control
from courante.sdk.errors import AlreadyDecided, NothingWaits
from courante.sdk.stores.commands import find_decision
from integration.cases import waits
from integration.onlooker import agrees, asks, status_of, waiting
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
RACES = 40
LATE = "it came too late: review waited for it no more"


async def expire(stage: Stage, run_id: str) -> None:
    """The time of the wait is over now, and a supervisor has seen it."""
    partition = stage.client.keys.partition(0)
    timers = await stage.redis.zrange(partition.timers, 0, -1)
    (member,) = [one for one in timers if one.startswith(f"{run_id}|0|".encode())]
    await stage.redis.zadd(partition.timers, {member: 0})
    await until(lambda: stage.redis.zscore(partition.timers, member), lambda score: score is None)


async def begin(stage: Stage) -> str:
    """A run that waits for a decision, and lives on whatever becomes of it."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(
        asks("review", expires="1h"), waits("rest", name="go"), policy={"on_failure": "continue"}
    )
    run_id = await stage.client.submit(workflow)
    await waiting(stage, run_id, "review")
    return run_id


def expire_after_the_look(stage: Stage, run_id: str, patch: pytest.MonkeyPatch, *, is_failed: bool) -> None:
    """Whoever decides has seen that the step waits; then its time is over, before the decision is given."""

    async def expired(conn: Any, *values: Any) -> Any:
        await expire(stage, run_id)
        if is_failed:
            await until(lambda: status_of(stage, run_id, "review"), lambda status: status == "FAILED")
        return await find_decision(conn, *values)

    patch.setattr(deciding, "find_decision", expired)


async def check_the_end(stage: Stage, run_id: str) -> None:
    """Nobody has decided: the step has failed, and who comes later is told so, not that somebody was first."""
    await until(lambda: status_of(stage, run_id, "review"), lambda status: status == "FAILED")
    await until(lambda: stage.types(run_id), lambda types: "command.ignored" in types)
    with pytest.raises(NothingWaits, match="APPROVAL_EXPIRED") as caught:
        await stage.client.approve(run_id, "review")
    assert not isinstance(caught.value, AlreadyDecided)
    await agrees(stage, run_id)
    await stage.client.signal(run_id, "go")
    assert (await stage.result(run_id)).status == "FAILED"


async def test_the_step_has_failed_meanwhile(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token has gone: the decision is not kept for a step that will never ask again."""
    run_id = await begin(stage)
    with monkeypatch.context() as patch:
        expire_after_the_look(stage, run_id, patch, is_failed=True)
        done = await stage.client.approve(run_id, "review", by="ada")
    assert (done.state, done.reason) == ("no_effect", LATE)
    await check_the_end(stage, run_id)


@pytest.mark.parametrize("is_seen", [True, False])
async def test_the_wait_is_over_and_nobody_has_said_so_yet(
    stage: Stage, is_seen: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token is queued with the word that its time is over; also where Redis could not be asked before."""
    run_id = await begin(stage)
    stage.workers[0].stop()
    await stage.ends[0].wait()
    with monkeypatch.context() as patch:
        if not is_seen:

            async def unseen(*_: Any) -> None:
                return None

            patch.setattr(Control, "token_record", unseen)
        expire_after_the_look(stage, run_id, patch, is_failed=False)
        done = await stage.client.reject(run_id, "review", by="ada")
    assert (done.state, done.reason) == ("no_effect", LATE)
    stage.worker()
    await check_the_end(stage, run_id)


async def test_decisions_race_the_end_of_the_wait(stage: Stage) -> None:
    """Whatever the answer is, it is what the log says afterwards."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(asks("review", expires="30ms"))
    for number in range(RACES):
        run_id = await stage.client.submit(workflow)
        await anyio.sleep(number % 10 / 500)
        try:
            is_applied = (await stage.client.approve(run_id, "review")).state == "applied"
        except NothingWaits:
            is_applied = False
        status = (await stage.result(run_id)).status
        assert (status == "COMPLETED") == is_applied, (status, is_applied)
        await agrees(stage, run_id)
