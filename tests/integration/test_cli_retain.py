"""``courante retain`` at the command line: what a policy would do, does, and what its archives hold."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from command_line import Said
from courante.sdk.fold.migrated import MIGRATED
from courante.sdk.stores.retention import attach_month, make_month, month_named
from integration.stage import Stage

pytestmark = pytest.mark.anyio
Ask = Callable[..., Any]
OLD = "event_log_202001"


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own, with an old month."""

    async def prepare() -> None:
        connection = await asyncpg.connect(own_migrated_database)
        await make_month(connection, month_named(OLD))
        await attach_month(connection, month_named(OLD))
        await connection.close()

    asyncio.run(prepare())
    return own_migrated_database


def policy(folder: Path, **terms: str) -> None:
    """Write the settings that commands find."""
    lines = [f'retain_{name} = "{value}"' for name, value in terms.items()]
    (folder / "courante.toml").write_text("\n".join(lines))


async def age(stage: Stage, run_id: str) -> None:
    """Move a run into the old month, as if it had ended then."""
    async with stage.client.pool.acquire() as conn:
        events = await conn.fetch("SELECT * FROM event_log WHERE run_id = $1 ORDER BY seq", run_id)
        assert all(event["type"] != MIGRATED for event in events)
        for table in ("event_log", "event_payloads"):
            await conn.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            await conn.execute(
                f"UPDATE {table} SET at = $2 WHERE run_id = $1", run_id, datetime(2020, 1, 5, tzinfo=UTC)
            )
            await conn.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")
        await conn.execute(
            "UPDATE runs SET created_at = $2, started_at = $2, finished_at = $2 WHERE run_id = $1",
            run_id,
            datetime(2020, 1, 5, tzinfo=UTC),
        )


async def test_a_policy_is_shown_and_carried_out(stage: Stage, ask: Ask, tmp_path: Path) -> None:
    """The month that is old goes into an archive that can be verified and restored; without a policy nothing goes."""
    assert (await ask("retain"))["months"] == []
    said: Said = await ask("retain", is_json=False)
    assert "nothing is old enough" in said.out
    policy(tmp_path, log="400d")
    planned = await ask("retain", "--dry-run")
    month = {"name": OLD, "starts": "2020-01-01T00:00:00.000Z", "ends": "2020-02-01T00:00:00.000Z"}
    assert planned["months"] == [month | {"events": 0, "runs": 0, "kept": None}]
    assert (planned["dry_run"], planned["archives"], planned["failed"]) == (True, [], {})
    said = await ask("retain", "--dry-run", is_json=False)
    assert f"{OLD} would be taken out: 0 events of 0 runs" in said.out
    done = await ask("retain", "--archive", "old")
    (archive,) = done["archives"]
    path = tmp_path / "old" / archive["file"]
    verified = await ask("retain", "verify", str(path))
    assert verified == {"ok": True} | archive
    restored = await ask("retain", "restore", str(path))
    assert (restored["restored"], restored["month"]) == (True, OLD)
    said = await ask("retain", "--archive", "old", is_json=False)
    assert f"{OLD} stays: it was put back by hand" in said.out


async def test_a_run_whose_log_was_moved_says_where_it_is(stage: Stage, ask: Ask, tmp_path: Path) -> None:
    stage.supervisor()
    stage.worker()
    await stage.register({"id": "a", "type": "noop"})
    run_id = (await stage.run("w", 1)).run_id
    await age(stage, run_id)
    policy(tmp_path, log="400d", archive="kept")
    broken = await ask("retain")
    assert list(broken["failed"]) == [
        OLD
    ]  # its hashes are of another time: nothing is taken out that cannot be verified
    assert "hash does not fit" in broken["failed"][OLD]
    policy(tmp_path, log="400d")
    told = (await ask("retain", code=64))["error"]
    assert (told["code"], OLD in told["message"], "--yes" in told["hint"]) == ("not_confirmed", True, True)
    assert [one["runs"] for one in (await ask("retain", "--yes"))["months"]] == [1]
    for argv in (("events", run_id), ("replay", run_id), ("replay", run_id, "--verify"), ("fork", run_id, "--at", "1")):
        told = (await ask(*argv, code=3))["error"]
        assert told["code"] == "log_archived"
        assert "was deleted by retention on " in told["message"]
    shown = await ask("status", run_id)
    assert shown["status"] == "COMPLETED"
    assert shown["archived"]["path"] is None
    said: Said = await ask("status", run_id, is_json=False)
    assert "deleted by retention" in said.out


async def test_what_is_wrong_is_told(stage: Stage, ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no archive")
    assert (await ask("retain", "verify", "none.jsonl.gz", code=3))["error"]["code"] == "file_not_found"
    error = (await ask("retain", "verify", "notes.txt", code=1))["error"]
    told = "notes.txt: it has no manifest: it was not written to its end"
    assert (error["code"], error["message"]) == ("archive_broken", told)
    assert (await ask("retain", "restore", "notes.txt", code=1))["error"]["code"] == "archive_broken"
    assert (await ask("retain", "--archive", "notes.txt", "--dry-run"))["months"] == []
    policy(tmp_path, log="soon")
    told = (await ask("retain", "--dry-run", code=64))["error"]
    assert (told["code"], "a duration of at least a day" in told["message"]) == ("bad_setting", True)
