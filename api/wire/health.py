"""Health as it travels."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.health.health import Health, Reason, Status
from ...sdk.health.vitals import QueueVitals
from ...sdk.moments import iso_text
from .moments import Moment


class HealthReason(msgspec.Struct, frozen=True, kw_only=True):
    """``subject``: a partition, queue, handler, run or workflow; empty where it is about all."""

    code: str
    severity: Status
    message: str
    hint: str
    subject: str
    since: Moment | None


class RecentEnds(msgspec.Struct, frozen=True, kw_only=True):
    """Of the runs of the last quarter of an hour."""

    ended: int
    failed: int


class PartitionHealth(msgspec.Struct, frozen=True, kw_only=True):
    """``outbox``: entries, of which ``outbox_soft`` may be there.

    ``lag_ms``: the age of the oldest event that is not in the log.
    """

    partition: int
    is_watched: bool
    outbox: int
    outbox_soft: int
    lag_ms: int | None
    standing: str | None


class HealthShown(msgspec.Struct, frozen=True, kw_only=True):
    """What is null a server did not say. Who may not read sees the word alone."""

    status: Status
    reasons: list[HealthReason] | UnsetType = UNSET
    runs: RecentEnds | UnsetType | None = UNSET
    workers: int | UnsetType | None = UNSET
    partitions: list[PartitionHealth] | UnsetType | None = UNSET
    queues: list[QueueVitals] | UnsetType | None = UNSET


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """``ok``: always true; who cannot say so says nothing."""

    ok: bool = True


def health_shown(found: Health) -> HealthShown:
    redis, postgres = found.vitals.redis, found.vitals.postgres
    return HealthShown(
        status=found.status,
        reasons=[_reason(one) for one in found.reasons],
        runs=None if postgres is None else RecentEnds(ended=postgres.ends.ended, failed=postgres.ends.failed),
        workers=None if redis is None else len(redis.workers),
        partitions=None
        if redis is None
        else [
            PartitionHealth(
                partition=one.partition,
                is_watched=one.is_watched,
                outbox=one.outbox,
                outbox_soft=found.limits.outbox_soft,
                lag_ms=one.lag_ms,
                standing=None if one.standing is None else str(one.standing.verdict),
            )
            for one in redis.partitions
        ],
        queues=None if redis is None else list(redis.queues),
    )


def _reason(one: Reason) -> HealthReason:
    return HealthReason(
        code=one.code,
        severity=one.severity,
        message=one.message,
        hint=one.hint,
        subject=one.subject,
        since=None if one.since is None else iso_text(one.since),
    )
