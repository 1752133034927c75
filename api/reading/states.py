"""States: how a run stood after events of its log, made from that alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...replay.state import NoSuchEvent, StateReader
from ...sdk.corrupt import Corrupt
from ...sdk.errors import EventNotFound, IrNotFound, LogCorrupt, WorkflowNotFound
from ...sdk.history.lineage import Lineage, read_lineage
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.log import stream_events
from ...sdk.stores.runs import get_run
from ..aside import aside


async def read_states(conn: Connection, env: str, run_id: str, wanted: Sequence[int | None]) -> list[dict[str, Any]]:
    """Return the state after each of the events, in the order asked for; None: after the last one. Reads the log once.

    Raises UnknownRun, EventNotFound, IrNotFound; LogCorrupt where the log contradicts the rules.
    """
    lineage = await lineage_of(conn, env, run_id)
    reader = StateReader(lineage.first.ir, lineage.irs)
    found: dict[int | None, dict[str, Any]] = {}
    end = None if None in wanted else max(seq for seq in wanted if seq is not None)
    try:
        async for event in stream_events(conn, run_id):
            reader.add(event)
            if event.seq in wanted:
                found[event.seq] = await aside(reader.state)
            if event.seq == end:
                break
        for seq in wanted:
            if seq is not None and seq not in found:
                raise NoSuchEvent(seq, reader.seq)
        last = await aside(reader.state) if None in wanted else {}
        return [last if seq is None else found[seq] for seq in wanted]
    except NoSuchEvent as cause:
        raise EventNotFound(str(cause), hint=f"'courante events {run_id}' lists them") from cause
    except Corrupt as cause:
        raise corrupt(run_id, cause) from cause


def corrupt(run_id: str, cause: Corrupt) -> LogCorrupt:
    hint = f"'courante replay {run_id} --verify' says more"
    return LogCorrupt(f"the log contradicts the rules: {cause}", hint=hint)


async def lineage_of(conn: Connection, env: str, run_id: str) -> Lineage:
    """Raises UnknownRun, IrNotFound."""
    run = await get_run(conn, run_id)
    if run.env != env:
        raise UnknownRun(run_id)
    try:
        return await read_lineage(conn, env, run_id, accepted=run.ir_hash)
    except WorkflowNotFound as cause:
        raise IrNotFound(f"of {run_id}: {cause}") from cause
