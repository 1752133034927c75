"""Statistics as they travel."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from ...sdk.moments import iso_text
from ...sdk.stores.statistics import RunSpread, Statistics, StepStatistics
from .moments import Moment

FAILED = ("FAILED", "TIMED_OUT")
"""Who was cancelled has neither succeeded nor failed."""


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Rates are of those that ended by themselves, null where none has. ``seconds``: of those that have ended."""

    total: int
    by_status: dict[str, int]
    success_rate: float | None
    failure_rate: float | None
    seconds: RunSpread | None


class RetryCounts(msgspec.Struct, frozen=True, kw_only=True):
    """``steps``: that had more than one attempt. ``average_attempts``: of all that ran."""

    steps: int
    recovered: int
    exhausted: int
    success_rate: float | None
    average_attempts: float | None


class StatisticsShown(msgspec.Struct, frozen=True, kw_only=True):
    """Of runs accepted since. ``workers``: attempts by worker. ``is_cut``: there was more than is counted or told."""

    since: Moment
    workflow: str | None
    run_id: str | None
    runs: RunCounts
    retries: RetryCounts
    steps: list[StepStatistics]
    workers: dict[str, int]
    is_cut: bool


def statistics_shown(
    found: Statistics, *, since: datetime, workflow: str | None, run_id: str | None
) -> StatisticsShown:
    done, failed = found.by_status.get("COMPLETED", 0), sum(found.by_status.get(one, 0) for one in FAILED)
    runs = RunCounts(
        total=found.runs,
        by_status=found.by_status,
        success_rate=_share(done, done + failed),
        failure_rate=_share(failed, done + failed),
        seconds=found.seconds,
    )
    return StatisticsShown(
        since=iso_text(since),
        workflow=workflow,
        run_id=run_id,
        runs=runs,
        retries=_retries(found.steps),
        steps=list(found.steps),
        workers=found.workers,
        is_cut=found.is_cut,
    )


def _retries(steps: Iterable[StepStatistics]) -> RetryCounts:
    steps = list(steps)
    recovered, exhausted = sum(one.recovered for one in steps), sum(one.exhausted for one in steps)
    ran = sum(one.total - one.skipped - one.cancelled for one in steps)
    return RetryCounts(
        steps=sum(one.retried for one in steps),
        recovered=recovered,
        exhausted=exhausted,
        success_rate=_share(recovered, recovered + exhausted),
        average_attempts=_share(sum(one.attempts for one in steps), ran),
    )


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
