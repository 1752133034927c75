"""Timers that somebody has taken away from Redis are set again from what the runs say of themselves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from courante.sdk.floor.repairs import audit_runs
from courante.sdk.floor.scripts import release_timers
from courante.sdk.user_errors import FatalError
from courante.supervisor.recovery.by_hand import ByHand
from integration.journal import GATED, Journal, step
from integration.stage import Stage, until
from integration.standing import lives_as_logged, recorded

pytestmark = pytest.mark.anyio
AUDIT_S = 0.1
APPROVAL = {"id": "person", "type": "approval", "config": {"escalate_to": "lead", "escalate_after": "100ms"}}
OTHERS: list[dict[str, Any]] = [
    {"id": "a", "type": "noop", "queue": "nobody", "queue_timeout": "100ms", "on_error": "late"},
    {"id": "late", "type": "noop"},
    APPROVAL,
]
"""A step that nobody takes in time, and a decision that is passed on."""


async def timers_of(stage: Stage) -> dict[str, int]:
    """The timers of the partition by name, without the run and the fence: when each is due, in ms."""
    found: list[Any] = await stage.redis.execute_command(
        "ZRANGE", stage.client.keys.partition(0).timers, 0, -1, "WITHSCORES"
    )
    pairs = found if found and isinstance(found[0], tuple | list) else list(zip(found[::2], found[1::2], strict=True))
    return {member.decode().split("|")[1]: int(float(score)) for member, score in pairs}


async def take_timers(stage: Stage, names: set[str]) -> None:
    """Take all of them away, once those are there."""
    await until(lambda: timers_of(stage), lambda timers: set(timers) == names)
    await stage.redis.delete(stage.client.keys.partition(0).timers)


async def rebuild(stage: Stage) -> None:
    """Recover what is not lost: everything in Redis is written anew from the log."""
    done = await ByHand(stage.redis, stage.client, is_forced=True, accepts_loss=False).recover(0)
    assert done.recovered is not None
    assert done.recovered.rebuilt.runs == 1


@pytest.mark.parametrize("is_rebuilt", [False, True])
async def test_steps_that_wait_keep_their_times(stage: Stage, is_rebuilt: bool) -> None:
    """A step still fails where nobody takes it in time, and a decision is passed on, once, however often is audited."""
    stage.worker()
    run_id = await stage.client.submit(await stage.register(*OTHERS))
    names = {"!queue/0", "!escalate/2"}
    await until(lambda: timers_of(stage), lambda timers: set(timers) == names)
    if is_rebuilt:
        await rebuild(stage)
    await take_timers(stage, names)
    stage.supervisor(audit_s=AUDIT_S)
    await until(lambda: stage.types(run_id), lambda types: {"approval.escalated", "step.failed"} <= set(types))
    await until(lambda: timers_of(stage), lambda timers: not timers)
    audited = await audit_runs(stage.redis, stage.client.keys.partition(0), [run_id])
    assert (audited.timed, audited.requeued, audited.halted) == (0, 0, [])
    await until(lambda: recorded(stage), bool)
    assert await lives_as_logged(stage, [run_id]) == 1
    await stage.client.approve(run_id, "person")
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert (await stage.types(run_id)).count("approval.escalated") == 1


@pytest.mark.parametrize("is_rebuilt", [False, True])
async def test_a_run_keeps_its_time(stage: Stage, is_rebuilt: bool) -> None:
    """``policy.timeout`` ends it all the same."""
    workflow = await stage.register(APPROVAL | {"config": {}}, policy={"timeout": "200ms"})
    run_id = await stage.client.submit(workflow)
    if is_rebuilt:
        await rebuild(stage)
    await take_timers(stage, {"!timeout"})
    stage.worker()
    stage.supervisor(audit_s=AUDIT_S)
    assert (await stage.result(run_id)).status == "TIMED_OUT"


@pytest.mark.parametrize("is_rebuilt", [False, True])
async def test_a_start_still_expires(stage: Stage, is_rebuilt: bool) -> None:
    """A run that was to begin later, and not after a time, does neither too late."""
    now = datetime.now(UTC)
    workflow = await stage.register({"id": "a", "type": "noop"})
    run_id = await stage.client.submit(
        workflow, start_at=now + timedelta(hours=1), expires_at=now + timedelta(seconds=0.2)
    )
    if is_rebuilt:
        await rebuild(stage)
    await take_timers(stage, {"-1", "!expire"})
    stage.worker()
    stage.supervisor(audit_s=AUDIT_S)
    assert (await stage.result(run_id)).status == "TIMED_OUT"


async def test_wakeups_and_timers_at_once(stage: Stage) -> None:
    """Who has lost both, the entries of its queues and its timers, goes on all the same."""
    run_id = await stage.client.submit(await stage.register(*OTHERS, {"id": "b", "type": "noop"}))
    partition = stage.client.keys.partition(0)
    queues = [partition.queue("default:normal"), partition.queue("nobody:normal"), partition.timers]
    assert await stage.redis.delete(*queues) == len(queues)
    stage.worker()
    stage.supervisor(audit_s=AUDIT_S)
    await until(lambda: stage.types(run_id), lambda types: {"approval.escalated", "step.failed"} <= set(types))
    await stage.client.approve(run_id, "person")
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert sorted(await stage.succeeded(run_id)) == ["b", "late", "person"]


async def test_a_run_that_goes_on_from_another_keeps_its_times(stage: Stage) -> None:
    """Its end, and the decision that is passed on, count from its own beginning, and are set again as well."""

    def breaks() -> None:
        raise FatalError("the shop is closed")

    stage.worker({"breaks": breaks})
    stage.supervisor()
    config = {"escalate_to": "lead", "escalate_after": "1h"}
    nodes = [{"id": "person", "type": "approval", "config": config}, step("f", "breaks", queue_timeout="2h")]
    base = await stage.client.submit(await stage.register(*nodes, policy={"timeout": "3h"}))
    assert (await stage.result(base)).status == "FAILED"
    await stage.dismiss()
    run_id = (await stage.client.retry(base)).run_id
    partition = stage.client.keys.partition(0)
    before = await timers_of(stage)
    assert set(before) == {"!timeout", "!escalate/0", "!queue/1"}
    await stage.redis.delete(partition.timers)
    assert (await audit_runs(stage.redis, partition, [run_id])).timed == 3
    assert await timers_of(stage) == before
    stage.supervisor()
    await until(lambda: recorded(stage), bool)
    assert await lives_as_logged(stage, [run_id]) == 1


async def test_a_step_in_somebodys_hands_waits_for_nobody(stage: Stage) -> None:
    """Its time in the queue is over when it is taken: no timer is set for it again."""
    journal = Journal()
    stage.worker(journal.steps())
    nodes = [GATED[0], step("g", "gated", "a", queue_timeout="1h")]
    run_id = await stage.client.submit(await stage.register(*nodes), 1)
    await until(journal.count, lambda made: made == 2)
    await take_timers(stage, {"!queue/1"})
    partition = stage.client.keys.partition(0)
    assert (await audit_runs(stage.redis, partition, [run_id])).timed == 0
    assert await release_timers(stage.redis, partition, 10) == (0, -1)
    journal.gate.set()
    stage.supervisor()
    assert (await stage.result(run_id)).status == "COMPLETED"


async def test_a_time_that_nobody_has_written_halts_the_run(stage: Stage) -> None:
    """What the run says of its own end cannot be read: it is rebuilt from its log."""
    workflow = await stage.register(APPROVAL | {"config": {}}, policy={"timeout": "1h"})
    run_id = await stage.client.submit(workflow)
    partition = stage.client.keys.partition(0)
    before = await timers_of(stage)
    await stage.redis.hset(partition.run(run_id), "T!timeout", "soon")
    stage.supervisor(audit_s=AUDIT_S)
    await until(lambda: stage.types(run_id), lambda types: "run.rebuilt" in types)
    assert await stage.redis.hget(partition.run(run_id), "T!timeout") == f"0|{before['!timeout']}".encode()
