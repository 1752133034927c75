"""A Redis that has lost data is rebuilt from the log: every run goes on where the log is, and ends once."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from functools import partial

import anyio
import pytest

from courante.sdk import fault_points
from courante.sdk.client.client import Submission
from courante.supervisor.recording.recorder import Recorder
from courante.supervisor.recovery import guard
from courante.supervisor.recovery.rebuild import Rebuild
from courante.supervisor.recovery.reconciler import Reconciler
from courante.supervisor.recovery.recovery import Recovery
from integration.backups import keep_redis, set_redis_back, wipe_redis
from integration.journal import LONG, Journal
from integration.stage import Stage, until
from integration.standing import cursor_of, epoch_of, lives_as_logged, park_at_gate, recorded, sequence_of

pytestmark = pytest.mark.anyio
NOOP = {"id": "a", "type": "noop"}
POINTS = (
    "before_epoch",
    "after_epoch",
    "after_close",
    "after_drain",
    "after_set_aside",
    "after_clear",
    "before_restore",
    "after_restore",
    "before_open",
    "after_open",
)
QUICK = guard.GuardSettings(look_s=0.05, standby_s=0.5, patience_s=1.0, backoff_s=0.02)


@pytest.fixture(autouse=True)
def _quick_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GuardSettings", lambda: QUICK)


async def test_emptied_in_the_middle_of_200_runs(stage: Stage) -> None:
    """F24: everything is gone while 200 runs go on, three times; all of them end, with exact results."""
    journal = Journal()
    for _ in range(2):
        stage.worker(journal.steps(), concurrency=16)
    stage.supervisor()
    workflow = await stage.register(*LONG)
    submissions = [Submission(workflow=workflow, input=number) for number in range(200)]
    ids: list[str] = []
    for turn in range(4):
        ids += await stage.client.submit_many(submissions[50 * turn : 50 * turn + 50])
        await until(journal.count, partial(operator.lt, 150 * turn + 20))
        if turn:
            await wipe_redis(stage.redis, stage.place.env)
    results = await stage.results(ids)
    assert [result.output for result in results] == [{"e": number} for number in range(200)]
    for run_id in ids:
        types = Counter(await stage.types(run_id))
        assert types["step.succeeded"] == 6
        assert types["run.completed"] == 1
    assert set(journal.made) == {(number, node) for number in range(200) for node in "abcde"}
    assert await epoch_of(stage) == 4


async def test_what_is_rebuilt_is_what_the_log_says(stage: Stage) -> None:
    """Nothing moves after a recovery but what is let: every run stands in Redis where its log is."""
    journal = Journal()
    worker = stage.worker(journal.steps())
    stage.supervisor()
    ids = await park_at_gate(stage, journal, 20)
    workflow = await stage.register(*LONG, id="long")
    ids += await stage.client.submit_many([Submission(workflow=workflow, input=number) for number in range(20)])
    await until(journal.count, lambda made: made > 70)
    worker.kill()
    await stage.ends[0].wait()
    await wipe_redis(stage.redis, stage.place.env)
    await until(lambda: epoch_of(stage), lambda epoch: epoch == 2)
    partition = stage.client.keys.partition(0)
    await until(lambda: stage.redis.exists(*map(partition.run, ids)), lambda there: there == 40)
    await until(lambda: stage.redis.zcard(partition.timers), lambda timers: timers == 0)
    await until(lambda: recorded(stage), bool)
    assert await lives_as_logged(stage, ids) == 40
    journal.gate.set()
    stage.worker(journal.steps())
    results = await stage.results(ids)
    assert [result.output for result in results] == [{name: n} for name in "be" for n in range(20)]


class Killed(Exception):
    """Nothing in the engine catches it."""


def lone_guard(stage: Stage) -> guard.Guard:
    """The guard of the one partition, as a supervisor makes it."""
    client, redis = stage.client, stage.redis

    async def node_ids(ir_hash: str) -> list[str]:
        return (await client.catalog.plan(ir_hash)).node_ids

    return guard.Guard(
        redis,
        client.pool,
        client.keys,
        0,
        recorder=Recorder(redis, client.pool, client.keys.env, 0, node_ids),
        recovery=Recovery(redis, client.pool, client.keys, 0, client.catalog, node_ids),
        reconciler=Reconciler(redis, client.pool, client.keys, 0, client.catalog, 1_000),
        turn=anyio.Lock(),
    )


def arm(monkeypatch: pytest.MonkeyPatch, point: str, act: Callable[[], None]) -> None:
    """Do it every time that somebody comes to the point."""
    monkeypatch.setattr(fault_points, "_ARMED", {point: dict.fromkeys(range(1, 10_000), act)})


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_any_step_of_the_recovery(stage: Stage, point: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever recovers dies at one of the steps; the next one begins anew, in a later epoch, and nothing is lost."""
    journal = Journal()
    stage.worker(journal.steps())
    supervisor = stage.supervisor()
    ids = await park_at_gate(stage, journal, 10)
    supervisor.stop()
    await stage.ends[1].wait()
    await wipe_redis(stage.redis, stage.place.env)

    def die() -> None:
        raise Killed

    with monkeypatch.context() as patch:
        arm(patch, point, die)
        for _ in range(2):
            if point != "after_open" or not await epoch_of(stage):
                with pytest.raises(Killed):
                    await lone_guard(stage).run()
    assert (await epoch_of(stage) > 0) == (point == "after_open")
    stage.supervisor()
    journal.gate.set()
    assert [result.output for result in await stage.results(ids)] == [{"b": number} for number in range(10)]
    assert await epoch_of(stage) == {"before_epoch": 2, "after_open": 2}.get(point, 4)
    for run_id in ids:
        assert (await stage.types(run_id)).count("run.completed") == 1


async def test_two_recover_at_once(stage: Stage) -> None:
    """Of several supervisors one recovers and the others wait; the epoch has grown by one."""
    journal = Journal()
    stage.worker(journal.steps())
    for _ in range(3):
        stage.supervisor()
    ids = await park_at_gate(stage, journal, 50)
    journal.gate.set()
    await wipe_redis(stage.redis, stage.place.env)
    assert [result.output for result in await stage.results(ids)] == [{"b": number} for number in range(50)]
    assert await epoch_of(stage) == 2


async def test_a_recovery_that_slept_is_refused(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """F24: who is stopped in the middle, while the lock is his, holds up nobody for ever, and changes nothing later."""
    journal = Journal()
    stage.worker(journal.steps())
    supervisor = stage.supervisor()
    ids = await park_at_gate(stage, journal, 5)
    supervisor.stop()
    await stage.ends[1].wait()
    await wipe_redis(stage.redis, stage.place.env)
    awake, asleep = anyio.Event(), anyio.Event()
    real = Rebuild.write_irs

    async def sleep(self: Rebuild) -> None:
        if not asleep.is_set():
            asleep.set()
            await awake.wait()
        await real(self)

    monkeypatch.setattr(Rebuild, "write_irs", sleep)
    stage.supervisor()
    await asleep.wait()
    stage.supervisor()
    await until(lambda: epoch_of(stage), lambda epoch: epoch == 3)
    awake.set()
    journal.gate.set()
    assert [result.output for result in await stage.results(ids)] == [{"b": number} for number in range(5)]
    assert await epoch_of(stage) == 3


async def test_set_back_to_an_older_copy(stage: Stage) -> None:
    """F23, F25: Redis comes back as it was some time ago, in the middle of everything: the log wins, nothing forks."""
    journal = Journal()
    worker = stage.worker(journal.steps(), concurrency=16)
    stage.supervisor()
    workflow = await stage.register(*LONG)
    ids = await stage.client.submit_many([Submission(workflow=workflow, input=number) for number in range(60)])
    await until(journal.count, lambda made: made > 40)
    before = await sequence_of(stage)
    kept = await keep_redis(stage.redis, stage.place.env)
    await until(lambda: cursor_of(stage), lambda cursor: cursor.partition_seq > before + 5)
    await set_redis_back(stage.redis, stage.place.env, kept)
    assert [result.output for result in await stage.results(ids)] == [{"e": number} for number in range(60)]
    for run_id in ids:
        types = Counter(await stage.types(run_id))
        assert types["step.succeeded"] == 6
        assert types["run.completed"] == 1
    assert await epoch_of(stage) == 2
    assert worker.refused, "results of the older epoch are void"
