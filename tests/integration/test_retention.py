"""Months of the log are archived and taken out whole, never one that somebody needs, and can be put back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from courante import Context
from courante.replay import verify_run
from courante.sdk.errors import CouranteError
from courante.sdk.events import GENESIS, RecordedEvent, chain_hash
from courante.sdk.stores.commands import starts_to_apply
from courante.sdk.stores.errors import LogArchived
from courante.sdk.stores.forgetting import read_forgotten
from courante.sdk.stores.log import read_events, stream_events, verify_chain
from courante.sdk.stores.retention import attach_month, list_months, make_month, month_named
from courante.sdk.stores.runs import get_run
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from courante.supervisor.recovery.reconciler import Reconciler
from courante.supervisor.retention import retention as module
from courante.supervisor.retention.archive import (
    ArchiveBroken,
    Event,
    Head,
    Payload,
    Writer,
    iso_of,
    manifest_path,
    read_lines,
    verify_archive,
)
from courante.supervisor.retention.forgetting import Forgetting
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.putting_back import put_back
from courante.supervisor.retention.retention import Retained, Retention
from integration.http_calls import open_api
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
LATER = timedelta(days=400)
MONTH = timedelta(days=30)
SIZE = 20_000
GOES_ON = (
    "INSERT INTO commands (env, partition, run_id, number, type, body, body_digest, workflow, version, ir_hash, "
    "input_digest, trigger, base_run_id, base_seq) SELECT env, partition, 'run_wanted', 1, type, body, "
    "body_digest, workflow, version, ir_hash, input_digest, trigger, run_id, 1 FROM commands WHERE run_id = $1 "
    "AND number = 1"
)
"""A start of run_wanted, which goes on from $1 and was not applied yet."""


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own: months are of all environments."""
    return own_migrated_database


async def big(given: Any, context: Context) -> Any:
    return {"file": await context.artifact(b"\x00\xff picture", "image/png"), "text": "y" * SIZE, "given": given}


async def begin(stage: Stage) -> str:
    """Play one run to its end; return its id."""
    stage.supervisor()
    stage.worker({"big": big}, database_url=stage.place.database_url)
    await stage.register({"id": "a", "type": "function", "config": {"handler": "big"}})
    return (await stage.run("w", {"name": "ann"})).run_id


def retention(stage: Stage, **terms: Any) -> Retention:
    """In a year from now."""
    wanted: dict[str, Any] = {"log": MONTH, **terms}
    policy = Policy(**wanted)
    return Retention(stage.redis, stage.client.pool, stage.client.keys, policy, now=datetime.now(UTC) + LATER)


def files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


def gone(done: Retained) -> list[str]:
    return [one.name for one in done.months if not one.kept and one.events]


def kept(done: Retained) -> list[str]:
    return [one.kept for one in done.months if one.kept]


async def log_of(stage: Stage, run_id: str) -> list[RecordedEvent]:
    async with stage.client.pool.acquire() as conn:
        return await read_events(conn, run_id)


async def test_a_month_is_archived_taken_out_and_put_back(stage: Stage, tmp_path: Path) -> None:
    """Who asks for the log is told where it is; nothing of the run starts again; put back it is as it was."""
    run_id = await begin(stage)
    before = await log_of(stage, run_id)
    output = (await stage.client.result(run_id)).output
    planned = await retention(stage, archive=tmp_path).plan()
    assert sum(one.events for one in planned.months) == len(before)
    assert files(tmp_path, "*") == []
    done = await retention(stage, archive=tmp_path).carry_out()
    (name,) = gone(done)
    path = tmp_path / f"{name}.jsonl.gz"
    manifest = verify_archive(path)
    assert (manifest.events, manifest.runs, manifest.payloads) == (len(before), 1, 3)
    async with stage.client.pool.acquire() as conn:
        for read in (read_events(conn, run_id), verify_chain(conn, run_id), verify_run(conn, stage.place.env, run_id)):
            with pytest.raises(LogArchived, match=name) as told:
                await read
            assert told.value.path == str(path)
        with pytest.raises(LogArchived):
            async for _ in stream_events(conn, run_id):
                pass
        assert (await get_run(conn, run_id)).status == "COMPLETED"
        await rebuild_projections(conn, stage.place.env)
        assert (await get_run(conn, run_id)).status == "COMPLETED"
        await conn.execute("DELETE FROM reconciler_marks")
        assert await starts_to_apply(conn, stage.place.env, 0) == []
    with pytest.raises((LogArchived, CouranteError)):
        await stage.client.retry(run_id)
    async with stage.client.pool.acquire() as conn:
        await conn.execute("DELETE FROM payloads")
    restored = await put_back(stage.client.pool, path)
    assert restored == manifest
    assert await log_of(stage, run_id) == before
    await stage.redis.delete(stage.client.keys.partition(0).run(run_id))
    assert (await stage.client.result(run_id)).output == output
    (artifact,) = await stage.client.artifacts.of_run(run_id)
    assert await stage.client.artifacts.read(artifact.artifact.digest) == b"\x00\xff picture"
    async with stage.client.pool.acquire() as conn:
        assert (await verify_run(conn, stage.place.env, run_id)).first_difference is None
    with pytest.raises(ArchiveBroken, match="still has"):
        await put_back(stage.client.pool, path)
    again = await retention(stage, archive=tmp_path).carry_out()
    assert gone(again) == []
    assert "it was put back by hand" in kept(again)


async def test_callers_of_the_api_are_told_that_a_log_was_moved_away(stage: Stage, tmp_path: Path) -> None:
    """Not that the server is at fault; nor where on its disk the log is."""
    run_id = await begin(stage)
    assert len(gone(await retention(stage, archive=tmp_path).carry_out())) == 1
    async with open_api(stage) as api:
        assert (await api.get(f"/v1/runs/{run_id}")).status_code == 200
        for answer in (
            await api.get(f"/v1/runs/{run_id}/events"),
            await api.post(f"/v1/runs/{run_id}/fork", json={"at": 1}),
            await api.post(f"/v1/runs/{run_id}/rerun", json={"steps": ["a"]}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (410, "log_archived"), answer.text
            assert str(tmp_path) not in answer.text


async def test_a_start_whose_base_was_moved_away_stops_no_other(stage: Stage) -> None:
    """It may have been asked for in the moment in which the month went, and ends at once."""
    run_id = await begin(stage)
    stage.supervisors[0].stop()
    await stage.ends[0].wait()
    assert len(gone(await retention(stage).carry_out())) == 1
    async with stage.client.pool.acquire() as conn:
        await conn.execute(GOES_ON, run_id)
    other = await stage.client.submit("w", {"name": "bob"})
    await stage.redis.delete(stage.client.keys.partition(0).run(other))
    client = stage.client
    reconciler = Reconciler(stage.redis, client.pool, client.keys, 0, client.catalog, 1_000)
    await reconciler.apply(older_than_ms=0)
    assert await stage.redis.exists(client.keys.partition(0).run(other))
    stage.supervisor()
    assert (await stage.result("run_wanted")).status == "FAILED"


async def test_what_somebody_needs_stays(stage: Stage) -> None:
    """A run that goes on, one that a living run goes on from, one that ended too late, one of another environment."""
    run_id = await begin(stage)
    await stage.register({"id": "s", "type": "signal", "config": {"name": "go"}}, id="waits")
    living = await stage.client.submit("waits", None)
    await until(lambda: stage.types(living), lambda types: "step.waiting" in types)
    assert "1 run not ended" in kept(await retention(stage).carry_out())
    await stage.client.cancel(living)
    await stage.result(living)
    again = await stage.client.retry(living)
    await until(lambda: stage.types(again.run_id), lambda types: "step.waiting" in types)
    assert "1 run not ended, 1 run needed by runs that go on" in kept(await retention(stage).carry_out())
    await stage.client.cancel(again.run_id)
    await stage.result(again.run_id)
    early = Retention(
        stage.redis, stage.client.pool, stage.client.keys, Policy(log=timedelta(0)), now=datetime.now(UTC) + MONTH * 2
    )
    async with stage.client.pool.acquire() as conn:
        await conn.execute("UPDATE runs SET finished_at = now() + interval '61 days' WHERE run_id = $1", run_id)
        assert "1 run ended too late" in kept(await early.carry_out())
        await conn.execute("UPDATE runs SET finished_at = now() WHERE run_id = $1", run_id)
    keys = type(stage.client.keys)("elsewhere")
    other = Retention(stage.redis, stage.client.pool, keys, Policy(log=MONTH), now=datetime.now(UTC) + LATER)
    assert "3 runs of other environments" in kept(await other.carry_out())
    assert len(await log_of(stage, run_id)) > 0
    assert len(gone(await retention(stage).carry_out())) == 1


@pytest.mark.parametrize(
    "point", ["before_archive_finished", "before_archive_verified", "before_month_taken_out", "after_month_taken_out"]
)
async def test_whoever_ends_in_between_loses_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, point: str
) -> None:
    """At any point every event is in the log or in an archive that holds together, and the next one goes on."""

    class Ended(Exception):
        pass

    def end(reached: str) -> None:
        if reached == point:
            raise Ended

    run_id = await begin(stage)
    before = await log_of(stage, run_id)
    with monkeypatch.context() as patch:
        patch.setattr(module, "reach", end)
        with pytest.raises(Ended):
            await retention(stage, archive=tmp_path).carry_out()
    is_out = point == "after_month_taken_out"
    if not is_out:
        assert await log_of(stage, run_id) == before
    done = await retention(stage, archive=tmp_path).carry_out()
    assert len(gone(done)) == (0 if is_out else 1)
    (path,) = [path for path in files(tmp_path, "*.jsonl.gz") if verify_archive(path).events]
    assert verify_archive(path).events == len(before)
    assert files(tmp_path, "*.partial") == []
    await put_back(stage.client.pool, path)
    assert await log_of(stage, run_id) == before


async def test_what_was_forgotten_since_is_in_no_archive(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A file that was left by somebody who ended before the month went is written anew."""

    class Ended(Exception):
        pass

    def end(reached: str) -> None:
        if reached == "before_month_taken_out":
            raise Ended

    run_id = await begin(stage)
    with monkeypatch.context() as patch:
        patch.setattr(module, "reach", end)
        with pytest.raises(Ended):
            await retention(stage, archive=tmp_path).carry_out()
    await Forgetting(stage.redis, stage.client.pool, stage.client.keys).forget([run_id])
    (name,) = gone(await retention(stage, archive=tmp_path).carry_out())
    lines = list(read_lines(tmp_path / f"{name}.jsonl.gz"))
    assert [line for line in lines if isinstance(line, Payload)] == []
    assert [line for line in lines if isinstance(line, Event) and line.payload is not None] == []


async def test_the_archive_of_another_database_is_never_written_over(stage: Stage, tmp_path: Path) -> None:
    """Two that were given one directory: the second one keeps its month, and says why."""
    run_id = await begin(stage)
    before = await log_of(stage, run_id)
    (month,) = (one for one in (await retention(stage).plan()).months if one.events)
    writer = Writer(tmp_path, Head(version=1, month=month.name, starts=iso_of(month.starts), ends=iso_of(month.ends)))
    for one in before:  # as many events
        own = chain_hash(GENESIS, f"run_{one.seq}", 1, one.at_ms, b"{}", None).hex()
        place = {"env": "e", "partition": 0, "node": "", "scope": "", "attempt": 0, "worker": ""}
        chain = {"payload": None, "payload_digest": None, "prev_hash": GENESIS.hex(), "hash": own}
        writer.add(
            msgspec.convert(
                {
                    "run_id": f"run_{one.seq}",
                    "seq": 1,
                    "at_ms": one.at_ms,
                    "type": "x",
                    "facts": "{}",
                    "kind": "event",
                    **place,
                    **chain,
                },
                Event,
            )
        )
    writer.finish()
    content = writer.path.read_bytes()
    done = await retention(stage, archive=tmp_path).carry_out()
    assert "another" in done.failed[month.name]
    assert writer.path.read_bytes() == content
    assert await log_of(stage, run_id) == before


async def test_an_archive_that_was_changed_is_told(stage: Stage, tmp_path: Path) -> None:
    """By its hash, or because its manifest is missing; what is broken is not put back."""
    run_id = await begin(stage)
    done = await retention(stage, archive=tmp_path).carry_out()
    (name,) = gone(done)
    path = tmp_path / f"{name}.jsonl.gz"
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    with pytest.raises(ArchiveBroken, match="SHA-256"):
        verify_archive(path)
    with pytest.raises(ArchiveBroken):
        list(read_lines(path))
    with pytest.raises(ArchiveBroken):
        await put_back(stage.client.pool, path)
    path.write_bytes(content)
    manifest_path(path).unlink()
    with pytest.raises(ArchiveBroken, match="no manifest"):
        verify_archive(path)
    async with stage.client.pool.acquire() as conn:
        with pytest.raises(LogArchived):
            await read_events(conn, run_id)


async def test_runs_whose_log_is_gone_are_deleted_in_their_time(stage: Stage) -> None:
    """Not before; with their commands, so that nothing starts them again."""
    run_id = await begin(stage)
    only_runs = retention(stage, log=None, runs=MONTH)
    assert (await only_runs.carry_out()).runs == 0
    done = await retention(stage, runs=MONTH).carry_out()
    assert (len(gone(done)), done.runs) == (1, 1)
    async with stage.client.pool.acquire() as conn:
        for table in ("runs", "commands", "node_executions", "event_payloads"):
            assert await conn.fetchval(f"SELECT count(*) FROM {table} WHERE run_id = $1", run_id) == 0
        await conn.execute("DELETE FROM reconciler_marks")
        assert await starts_to_apply(conn, stage.place.env, 0) == []
        assert [month for month in await list_months(conn) if month.ends < datetime.now(UTC)] == []


async def test_a_run_that_began_in_an_earlier_month_is_deleted_after_its_last_one(stage: Stage) -> None:
    """Deleted before, its last month would hold events of nobody, and stay for ever."""
    run_id = await begin(stage)
    first = datetime(2001, 1, 1, tzinfo=UTC)
    async with stage.client.pool.acquire() as conn, conn.transaction():
        await make_month(conn, month_named("event_log_200101"))
        await attach_month(conn, month_named("event_log_200101"))
        await conn.execute("SET LOCAL session_replication_role = replica")
        for table in ("event_log", "event_payloads"):
            await conn.execute(f"UPDATE {table} SET at = $2 WHERE run_id = $1 AND seq <= 2", run_id, first)
    soon = datetime.now(UTC) + timedelta(days=1)
    terms = Policy(log=MONTH, runs=timedelta(0))
    async with stage.client.pool.acquire() as conn:
        await conn.execute("UPDATE runs SET finished_at = $2 WHERE run_id = $1", run_id, soon - 2 * MONTH)
    done = await Retention(stage.redis, stage.client.pool, stage.client.keys, terms, now=soon).carry_out()
    assert (gone(done), done.runs) == (["event_log_200101"], 0)
    done = await retention(stage, runs=MONTH).carry_out()
    assert (len(gone(done)), done.runs, kept(done)) == (1, 1, [])


async def test_a_run_that_another_is_about_to_go_on_from_is_forgotten_later(stage: Stage) -> None:
    """Retention does the rest, and goes on with its next turn."""
    run_id = await begin(stage)
    other = (await stage.run("w", {"name": "bob"})).run_id
    stage.supervisors[0].stop()
    await stage.ends[0].wait()
    async with stage.client.pool.acquire() as conn:
        await conn.execute(GOES_ON, run_id)
        terms = {"log": None, "payloads": MONTH}
        assert (await retention(stage, **terms).plan()).payloads == 1
        assert (await retention(stage, **terms).carry_out()).payloads == 1
        assert list(await read_forgotten(conn, [run_id, other])) == [other]
        await conn.execute("DELETE FROM commands WHERE run_id = 'run_wanted'")
    assert (await retention(stage, **terms).carry_out()).payloads == 1


async def test_payloads_and_cached_outputs_go_by_their_age(stage: Stage) -> None:
    """A run is forgotten; an output that has expired goes whatever the policy says."""
    run_id = await begin(stage)
    async with stage.client.pool.acquire() as conn:
        insert = (
            "INSERT INTO step_cache (env, key, scope, node, run_id, output, expires_at) "
            "VALUES ($1, $2, 'global', 'a', 'other', '1', $3)"
        )
        now = datetime.now(UTC)
        for key, expires in (("old", now - MONTH), ("new", None), ("later", now + LATER * 2)):
            await conn.execute(insert, stage.place.env, key, expires)
    assert (await retention(stage, log=None).plan()).cache == 1
    assert (await retention(stage, log=None).carry_out()).cache == 1
    planned = await retention(stage, log=None, payloads=MONTH, cache=MONTH).plan()
    assert (planned.payloads, planned.cache) == (1, 2)
    done = await retention(stage, log=None, payloads=MONTH, cache=MONTH).carry_out()
    assert (done.payloads, done.cache) == (1, 2)
    async with stage.client.pool.acquire() as conn:
        assert (await read_forgotten(conn, [run_id]))[run_id].reason == "retain_payloads"
        assert (await verify_run(conn, stage.place.env, run_id)).first_difference is None
