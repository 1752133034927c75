"""Old months: parts of the log of years ago, made by COPY, with chains that hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from courante.sdk.events import GENESIS, Facts, chain_hash, digest, encode_facts
from courante.sdk.moments import from_ms, to_ms
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.retention import attach_month, make_month, month_named, payloads_of
from courante.supervisor.recording.chain import LOG_COLUMNS, PAYLOAD_COLUMNS

OLD = "event_log_202001"
RUN_COLUMNS = (
    "run_id env partition workflow version ir_hash status trigger tags is_halted created_at updated_at finished_at "
    "last_seq last_hash"
).split()
FACTS = encode_facts(Facts(type="step.succeeded", node="a", attempt=1))


async def fill_old_month(conn: Connection, env: str, *, runs: int, events: int, payload: bytes = b'"said"') -> None:
    """Make a month of so many ended runs with so many events each, every one of which has this payload."""
    month = month_named(OLD)
    await make_month(conn, month)
    await attach_month(conn, month)
    at_ms = to_ms(datetime(2020, 1, 5, tzinfo=UTC))
    at, found = from_ms(at_ms), digest(payload)
    log: list[tuple[Any, ...]] = []
    ended: list[tuple[Any, ...]] = []
    for number in range(runs):
        run_id, before = f"run_OLD{number:023}", GENESIS
        for seq in range(1, events + 1):
            own = chain_hash(before, run_id, seq, at_ms, FACTS, found)
            log.append((env, 0, at, run_id, seq, "step.succeeded", "a", "", 1, "", FACTS, found, before, own))
            before = own
        ended.append((run_id, env, 0, "old", 1, "ir", "COMPLETED", "initial", [], False, at, at, at, events, before))
    await conn.copy_records_to_table("runs", records=ended, columns=RUN_COLUMNS)
    await conn.copy_records_to_table(OLD, records=log, columns=LOG_COLUMNS)
    said = [(env, at, row[3], row[4], payload) for row in log]
    await conn.copy_records_to_table(payloads_of(month), records=said, columns=PAYLOAD_COLUMNS)
