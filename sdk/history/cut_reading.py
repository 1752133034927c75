"""Cut reading: a run at one of its events, read from the log."""

from __future__ import annotations

from ..errors import NotRestartable
from ..fold.cuts import Cut, Cutter, Ending
from ..stores.connection import Connection
from ..stores.log import stream_events
from .lineage import Lineage


async def read_ending(conn: Connection, lineage: Lineage, run_id: str) -> Ending:
    """Return how a run came to its end. Raises Corrupt. Cost: its events."""
    ending = Ending(lineage.first.ir, lineage.irs)
    async for event in stream_events(conn, run_id):
        ending.add(event)
    return ending


async def read_cut(conn: Connection, lineage: Lineage, run_id: str, seq: int) -> Cut:
    """Return a run after one of its events. Raises Corrupt. Cost: the events up to there."""
    cutter = Cutter(lineage.first.ir, lineage.irs)
    async for event in stream_events(conn, run_id):
        if event.seq > seq:
            break
        cutter.add(event)
    return cutter.cut()


async def read_whole_cut(conn: Connection, lineage: Lineage, run_id: str, seq: int) -> Cut:
    """Return a run after event ``seq``, or after the last whole transition before it; the first one is always whole.

    Raises NotRestartable where the run has not so many events, Corrupt. Cost: the events up to there, twice where
    that is in the middle of a transition.
    """
    cutter, whole = Cutter(lineage.first.ir, lineage.irs), 0
    last = 0
    async for event in stream_events(conn, run_id):
        if event.seq > seq and whole:
            break
        last = event.seq
        cutter.add(event)
        if cutter.is_whole:
            whole = last
    if last < seq:
        told = f"{run_id} has {last:,} events, and no event {seq:,}"
        raise NotRestartable(told, reason="unknown_event", hint=f"courante events {run_id}")
    return cutter.cut() if whole == last else await read_cut(conn, lineage, run_id, whole)
