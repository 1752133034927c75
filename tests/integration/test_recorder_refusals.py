"""A Postgres that is there and refuses: a full disk, a standby, conflicts, limits of time. Nothing of a batch stays."""

from __future__ import annotations

import anyio
import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from courante.sdk.stores.connection import Pool
from courante.sdk.stores.cursors import read_cursor
from courante.supervisor.recording.recorder import Recorder, RecorderSettings
from integration.outbox_writer import COMPLETED, Writer, node_ids, started, succeeded, types, until

pytestmark = pytest.mark.anyio
REFUSALS = {
    "disk_full": "53100",
    "io_error": "58030",
    "out_of_memory": "53200",
    "read_only": "25006",
    "serialization_failure": "40001",
    "deadlock": "40P01",
    "statement_timeout": "57014",
    "shutdown": "57P01",
}
SECOND_OF_B = "NEW.run_id = 'run_b' AND NEW.seq = 2"
FUNCTION = "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {} RETURN NEW; END $$"


@pytest.mark.parametrize("refusal", REFUSALS)
async def test_a_batch_that_is_refused_in_its_middle_is_tried_again(
    redis: Redis, pool: Pool, env_name: str, writer: Writer, refusal: str
) -> None:
    """F51: as a whole, again and again, until Postgres takes it; in between the log has nothing of it."""
    refuse = f"IF {SECOND_OF_B} THEN RAISE EXCEPTION 'no' USING ERRCODE = '{REFUSALS[refusal]}'; END IF;"
    await pool.execute(FUNCTION.format(refuse))
    await pool.execute("CREATE TRIGGER refuse BEFORE INSERT ON event_log FOR EACH ROW EXECUTE FUNCTION refuse()")
    for run_id in ("run_a", "run_b", "run_c"):
        await writer.put(run_id, started())
        await writer.put(run_id, succeeded("a"), COMPLETED)
    recorder = Recorder(redis, pool, env_name, 0, node_ids, settings=RecorderSettings(backoff_ms=1, backoff_ms_max=20))
    with capture_logs() as logs:
        async with anyio.create_task_group() as group:
            group.start_soon(recorder.run)

            async def is_refused() -> bool:
                return [line["event"] for line in logs].count("recording_failed") > 3

            await until(is_refused)
            assert [await types(pool, run_id) for run_id in ("run_a", "run_b", "run_c")] == [[], [], []]
            async with pool.acquire() as conn:
                cursor = await read_cursor(conn, env_name, 0)
                assert cursor is None or cursor.partition_seq == 0
            await pool.execute(FUNCTION.format(""))  # not the trigger: that would lock the table against the recorder

            async def is_recorded() -> bool:
                return "run.completed" in await types(pool, "run_c")

            await until(is_recorded)
            group.cancel_scope.cancel()
    for run_id in ("run_a", "run_b", "run_c"):
        assert await types(pool, run_id) == ["run.started", "step.succeeded", "run.completed"]
    assert not any(line["event"] == "event_quarantined" for line in logs)
