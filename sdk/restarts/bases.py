"""Bases: runs that others go on from, read from the log, and the starts that do so put on the floor.

The log of a run that has ended does not change any more, so that whoever applies such a start makes the same of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from anyio.to_thread import run_sync
from redis.asyncio import Redis

from ..base_terms import BaseTerms
from ..corrupt import Corrupt
from ..errors import NotRestartable, PayloadUnreadable, WorkflowNotFound
from ..floor.bringing import bring_payloads
from ..floor.commanding import last_applied
from ..floor.payloads import store_payload
from ..floor.scripts import Late
from ..floor.starting import StartWindow, apply_starts
from ..fold.cuts import Cut, with_input
from ..history.cut_reading import read_cut, read_ending
from ..history.lineage import Lineage, read_lineage
from ..keys import Keys, PartitionKeys
from ..marking.plan import Plan
from ..migration.retried_versions import moved
from ..reenactment.restarting import RestartPlan, restart_plan
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..stores.commands import StartCommand
from ..stores.connection import Connection, Pool
from ..stores.errors import LogArchived
from ..stores.forgetting import read_forgotten
from ..stores.log import find_archive
from ..stores.payloads import Reference, read_reference
from ..stores.runs import is_recorded
from .given import read_given
from .reenacted_retries import read_reenacted
from .reruns import AGAIN, read_rerun
from .restart_calls import apply_restart


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
        return await forked(lineage.at(seq).plan, await read_cut(conn, lineage, run_id, seq), input)
    if terms is not None and terms.way in AGAIN:
        return await read_rerun(conn, lineage, run_id, terms, input)
    if terms is not None and terms.way == "reenact" and plan is not None:
        return (await read_reenacted(conn, lineage, run_id, plan)).restart
    if terms is not None and (terms.way != "retry" or plan is None):
        told = f"this version of Courante knows no way {terms.way!r} to go on from a run"
        raise NotRestartable(told, reason="unknown_way", hint="a newer one has asked for it: update the supervisors")
    ending, cut = await read_ending(conn, lineage, run_id), await read_cut(conn, lineage, run_id, seq)
    old = lineage.at(seq).plan
    if terms is None or plan is None:
        return await run_sync(restart_plan, old, cut, ending.failed)
    return await run_sync(restart_plan, plan, await run_sync(moved, run_id, old, plan, cut), ending.failed)


async def forked(plan: Plan, cut: Cut, input: bytes | None) -> RestartPlan:
    """Return what a fork begins with in which no outputs are given. input: see ``read_restart``.

    Raises NotRestartable.
    """
    return await run_sync(restart_plan, plan, cut if input is None else with_input(cut, input))


async def apply_all_starts(
    redis: Redis,
    pool: Pool,
    keys: Keys,
    partition: PartitionKeys,
    starts: Sequence[tuple[StartCommand, Plan]],
    *,
    outbox_hard_max: int,
    window: StartWindow,
    made: Mapping[str, RestartPlan] | None = None,
) -> int:
    """Start runs of one partition, whether they begin at their beginning or go on from others.

    made: by run, what those begin with of which somebody has read the base already. Returns how many were new.
    Idempotent. Raises Closed, BackPressure, Late, NotRestartable.
    """
    fresh = [start for start in starts if start[0].base_seq is None]
    applied = await apply_starts(redis, keys, partition, fresh, outbox_hard_max=outbox_hard_max, window=window)
    count = sum(applied)
    for command, plan in starts:
        if command.base_seq is None or command.base_run_id is None:
            continue
        if await last_applied(redis, partition, command.run_id):
            continue  # it has begun, and the log is still to say so
        own_input = await _own_input(redis, keys, command)
        async with pool.acquire() as conn:
            restart = (made or {}).get(command.run_id)
            if restart is None or not await _still_is(conn, command, own_input):
                restart = await _read(conn, keys.env, command, plan, own_input)
            await bring_payloads(redis, conn, keys, await run_sync(_references, restart))
            later = await _later(redis, conn, partition, command.run_id, window)
        if later is not None:
            count += await apply_restart(
                redis, keys, partition, command, restart, outbox_hard_max=outbox_hard_max, window=later
            )
    return count


async def _still_is(conn: Connection, command: StartCommand, own_input: bytes | None) -> bool:
    """Whether what somebody has made of the base before the start was committed is what would be made of it now.

    Since then nobody can take the base away. An input that is kept apart has to be told as that.
    """
    assert command.base_run_id is not None
    is_apart = own_input is not None and own_input != command.input
    base = [command.base_run_id]
    return not (is_apart or await read_forgotten(conn, base) or await find_archive(conn, *base))


async def _read(conn: Connection, env: str, command: StartCommand, plan: Plan, own_input: bytes | None) -> RestartPlan:
    """Return what a run begins with, from the log of its base. Raises NotRestartable."""
    assert command.base_run_id is not None
    assert command.base_seq is not None
    try:
        lineage = await read_lineage(conn, env, command.base_run_id, [plan])
        base = (command.base_run_id, command.base_seq, command.base_terms)
        return await read_restart(conn, lineage, *base, own_input, plan)
    except LogArchived as error:
        raise NotRestartable(error.told, reason="archived") from error
    except WorkflowNotFound as error:
        raise NotRestartable(str(error), reason="archived") from error
    except (Corrupt, PayloadUnreadable, msgspec.MsgspecError) as error:
        told = f"the log of {command.base_run_id} cannot be followed: {error}"
        raise NotRestartable(told, reason="unreadable") from error


async def _later(
    redis: Redis, conn: Connection, partition: PartitionKeys, run_id: str, window: StartWindow
) -> StartWindow | None:
    """Return a window that begins now: a large base takes longer to read than the first one is open.

    None where somebody has started the run meanwhile. Raises Late where Redis was recovered since, or is away.
    """
    found = await StartWindow.now(redis, partition)
    if found is None or found.epochs[partition.base] != window.epochs[partition.base]:
        raise Late
    return None if await is_recorded(conn, run_id) else found


async def _own_input(redis: Redis, keys: Keys, command: StartCommand) -> bytes | None:
    """The input that takes the place of the base's, as the run keeps it."""
    if command.base_terms is None or not command.base_terms.has_input:
        return None
    if PAYLOAD_TERMS.keeps_apart(command.input):
        return await store_payload(redis, keys, command.input)
    return command.input


def _references(restart: RestartPlan) -> list[Reference]:
    payloads = [restart.marking.input, *(payload for _, payload in restart.events if payload is not None)]
    found = {payload: reference for payload in payloads if (reference := read_reference(payload)) is not None}
    return list(found.values())
