"""A house: a stage with servers of its own, which may be stopped and killed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from chaos.servers import PostgresServer, RedisServer
from courante.sdk.stores.migrate import migrate
from integration.stage import Place, Stage, open_stage


@dataclass
class House:
    redis: RedisServer
    postgres: PostgresServer
    stage: Stage


@asynccontextmanager
async def open_house(folder: Path) -> AsyncGenerator[House]:
    redis, postgres = RedisServer(folder / "redis"), PostgresServer(folder / "postgres")
    await redis.start()
    await postgres.start()
    try:
        conn = await asyncpg.connect(postgres.url())
        await migrate(conn)
        await conn.close()
        async with open_stage(Place(redis.url, postgres.url(), "house")) as stage:
            yield House(redis, postgres, stage)
    finally:
        redis.kill()
        postgres.kill()
