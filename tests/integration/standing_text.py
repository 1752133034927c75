"""Where a text stands in the stores."""

from __future__ import annotations

from integration.stage import Stage

READ = {
    "string": ("GET", "{}"),
    "list": ("LRANGE", "{}", "0", "-1"),
    "hash": ("HGETALL", "{}"),
    "stream": ("XRANGE", "{}", "-", "+"),
    "zset": ("ZRANGE", "{}", "0", "-1"),
    "set": ("SMEMBERS", "{}"),
}


async def places_of(stage: Stage, text: str) -> list[str]:
    """Return the keys of Redis and the tables of Postgres that hold a text."""
    places: list[str] = []
    async for key in stage.redis.scan_iter(match=f"courante:{stage.place.env}:*"):
        kind = await stage.redis.execute_command("TYPE", key)
        content = await stage.redis.execute_command(*(word.format(key.decode()) for word in READ[kind.decode()]))
        if text in repr(content) or text.encode().hex() in repr(content):
            places.append(key.decode())
    async with stage.client.pool.acquire() as conn:
        tables = await conn.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for (table,) in tables:
            rows = await conn.fetch(f"SELECT t::text AS row FROM {table} t")
            if any(text in row["row"] or text.encode().hex() in row["row"] for row in rows):
                places.append(table)
    return places
