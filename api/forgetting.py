"""Forgetting: runs that are named, or that ended before a time, are emptied for good; for the API and for commands."""

from __future__ import annotations

from ..sdk.client.client import Client
from ..sdk.errors import InputInvalid
from ..sdk.stores.forgetting import read_forgotten, relatives_of, runs_to_forget
from ..supervisor.retention.forgetting import Forgetting
from .wire.forgetting import ForgetDone, ForgetMany, forget_done


async def forget_runs(client: Client, asked: ForgetMany, by: str | None) -> ForgetDone:
    """Do it, or only look. Idempotent: asked again, what was cut short is done.

    Raises InputInvalid where it is not said which; UnknownRun and NotEnded before anything is done.
    """
    if bool(asked.runs) == (asked.before is not None) or (asked.runs and (asked.workflow or asked.tag)):
        raise InputInvalid("wanted either runs, or before and what narrows it")
    async with client.pool.acquire() as conn:
        run_ids = asked.runs
        if asked.before is not None:
            run_ids = await runs_to_forget(
                conn, client.keys.env, asked.before, workflow=asked.workflow, tag=asked.tag, limit=asked.limit
            )
        known = await read_forgotten(conn, run_ids)
    forgetting = Forgetting(client.redis, client.pool, client.keys, partitions=client.partitions)
    if asked.dry_run:
        done = await forgetting.preview(run_ids)
    else:
        done = await forgetting.forget(run_ids, by=by, reason=asked.reason)
    async with client.pool.acquire() as conn:
        relatives = await relatives_of(conn, list(done.run_ids))
    return forget_done(done, asked, by, relatives=relatives, before=known.values())
