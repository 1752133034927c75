"""Cached outputs in Postgres: what stays when Redis has them no more, how often they were taken, and from when on they
count.

The recorder writes them from the log (``supervisor/recording/cache_rows.py``); nobody else adds any. An invalidation
leaves a floor behind: what was made before is void, also where it is recorded later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from ..caching.cached import Floors, floor_name
from ..moments import from_ms, to_ms
from .connection import Connection
from .queries import load_queries

LOCK_CLASS = 0x434143
"""The first of the two numbers of the advisory lock under which floors are raised; the second is the environment's."""
KEY_FLOORS_MS = 24 * 3600 * 1000
"""How long the floor of a single output is told to workers. What is older is in Redis no more (``HOT_MS_MAX``)."""
KEY_FLOORS_MAX = 1_000
"""How many of them; beyond that the floor of the step is told in their place."""
DELETED_AT_ONCE = 1_000
_sql = load_queries("step_cache")


class ColdOutput(NamedTuple):
    """``output``: JSON bytes, or a reference. ``expires_ms``: 0 for never."""

    run_id: str
    output: bytes
    made_ms: int
    expires_ms: int


class CacheTerms(NamedTuple):
    """Which outputs; what is empty stands for all. ``below_ms``: those that were made before."""

    below_ms: int
    workflow: str = ""
    step: str = ""
    key: str = ""


class StepCacheStats(msgspec.Struct, frozen=True):
    """``entries``: outputs that may be taken now, with their ``bytes``. ``hits``: how often some were taken,
    ``misses``: how often they were made and kept.
    """

    workflow: str
    step: str
    entries: int
    bytes: int
    hits: int
    misses: int


async def get_outputs(conn: Connection, env: str, keys: Iterable[str], now_ms: int) -> dict[str, ColdOutput]:
    """Return by key what is kept and counts at that time."""
    rows = await conn.fetch(_sql["get_outputs"], env, list(keys), from_ms(now_ms))
    return {
        row["key"]: ColdOutput(
            row["run_id"],
            row["output"],
            to_ms(row["made_at"]),
            0 if row["expires_at"] is None else to_ms(row["expires_at"]),
        )
        for row in rows
    }


async def get_floors(conn: Connection, env: str, now_ms: int) -> Floors:
    """Return the floors as workers are told of them."""
    rows = await conn.fetch(_sql["get_floors"], env, from_ms(now_ms - KEY_FLOORS_MS))
    times: dict[str, int] = {}
    of_keys = 0
    for row in rows:
        key = row["key"]
        if key:
            of_keys += 1
            key = key if of_keys <= KEY_FLOORS_MAX else ""
        name = floor_name(row["workflow"], row["node"], key)
        times[name] = max(times.get(name, 0), to_ms(row["below"]))
    return Floors(times)


async def raise_floor(conn: Connection, env: str, terms: CacheTerms, now_ms: int) -> Floors:
    """Make outputs void for ever, in the caller's transaction; return all floors. One at a time raises them."""
    await conn.execute(_sql["lock_floors"], LOCK_CLASS, env)
    below, now = from_ms(terms.below_ms), from_ms(now_ms)
    await conn.execute(_sql["raise_floor"], env, terms.workflow, terms.step, terms.key, below, now)
    return await get_floors(conn, env, now_ms)


async def count_outputs(conn: Connection, env: str, terms: CacheTerms) -> int:
    """Return how many outputs the terms are about."""
    row = await conn.fetchrow(_sql["matching_outputs"], env, *_words(terms))
    return 0 if row is None else int(row["entries"])


async def delete_outputs(conn: Connection, env: str, terms: CacheTerms) -> list[str]:
    """Delete outputs, at most ``DELETED_AT_ONCE``; return their keys."""
    rows = await conn.fetch(_sql["delete_outputs"], env, *_words(terms), DELETED_AT_ONCE)
    return [row["key"] for row in rows]


async def delete_void_outputs(conn: Connection, env: str, now_ms: int) -> int:
    """Delete outputs that are expired or below a floor, at most ``DELETED_AT_ONCE``; return how many."""
    return len(await conn.fetch(_sql["delete_void_outputs"], env, from_ms(now_ms), DELETED_AT_ONCE))


async def read_statistics(
    conn: Connection, env: str, now_ms: int, *, workflow: str = "", step: str = ""
) -> Sequence[StepCacheStats]:
    """Return what is kept and how often it was taken, by workflow and step."""
    rows = await conn.fetch(_sql["statistics"], env, workflow, step, from_ms(now_ms))
    return [StepCacheStats(*row.values()) for row in rows]


def _words(terms: CacheTerms) -> tuple[object, ...]:
    return terms.workflow, terms.step, terms.key, from_ms(terms.below_ms)
