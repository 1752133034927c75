"""Cached outputs of steps as they travel."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...sdk.client.step_caching import Invalidated
from ...sdk.stores.step_cache import StepCacheStats
from .commands import Word


class CacheTotal(msgspec.Struct, frozen=True, kw_only=True):
    """``entries``: outputs that may be taken now, with their ``bytes``. ``hits``: taken; ``misses``: made and kept.

    ``hit_rate``: null where nobody has looked.
    """

    entries: int
    bytes: int
    hits: int
    misses: int
    hit_rate: float | None


class CachedStep(CacheTotal, frozen=True, kw_only=True):
    workflow: str
    step: str


class CachePage(msgspec.Struct, frozen=True, kw_only=True):
    steps: list[CachedStep]
    total: CacheTotal


class Invalidate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which outputs: of a ``key``, ``<workflow>:<step>:<hash>``; of a workflow, a step, or both; ``all``.

    ``older_than_ms``: only those that were made so long ago. ``dry_run``: only say how many there are.
    """

    key: Word = ""
    workflow: Word = ""
    step: Word = ""
    older_than_ms: int = 0
    all: bool = False
    dry_run: bool = False


class InvalidateDone(msgspec.Struct, frozen=True, kw_only=True):
    """``entries``: at least so many outputs; most are in both places."""

    dry_run: bool
    entries: int
    postgres: int
    redis: int


def cache_page(found: Sequence[StepCacheStats]) -> CachePage:
    entries, size = sum(one.entries for one in found), sum(one.bytes for one in found)
    hits, misses = sum(one.hits for one in found), sum(one.misses for one in found)
    return CachePage(
        steps=[
            CachedStep(
                workflow=one.workflow,
                step=one.step,
                entries=one.entries,
                bytes=one.bytes,
                hits=one.hits,
                misses=one.misses,
                hit_rate=_rate(one.hits, one.misses),
            )
            for one in found
        ],
        total=CacheTotal(entries=entries, bytes=size, hits=hits, misses=misses, hit_rate=_rate(hits, misses)),
    )


def invalidate_done(done: Invalidated, *, is_dry: bool) -> InvalidateDone:
    return InvalidateDone(dry_run=is_dry, entries=done.entries, postgres=done.postgres, redis=done.redis)


def _rate(hits: int, misses: int) -> float | None:
    return round(hits / (hits + misses), 4) if hits + misses else None
