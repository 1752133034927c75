"""Projections, made again from the log."""

from __future__ import annotations

import msgspec

from ...sdk.events import Facts
from ...sdk.stores.connection import Connection
from ...sdk.stores.forgetting import empty_errors
from ...sdk.stores.queries import load_queries
from .cache_rows import clear_cache_rows
from .dead_letters import close_dead_letters
from .projections import COMMAND_IGNORED, OpenExecutions, Projection

REBUILD_EVENTS = 5_000
"""Events folded between two writes while projections are rebuilt."""

_sql = load_queries("projections")
_log_sql = load_queries("log")
_facts = msgspec.json.Decoder(Facts)


async def rebuild_projections(conn: Connection, env: str) -> int:
    """Make the projections of an environment again from its log; return the number of events read.

    One transaction, during which the recorders of the environment wait. Linear in the log.
    """
    count = written = 0
    async with conn.transaction():
        await conn.execute(_sql["lock_cursors"], env)
        await conn.execute(_sql["clear_executions"], env)
        await conn.execute(_sql["clear_runs"], env)
        await clear_cache_rows(conn, env)
        projection, known = Projection(env, is_new=False), OpenExecutions()
        async for row in conn.cursor(_log_sql["read_facts_of_env"], env, prefetch=1_000):
            facts = _facts.decode(row["facts"])
            place = (row["partition"], row["run_id"], row["seq"], row["at"])
            if count - written >= REBUILD_EVENTS and facts.type != COMMAND_IGNORED:
                await projection.write(conn, known)
                known.update(projection)
                projection, written = Projection(env, is_new=False), count
            projection.add(*place, facts, row["has_payload"], row["hash"])
            count += 1
        await projection.write(conn, known)
        await close_dead_letters(conn, env)
        await empty_errors(conn, env)
    return count
