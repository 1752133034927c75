"""The step cache, projected: outputs that the log says are kept, and how often they were taken or made."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from ...sdk.caching.cache_keys import read_key
from ...sdk.caching.cached import CACHE_HIT, RUN_ONLY
from ...sdk.events import Facts
from ...sdk.moments import from_ms
from ...sdk.stores.connection import Connection
from ...sdk.stores.queries import load_queries

TTL_MS_MAX = 100 * 366 * 24 * 3600 * 1000
"""What is longer is for ever; no date may be beyond what Postgres can say."""
_sql = load_queries("step_cache")
_Row = tuple[str, str, str, str, str, int, datetime, datetime, datetime | None]


class CacheRows:
    """Of a batch of events. Nothing is written where nothing has a cache."""

    def __init__(self) -> None:
        self._kept: dict[str, _Row] = {}
        self._hits: Counter[tuple[str, str]] = Counter()
        self._misses: Counter[tuple[str, str]] = Counter()

    def add(self, run_id: str, seq: int, at: datetime, facts: Facts) -> None:
        """Follow an event that names a key. What nobody of ours has written counts nothing."""
        key, data = facts.data.get("cache"), facts.data
        parts = read_key(key) if isinstance(key, str) else None
        if parts is None or not isinstance(key, str):
            return
        step = parts.workflow, parts.step
        if facts.reason == CACHE_HIT:
            self._hits[step] += 1
            return
        self._misses[step] += 1
        made_ms, ttl_ms = data.get("made_ms"), data.get("ttl_ms")
        made_at = from_ms(made_ms) if isinstance(made_ms, int) and 0 <= made_ms < TTL_MS_MAX else at
        expires_at = None
        if isinstance(ttl_ms, int) and 0 < ttl_ms < TTL_MS_MAX:
            expires_at = at + timedelta(milliseconds=ttl_ms)
        scope = RUN_ONLY if data.get("scope") == RUN_ONLY else "global"
        self._kept[key] = (key, scope, *step, run_id, seq, made_at, at, expires_at)

    async def write(self, conn: Connection, env: str) -> None:
        """Keep and count, in the caller's transaction, which has the payloads of the events."""
        if self._kept:
            await conn.execute(_sql["keep_outputs"], env, *map(list, zip(*self._kept.values(), strict=True)))
        if self._hits or self._misses:
            steps = sorted(self._hits.keys() | self._misses.keys())
            counts = [(*step, self._hits[step], self._misses[step]) for step in steps]
            await conn.execute(_sql["count_looks"], env, *map(list, zip(*counts, strict=True)))


async def clear_cache_rows(conn: Connection, env: str) -> None:
    """Forget what the log tells again; the times of invalidations stay."""
    await conn.execute(_sql["clear_outputs"], env)
    await conn.execute(_sql["clear_counts"], env)
