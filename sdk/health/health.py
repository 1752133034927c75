"""Health: one word about an environment, and why. Pure: what was read (``vitals``) is held against limits.

CRITICAL: work stands still or mostly fails, or what was promised is not kept. WARNING: somebody should look before it
does, or what stands still does so because a person wants it. While Postgres is away workers go on and Redis keeps what
they did, so that is a WARNING until the outbox is over its soft limit; where the supervisors are gone too, it is
CRITICAL at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from enum import StrEnum

import msgspec

from ...compiler.diagnostics import Severity
from ..authoring.tools import named_handler, shown_handler
from ..floor.presence import wanted_by_nobody
from ..floor.scripts import OUTBOX_HARD_MAX, OUTBOX_SOFT_MAX
from ..floor.standing import BEHIND_HINT, Verdict
from ..settings import HEALTH_FAILING_CRITICAL, HEALTH_FAILING_WARNING, HEALTH_LAG_MS, HEALTH_QUEUE_AGE_MS, Settings
from ..stores.alerts import AlertKind
from .durability import Problem
from .vitals import ENDS_S, PartitionVitals, PostgresVitals, QueueVitals, RedisVitals, Vitals

SUBJECTS_MAX = 20
"""Of one code: so many are named, the others counted."""
ENDS_MIN = 10
"""Of fewer runs that have ended no share is told."""
MEMORY_WARNING = 0.8
MEMORY_CRITICAL = 0.95
_START_HINT = "'courante supervisor' starts one; 'courante up' starts everything"


class Status(StrEnum):
    """In this order: the worst reason gives the word."""

    HEALTHY = "HEALTHY"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """One finding. ``code``: stable. ``subject``: a partition, queue, handler, run or workflow; empty where it is about
    all.
    """

    code: str
    severity: Status
    message: str
    hint: str = ""
    subject: str = ""
    since: datetime | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Outbox: entries of one partition. ``lag_ms``, ``queue_age_ms``, ``failing_*``, in per cent: see ``settings``."""

    outbox_soft: int = OUTBOX_SOFT_MAX
    outbox_hard: int = OUTBOX_HARD_MAX
    lag_ms: int = HEALTH_LAG_MS
    queue_age_ms: int = HEALTH_QUEUE_AGE_MS
    failing_warning: int = HEALTH_FAILING_WARNING
    failing_critical: int = HEALTH_FAILING_CRITICAL


DEFAULT_LIMITS = Limits()


def limits_of(settings: Settings) -> Limits:
    """Return those that the settings name."""
    return Limits(
        outbox_soft=settings.outbox_entries_soft,
        outbox_hard=settings.outbox_entries_hard,
        lag_ms=settings.health_lag_ms,
        queue_age_ms=settings.health_queue_age_ms,
        failing_warning=settings.health_failing_warning,
        failing_critical=settings.health_failing_critical,
    )


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """``reasons``: CRITICAL ones first; none where all is well."""

    status: Status
    reasons: tuple[Reason, ...]
    vitals: Vitals
    limits: Limits


def judge_health(vitals: Vitals, limits: Limits, env: str) -> Health:
    """Say how an environment is."""
    order = list(Status)
    reasons = sorted(_reasons(vitals, limits, env), key=lambda reason: -order.index(reason.severity))
    status = reasons[0].severity if reasons else Status.HEALTHY
    return Health(status=status, reasons=tuple(reasons), vitals=vitals, limits=limits)


def _reasons(vitals: Vitals, limits: Limits, env: str) -> Iterator[Reason]:
    redis, postgres = vitals.redis, vitals.postgres
    if redis is None:
        message = f"Redis cannot be used: {vitals.redis_error}"
        yield _critical("redis_unreachable", message, "workers and supervisors wait for it, and go on by themselves")
    else:
        yield from _of_problems(redis.problems)
        yield from _of_memory(redis)
    if vitals.schema_error:
        yield _critical("schema_unusable", vitals.schema_error, "is this the right database, and the right version?")
    elif postgres is None:
        message = f"Postgres cannot be used: {vitals.postgres_error}"
        yield _warning("postgres_unreachable", message, "runs go on until the outbox is full; none can be started")
    else:
        yield from _of_problems(postgres.problems)
        if postgres.missing:
            message = f"{len(postgres.missing)} migrations are still to be applied: {', '.join(postgres.missing)}"
            yield _critical("schema_behind", message, "run 'courante migrate'")
            return
        yield from _of_people(postgres)
        yield from _of_ends(postgres, limits)
    if redis is None:
        return
    if postgres is not None and not postgres.opened:
        message = f"nothing has ever been done in the environment {env!r}"
        yield _warning("nothing_here", message, "is --env right? 'courante up' starts everything")
        return
    for partition in redis.partitions:
        yield from _of_partition(partition, limits, is_known=postgres is None or partition.partition in postgres.opened)
    yield from _of_workers(redis, limits)


def _of_problems(problems: tuple[Problem, ...]) -> Iterator[Reason]:
    for one in problems:
        make = _critical if one.severity is Severity.ERROR else _warning
        yield make(one.code, one.message, one.hint)


def _of_memory(redis: RedisVitals) -> Iterator[Reason]:
    if not redis.maxmemory_bytes:
        return
    share = redis.used_bytes / redis.maxmemory_bytes
    if share < MEMORY_WARNING:
        return
    make = _critical if share >= MEMORY_CRITICAL else _warning
    message = f"Redis uses {share:.0%} of its maxmemory; when it is full, nothing new can be written"
    yield make("redis_memory", message, "give it more, or let runs end before more are started")


def _of_partition(found: PartitionVitals, limits: Limits, *, is_known: bool) -> Iterator[Reason]:
    subject = str(found.partition)
    where = f"partition {subject}"
    standing = found.standing
    if standing is not None:
        rebuilds = "a supervisor rebuilds what is missing; 'courante recover' does it by hand"
        match standing.verdict:
            case Verdict.LOST:
                yield _critical("redis_lost_data", standing.reason, rebuilds, subject)
            case Verdict.BEHIND:
                yield _critical("postgres_set_back", standing.reason, BEHIND_HINT, subject)
            case Verdict.ELSEWHERE:
                yield _critical("redis_elsewhere", standing.reason, "is this the right Redis?", subject)
            case Verdict.MOVED:
                yield _warning("redis_moved", standing.reason, "a supervisor takes note of it", subject)
            case Verdict.SOUND:
                pass
    elif not found.is_open and is_known:
        message = f"{where}: Redis has no epoch, and Postgres cannot be asked: nothing is handed out"
        yield _critical("redis_closed", message, "", subject)
    if not found.is_watched:
        message = f"{where}: no supervisor lives: nothing is recorded, timers do not fire, and no run ends"
        yield _critical("no_supervisor", message, _START_HINT, subject)
    yield from _of_outbox(found, limits, where)


def _of_outbox(found: PartitionVitals, limits: Limits, where: str) -> Iterator[Reason]:
    subject, length = str(found.partition), f"{where}: {found.outbox:,} entries of the outbox are not yet let go"
    hint = "can the supervisors write to Postgres, and do they keep up?"
    if found.outbox > limits.outbox_hard:
        message = f"{length}, over the hard limit of {limits.outbox_hard:,}: nothing is written any more"
        yield _critical("outbox_full", message, hint, subject)
    elif found.outbox > limits.outbox_soft:
        message = f"{length}, over the soft limit of {limits.outbox_soft:,}: no step is handed out"
        yield _critical("outbox_over_limit", message, hint, subject)
    elif 2 * found.outbox > limits.outbox_soft:
        message = f"{length}; from {limits.outbox_soft:,} on no step is handed out"
        yield _warning("outbox_filling", message, hint, subject)
    lag_ms = found.lag_ms or 0
    if 4 * lag_ms >= limits.lag_ms:
        make = _critical if lag_ms >= limits.lag_ms else _warning
        message = f"{where}: the log is {lag_ms / 1000:.0f} s behind Redis"
        yield make("recorder_lags", message, hint, subject)


def _of_workers(redis: RedisVitals, limits: Limits) -> Iterator[Reason]:
    if not redis.workers:
        yield _warning("no_worker", "no worker lives: no step is done", "'courante worker' starts one")
    for queue in redis.queues:
        yield from _of_queue(queue, limits)
    wanted = wanted_by_nobody(redis.workers)
    for one in wanted[:SUBJECTS_MAX]:
        message = f"no worker has {shown_handler(one.handler)}, which the step {one.step!r} of {one.workflow} waits for"
        hint = f"'courante worker --app MODULE --queues {one.queue}' starts one that has what MODULE registers"
        yield _warning("handler_without_worker", message, hint, named_handler(one.handler))
    if len(wanted) > SUBJECTS_MAX:
        yield _warning("handler_without_worker", f"and {len(wanted) - SUBJECTS_MAX} handlers more")


def _of_queue(queue: QueueVitals, limits: Limits) -> Iterator[Reason]:
    if not queue.waiting or queue.is_paused:
        return
    waiting = f"{queue.waiting:,} {'step waits' if queue.waiting == 1 else 'steps wait'} in the queue {queue.queue!r}"
    if not queue.workers:
        hint = f"'courante worker --queues {queue.queue}' starts a worker that reads it"
        yield _critical("queue_without_worker", f"{waiting}, which no worker reads", hint, queue.queue)
    elif queue.oldest_ms >= limits.queue_age_ms:
        message = f"{waiting}, the first of them for {queue.oldest_ms / 1000:.0f} s"
        yield _warning("queue_slow", message, "are there enough workers?", queue.queue)


def _of_people(postgres: PostgresVitals) -> Iterator[Reason]:
    """What only a person can change, and what a person has wanted."""
    stuck = [alert for alert in postgres.alerts if alert.kind is AlertKind.RUN_STUCK]
    for alert in stuck[:SUBJECTS_MAX]:
        hint = f"is a worker with its handler and queue running? 'courante status {alert.subject}'"
        yield _warning("run_stuck", alert.message, hint, alert.subject, alert.since)
    for run in postgres.halted[:SUBJECTS_MAX]:
        message = f"run {run.run_id} of {run.workflow} is halted: its state or its log contradicts itself"
        hint = f"'courante replay {run.run_id} --verify' says where"
        yield _warning("run_halted", message, hint, run.run_id, run.since)
    for what, count in (("run_stuck", len(stuck)), ("run_halted", len(postgres.halted))):
        if count > SUBJECTS_MAX:
            yield _warning(what, f"and {count - SUBJECTS_MAX} runs more, at least")
    for pause in postgres.pauses:
        by = f" by {pause.by}" if pause.by else ""
        why = f": {pause.reason}" if pause.reason else ""
        message = f"{pause.kind} {pause.name!r} is paused{by}{why}"
        hint = f"'courante resume --{pause.kind} {pause.name}' lets it go on"
        yield _warning(f"{pause.kind}_paused", message, hint, pause.name, pause.created_at)


def _of_ends(postgres: PostgresVitals, limits: Limits) -> Iterator[Reason]:
    ended, failed = postgres.ends
    share = 100 * failed / max(1, ended)
    if ended < ENDS_MIN or share < limits.failing_warning:
        return
    make = _critical if share >= limits.failing_critical else _warning
    message = f"of {ended:,} runs that began in the last {ENDS_S // 60} minutes and have ended, {failed:,} failed"
    yield make("runs_failing", message, "'courante dlq list' says where; 'courante runs --status FAILED' which")


def _critical(code: str, message: str, hint: str = "", subject: str = "", since: datetime | None = None) -> Reason:
    return Reason(code=code, severity=Status.CRITICAL, message=message, hint=hint, subject=subject, since=since)


def _warning(code: str, message: str, hint: str = "", subject: str = "", since: datetime | None = None) -> Reason:
    return Reason(code=code, severity=Status.WARNING, message=message, hint=hint, subject=subject, since=since)
