"""Bases: runs that others go on from, read from the log, and the starts that do so put on the floor.

The log of a run that has ended does not change any more, so that whoever applies such a start makes the same of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from redis.asyncio import Redis

from .base_terms import BaseTerms
from .corrupt import Corrupt
from .cuts import Cut, Cutter, Ending, with_input
from .errors import NotRestartable, PayloadUnreadable, WorkflowNotFound
from .given import read_given
from .keys import Keys, PartitionKeys
from .lineage import Lineage, read_lineage
from .payload_terms import PAYLOAD_TERMS
from .payloads import store_payload
from .plan import Plan
from .reruns import AGAIN, read_rerun
from .restart_calls import apply_restart
from .restarting import RestartPlan, restart_plan
from .retried_versions import moved
from .starting import StartWindow, apply_starts
from .stores.commands import StartCommand
from .stores.connection import Connection, Pool
from .stores.errors import LogArchived
from .stores.log import stream_events
from .stores.payloads import Reference, get_payloads, read_reference

BLOBS_AT_ONCE = 16


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


async def read_restart(
    conn: Connection,
    lineage: Lineage,
    run_id: str,
    seq: int,
    terms: BaseTerms | None = None,
    input: bytes | None = None,
    plan: Plan | None = None,
) -> RestartPlan:
    """Return what a run begins with that goes on from another one after ``seq``, in the way that ``terms`` say.

    Without terms what failed later begins anew. input: what takes the place of the base's, where it is not that. plan:
    of the new run, where that has another version (``retried_versions``). Raises NotRestartable, Corrupt. Cost: the
    events of the base run.
    """
    if terms is not None and terms.way == "fork" and terms.given:
        return await read_given(conn, lineage, run_id, seq, terms.given, input)
    if terms is not None and terms.way == "fork":
        cut = await read_cut(conn, lineage, run_id, seq)
        return restart_plan(lineage.at(seq).plan, cut if input is None else with_input(cut, input))
    if terms is not None and terms.way in AGAIN:
        return await read_rerun(conn, lineage, run_id, terms, input)
    if terms is not None and (terms.way != "retry" or plan is None):
        told = f"this version of Courante knows no way {terms.way!r} to go on from a run"
        raise NotRestartable(told, reason="unknown_way", hint="a newer one has asked for it: update the supervisors")
    ending, cut = await read_ending(conn, lineage, run_id), await read_cut(conn, lineage, run_id, seq)
    old = lineage.at(seq).plan
    if terms is None or plan is None:
        return restart_plan(old, cut, ending.failed)
    return restart_plan(plan, moved(run_id, old, plan, cut), ending.failed)


async def apply_all_starts(
    redis: Redis,
    pool: Pool,
    keys: Keys,
    partition: PartitionKeys,
    starts: Sequence[tuple[StartCommand, Plan]],
    *,
    outbox_hard_max: int,
    window: StartWindow,
) -> int:
    """Start runs of one partition, whether they begin at their beginning or go on from others.

    Returns how many were new. Idempotent. Raises Closed, BackPressure, Late, NotRestartable.
    """
    fresh = [start for start in starts if start[0].base_seq is None]
    applied = await apply_starts(redis, keys, partition, fresh, outbox_hard_max=outbox_hard_max, window=window)
    count = sum(applied)
    for command, plan in starts:
        if command.base_seq is None or command.base_run_id is None:
            continue
        own_input = await _own_input(redis, keys, command)
        async with pool.acquire() as conn:
            try:
                lineage = await read_lineage(conn, keys.env, command.base_run_id, [plan])
                base = (command.base_run_id, command.base_seq, command.base_terms)
                restart = await read_restart(conn, lineage, *base, own_input, plan)
            except (LogArchived, WorkflowNotFound) as error:
                raise NotRestartable(str(error), reason="archived") from error
            except (Corrupt, PayloadUnreadable, msgspec.MsgspecError) as error:
                told = f"the log of {command.base_run_id} cannot be followed: {error}"
                raise NotRestartable(told, reason="unreadable") from error
            await bring_payloads(redis, conn, keys, _references(restart))
        count += await apply_restart(
            redis, keys, partition, command, restart, outbox_hard_max=outbox_hard_max, window=window
        )
    return count


async def _own_input(redis: Redis, keys: Keys, command: StartCommand) -> bytes | None:
    """The input that takes the place of the base's, as the run keeps it."""
    if command.base_terms is None or not command.base_terms.has_input:
        return None
    if PAYLOAD_TERMS.keeps_apart(command.input):
        return await store_payload(redis, keys, command.input)
    return command.input


async def bring_payloads(redis: Redis, conn: Connection, keys: Keys, wanted: Sequence[Reference]) -> int:
    """Write the payloads that are referred to and that Redis does not have; return how many. All count as used now.

    Raises NotRestartable where one is not stored any more.
    """
    brought = 0
    for first in range(0, len(wanted), BLOBS_AT_ONCE):
        some = wanted[first : first + BLOBS_AT_ONCE]
        names = [keys.blob(found.digest.hex()) for found in some]
        pipe = redis.pipeline(transaction=False)
        for name in names:
            pipe.execute_command("TOUCH", name)  # pyright: ignore[reportUnusedCoroutine]
        missing = [found for found, is_there in zip(some, await pipe.execute(), strict=True) if not is_there]
        contents = await get_payloads(conn, keys.env, [found.digest for found in missing])
        for found in missing:
            if found.digest not in contents:
                raise NotRestartable(f"the payload {found.digest.hex()} is not stored any more", reason="emptied")
            await redis.set(keys.blob(found.digest.hex()), contents[found.digest])
            brought += 1
    return brought


def _references(restart: RestartPlan) -> list[Reference]:
    payloads = [restart.marking.input, *(payload for _, payload in restart.events if payload is not None)]
    found = {payload: reference for payload in payloads if (reference := read_reference(payload)) is not None}
    return list(found.values())
