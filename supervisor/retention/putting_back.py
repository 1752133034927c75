"""Putting back: an archived month becomes a part of the log again, as it was. One transaction, beside all others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import anyio
import asyncpg
import msgspec

from ...sdk.errors import PayloadUnreadable
from ...sdk.moments import from_ms
from ...sdk.stores.connection import Connection, Pool
from ...sdk.stores.forgetting import read_forgotten
from ...sdk.stores.payloads import give_up_payloads, put_payloads
from ...sdk.stores.retention import attach_month, make_month, month_named, note_restore, payloads_of
from ..recording.chain import LOG_COLUMNS, PAYLOAD_COLUMNS
from .archive import ArchiveBroken, Event, Manifest, Payload, Run, read_lines, verify_archive
from .archived_names import decoded, named_by

ROWS_A_CALL = 500
CONTENTS_A_CALL = 16


async def put_back(pool: Pool, path: Path) -> Manifest:
    """Check an archive and put all of it back. Raises ArchiveBroken, also where the log still has the month; OSError.

    Runs that were deleted since are known again; those that were forgotten since get no payloads, and what only they
    refer to goes with the next sweep of a collector. Retention leaves the month alone from then on.
    """
    manifest = await anyio.to_thread.run_sync(verify_archive, path)
    month = month_named(manifest.month)
    async with pool.acquire() as conn, conn.transaction():
        try:
            await make_month(conn, month)
        except asyncpg.DuplicateTableError as error:
            raise ArchiveBroken(0, f"the log still has {month.name}, or has it again") from error
        events: list[Event] = []
        payloads: list[Payload] = []
        runs: list[str] = []
        run_ids: dict[str, None] = {}
        forgotten = _Forgotten()
        for line in read_lines(path):
            if isinstance(line, Event):
                events.append(line)
                run_ids[line.run_id] = None
            elif isinstance(line, Payload):
                payloads.append(line)
                forgotten.follow(line)
            elif isinstance(line, Run):
                runs.append(bytes(line.row).decode())
            if len(events) >= ROWS_A_CALL:
                await _put_events(conn, month.name, payloads_of(month), await forgotten.without(conn, events))
                events.clear()
            if len(payloads) >= CONTENTS_A_CALL:
                await _put_payloads(conn, payloads)
                payloads.clear()
        await _put_events(conn, month.name, payloads_of(month), await forgotten.without(conn, events))
        await _put_payloads(conn, payloads)
        await attach_month(conn, month)
        await forgotten.give_up(conn)
        await note_restore(conn, month, list(run_ids), runs)
    return manifest


class _Forgotten:
    """What runs that were forgotten have named, in an archive that was written before."""

    def __init__(self) -> None:
        self._named: dict[str, set[bytes]] = defaultdict(set)
        self._inside: dict[tuple[str, bytes], set[bytes]] = {}

    async def without(self, conn: Connection, events: Sequence[Event]) -> list[Event]:
        """Return the events, those of such runs without their payloads."""
        found = await read_forgotten(conn, list({event.run_id for event in events}))
        for event in events:
            if event.run_id in found and event.payload is not None:
                self._named[event.env] |= named_by(event.payload.encode())
        return [msgspec.structs.replace(one, payload=None) if one.run_id in found else one for one in events]

    def follow(self, payload: Payload) -> None:
        """Note what a payload names, where it can be read: what is in one that cannot be waits for the collector."""
        with suppress(PayloadUnreadable):
            if inside := named_by(decoded(payload.content)):
                self._inside[payload.env, bytes.fromhex(payload.digest)] = inside

    async def give_up(self, conn: Connection) -> None:
        """Leave it to the collector, which keeps what others refer to."""
        for env, named in self._named.items():
            waiting, every = list(named), set(named)
            while waiting:
                fresh = self._inside.get((env, waiting.pop()), set()) - every
                every.update(fresh)
                waiting += fresh
            await give_up_payloads(conn, env, sorted(every))


async def _put_events(conn: Connection, log: str, payloads: str, events: Sequence[Event]) -> None:
    rows = [
        (
            event.env,
            event.partition,
            from_ms(event.at_ms),
            event.run_id,
            event.seq,
            event.type,
            event.node,
            event.scope,
            event.attempt,
            event.worker,
            event.facts.encode(),
            None if event.payload_digest is None else bytes.fromhex(event.payload_digest),
            bytes.fromhex(event.prev_hash),
            bytes.fromhex(event.hash),
        )
        for event in events
    ]
    await conn.copy_records_to_table(log, records=rows, columns=LOG_COLUMNS)
    values = [
        (event.env, from_ms(event.at_ms), event.run_id, event.seq, event.payload.encode())
        for event in events
        if event.payload is not None
    ]
    await conn.copy_records_to_table(payloads, records=values, columns=PAYLOAD_COLUMNS)


async def _put_payloads(conn: Connection, payloads: Sequence[Payload]) -> None:
    for env in {payload.env for payload in payloads}:
        contents = {bytes.fromhex(one.digest): one.content for one in payloads if one.env == env}
        await put_payloads(conn, env, contents)
