"""What a client promises: one run per key, whatever way it came, and the same answers from Redis and the log."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from courante.sdk.client.client import Submission
from courante.sdk.errors import IdempotencyConflict, InputInvalid, RunNotFound, WorkflowNotFound
from courante.sdk.moments import to_ms
from courante.sdk.stores.runs import list_runs
from integration.hastening import hasten
from integration.stage import Place, Stage, open_stage, until

pytestmark = pytest.mark.anyio
NOOP = {"id": "a", "type": "noop"}


async def test_a_run_goes_from_submission_to_result(stage: Stage) -> None:
    """The output comes back by terminal node, with both times, from Redis and from the log alike."""
    stage.worker()
    stage.supervisor()
    run_id = await stage.client.submit(await stage.register(NOOP), {"x": [1, "ä", None]})
    live = await stage.client.wait(run_id, timeout_s=10)
    recorded = await stage.result(run_id)
    assert live.status == recorded.status == "COMPLETED"
    assert live.output == recorded.output == {"a": {"x": [1, "ä", None]}}
    assert live == await stage.client.result(run_id) == recorded
    assert await stage.types(run_id) == ["run.started", "step.succeeded", "run.completed"]


async def test_concurrent_submissions_share_commits(stage: Stage) -> None:
    """A thousand tasks that submit at once make far fewer transactions than runs, and all runs exist."""
    workflow = await stage.register(NOOP)
    ids: list[str] = []

    async def submit(number: int) -> None:
        ids.append(await stage.client.submit(workflow, number))

    async with anyio.create_task_group() as group:
        for number in range(2_500):  # more than one commit may hold
            group.start_soon(submit, number)
    assert len(set(ids)) == 2_500
    async with stage.client.pool.acquire() as conn:
        query = "SELECT count(*), count(DISTINCT xact::text) FROM commands WHERE env = $1"
        row = await conn.fetchrow(query, stage.place.env)
    assert row is not None
    assert row[0] == 2_500
    assert row[1] < 10


async def test_a_caller_that_gives_up_takes_nobody_with_it(stage: Stage) -> None:
    """Cancelling the submission that commits for a group leaves the submissions of the others alone."""
    workflow = await stage.register(NOOP)
    ids: list[str] = []
    leader = anyio.CancelScope()

    async def lead() -> None:
        with leader:
            await stage.client.submit(workflow)

    async def follow() -> None:
        ids.append(await stage.client.submit(workflow))

    async with anyio.create_task_group() as group:
        group.start_soon(lead)
        for _ in range(20):
            group.start_soon(follow)
        await anyio.lowlevel.checkpoint()
        leader.cancel()
    assert len(set(ids)) == 20


async def test_one_refusal_in_a_group_is_told_to_its_caller_only(stage: Stage) -> None:
    """Submissions that share a commit get their own answers."""
    workflow = await stage.register(NOOP)
    refused: list[str] = []
    ids: list[str] = []

    async def submit(name: str) -> None:
        try:
            ids.append(await stage.client.submit(name))
        except WorkflowNotFound as error:
            refused.append(error.message)

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(submit, "nobody" if number % 2 else workflow)
    assert (len(ids), len(refused)) == (10, 10)
    assert "nobody" in refused[0]


async def test_submit_many_is_all_or_nothing(stage: Stage) -> None:
    """Where one of many is refused, by its input or by its key, none of them becomes a run."""
    workflow = await stage.register(NOOP)
    await stage.client.submit(workflow, 1, key="taken")
    many = [Submission(workflow=workflow, input=number, key=f"k{number}") for number in range(10)]
    with pytest.raises(InputInvalid):
        await stage.client.submit_many([*many, Submission(workflow=workflow, input=math.nan)])
    with pytest.raises(IdempotencyConflict, match="taken"):
        await stage.client.submit_many([*many, Submission(workflow=workflow, input=2, key="taken")])
    assert await stage.commands() == 1
    ids = await stage.client.submit_many(many)
    assert len(set(ids)) == 10
    assert await stage.commands() == 11


@pytest.mark.parametrize("durability", ["postgres", "redis"])
async def test_the_same_key_is_the_same_run(stage: Stage, durability: Any) -> None:
    """F64: a repeated request gets the run of the first one; another request under its key is a conflict."""
    workflow = await stage.register(NOOP)
    client = stage.client
    first = await client.submit(workflow, {"a": 1, "b": 2}, key="k", durability=durability)
    assert await client.submit(workflow, {"b": 2, "a": 1}, key="k") == first
    assert await client.submit(workflow, {"b": 2, "a": 1}, key="k", durability="redis") == first
    for way in ("postgres", "redis"):
        with pytest.raises(IdempotencyConflict, match=first):
            await client.submit(workflow, {"a": 2}, key="k", durability=way)
    stage.worker()
    stage.supervisor()
    assert (await stage.result(first)).output == {"a": {"a": 1, "b": 2}}
    assert (await stage.types(first)).count("run.started") == 1


async def test_a_key_used_again_long_after_the_end_starts_nothing(stage: Stage) -> None:
    """When Redis has forgotten an ended run, its key still stands for it, and its log does not go on."""
    stage.worker()
    stage.supervisor()
    workflow = await stage.register(NOOP)
    done = await stage.run(workflow, 1, key="k")
    await stage.forget(done.run_id)
    for way in ("postgres", "redis"):
        assert await stage.client.submit(workflow, 1, key="k", durability=way) == done.run_id
    assert await stage.client.result(done.run_id) == done
    following = await stage.run(workflow, 2)
    assert following.status == "COMPLETED"
    assert len(await stage.types(done.run_id)) == 3


async def test_a_result_comes_from_the_log_when_redis_has_forgotten(stage: Stage) -> None:
    """Output, error and times of an ended run stay what they were when its keys have expired."""
    stage.worker()
    stage.supervisor()
    large = {"text": "x" * 20_000}
    good = await stage.run(await stage.register(NOOP), large)
    bad = await stage.run(await stage.register({"id": "f", "type": "wait", "config": {"until": "'no'"}}, id="bad"))
    for before in (good, bad):
        live = await stage.client.wait(before.run_id, timeout_s=5)
        await stage.forget(before.run_id)
        assert await stage.client.result(before.run_id) == before == live
    assert good.output == {"a": large}
    assert bad.status == "FAILED"
    assert bad.error is not None
    assert bad.error["node"] == "f"


async def test_what_nobody_knows_is_said(stage: Stage) -> None:
    """Unknown workflows, versions and runs are told apart, and a wait does not wait for a run that is not there."""
    workflow = await stage.register(NOOP)
    with pytest.raises(WorkflowNotFound, match="nobody"):
        await stage.client.submit("nobody")
    with pytest.raises(WorkflowNotFound, match="7"):
        await stage.client.submit(workflow, version=7)
    with anyio.fail_after(3):
        with pytest.raises(RunNotFound, match="run_none"):
            await stage.client.wait("run_none")
    with pytest.raises(RunNotFound):
        await stage.client.result("run_none")


async def test_a_wait_ends_with_its_deadline(stage: Stage) -> None:
    """A run that nobody works on is waited for as long as asked, and then it is still running."""
    run_id = await stage.client.submit(await stage.register(NOOP))
    with pytest.raises(TimeoutError):
        await stage.client.wait(run_id, timeout_s=0.05)
    assert (await stage.client.result(run_id)).status == "RUNNING"


async def test_tags_find_runs(stage: Stage) -> None:
    """A run is listed under each of its tags, also the strange ones, before and after it is recorded."""
    workflow = await stage.register(NOOP)
    tags = ["red", 'a "quoted, {strange} \\ one', "ä"]
    run_id = await stage.client.submit(workflow, tags=tags)
    await stage.client.submit(workflow, tags=["blue"])

    async def tagged(tag: str) -> list[tuple[str, tuple[str, ...]]]:
        async with stage.client.pool.acquire() as conn:
            page = await list_runs(conn, stage.place.env, tag=tag)
        return [(run.run_id, run.tags) for run in page.runs]

    assert [await tagged(tag) for tag in tags] == [[(run_id, tuple(tags))]] * 3
    assert await tagged("green") == []
    stage.worker()
    stage.supervisor()
    await stage.result(run_id)
    assert [await tagged(tag) for tag in tags] == [[(run_id, tuple(tags))]] * 3


async def test_a_run_keeps_its_version(stage: Stage) -> None:
    """Runs that were submitted before a new version came execute the old one; a named version stays reachable."""
    await stage.register({"id": "a", "type": "echo", "config": {"value": 1}})
    before = await stage.client.submit("w")
    await stage.register({"id": "a", "type": "echo", "config": {"value": 2}})
    after = await stage.client.submit("w")
    named = await stage.client.submit("w", version=1)
    stage.worker()
    stage.supervisor()
    results = await stage.results([before, after, named])
    assert [result.output["a"] for result in results] == [1, 2, 1]


async def test_a_repeated_key_stays_with_its_version(stage: Stage) -> None:
    """The latest version has moved between a request and its repetition: it is still the same request."""
    await stage.register({"id": "a", "type": "echo", "config": {"value": 1}})
    first = await stage.client.submit("w", key="k")
    await stage.register({"id": "a", "type": "echo", "config": {"value": 2}})
    assert await stage.client.submit("w", key="k") == first
    stage.worker()
    stage.supervisor()
    assert (await stage.result(first)).output == {"a": 1}


async def test_environments_do_not_see_each_other(stage: Stage, place: Place) -> None:
    """One workflow id and one key in two environments are two workflows and two runs; ids do not reach across."""
    other_place = Place(place.redis_url, place.database_url, f"{place.env}-2")
    async with open_stage(other_place) as other:
        for one, value in ((stage, 1), (other, 2)):
            one.worker()
            one.supervisor()
            await one.register({"id": "a", "type": "echo", "config": {"value": value}})
        mine = await stage.run("w", key="k")
        theirs = await other.run("w", key="k")
        assert (mine.output, theirs.output) == ({"a": 1}, {"a": 2})
        assert mine.run_id != theirs.run_id
        with pytest.raises(RunNotFound):
            await other.client.result(mine.run_id)
        await stage.forget(mine.run_id)
        with pytest.raises(RunNotFound):
            await other.client.wait(mine.run_id, timeout_s=3)
        await stage.register(NOOP, id="only-here")
        with pytest.raises(WorkflowNotFound):
            await other.client.submit("only-here")


async def test_a_delayed_start_survives_a_restart_of_the_supervisor(stage: Stage) -> None:
    """A run with ``start_at`` begins then and not before, whoever watches at that moment."""
    stage.worker()
    first = stage.supervisor()
    begin = datetime.now(UTC) + timedelta(hours=1)
    run_id = await stage.client.submit(await stage.register(NOOP), start_at=begin)
    await until(lambda: stage.types(run_id), lambda types: types == ["run.started", "timer.set"])
    first.stop()
    await stage.ends[-1].wait()
    (timer,) = [event for event in await stage.events(run_id) if event.facts.type == "timer.set"]
    assert timer.facts.due == to_ms(begin)
    assert await hasten(stage, run_id) == 1
    stage.supervisor()
    assert (await stage.result(run_id)).status == "COMPLETED"
    assert "run.entered" in await stage.types(run_id)


async def test_a_run_that_nobody_started_in_time_ends(stage: Stage) -> None:
    """A run whose ``expires_at`` has passed when a worker comes ends TIMED_OUT without a step; one in time runs."""
    workflow = await stage.register(NOOP)
    soon = datetime.now(UTC) + timedelta(seconds=0.1)
    late = await stage.client.submit(workflow, expires_at=soon)
    both = await stage.client.submit(workflow, start_at=soon + timedelta(seconds=0.1), expires_at=soon)
    good = await stage.client.submit(workflow, expires_at=soon + timedelta(hours=1))
    await until(stage.redis.time, lambda now: now[0] + now[1] / 1e6 > soon.timestamp() + 0.01)
    stage.worker()
    stage.supervisor()
    results = await stage.results([late, both, good])
    assert [result.status for result in results] == ["TIMED_OUT", "TIMED_OUT", "COMPLETED"]
    assert results[0].error is not None
    assert results[0].error["type"] == "EXPIRED"
    assert await stage.succeeded(late) == []
