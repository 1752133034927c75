"""Contents: all that an environment has in Postgres and Redis, to see that nothing of it has changed."""

from __future__ import annotations

from collections.abc import Collection

from integration.stage import Stage

TABLES = """SELECT c.table_name
              FROM information_schema.columns c JOIN information_schema.tables t USING (table_name)
             WHERE c.table_schema = 'public' AND t.table_type = 'BASE TABLE' AND c.column_name = 'env'"""
DIGEST = "SELECT md5(string_agg(t::text, ',' ORDER BY t::text)) FROM {} t WHERE env = $1"


async def rows(stage: Stage, *, but: Collection[str] = ()) -> dict[str, str | None]:
    """A digest of every table's rows of the environment. but: tables that are left out."""
    async with stage.client.pool.acquire() as conn:
        names = [row[0] for row in await conn.fetch(TABLES) if row[0] not in but]
        return {name: await conn.fetchval(DIGEST.format(name), stage.place.env) for name in names}


async def keys(stage: Stage) -> dict[bytes, object]:
    """Every key of the environment in Redis, with its value."""
    redis, pattern = stage.redis, f"courante:{stage.place.env}:*"
    return {key: await redis.execute_command("DUMP", key) async for key in redis.scan_iter(match=pattern)}
