"""What is read of an environment becomes one word, and a reason for each thing that is not well."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from courante.compiler.diagnostics import Severity
from courante.sdk.floor.presence import LiveWorker, Wanted
from courante.sdk.floor.standing import Look, Standing, Verdict
from courante.sdk.health.durability import Problem
from courante.sdk.health.health import SUBJECTS_MAX, Health, Limits, judge_health
from courante.sdk.health.vitals import PartitionVitals, PostgresVitals, QueueVitals, RedisVitals, Vitals
from courante.sdk.stores.alerts import Alert, AlertKind
from courante.sdk.stores.cursors import Cursor
from courante.sdk.stores.pauses import Pause, PauseKind
from courante.sdk.stores.runs import Ends, HaltedRun

AT = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(outbox_soft=100, outbox_hard=200, lag_ms=60_000, queue_age_ms=30_000)
WORKER = LiveWorker(name="w", pid=1, handlers=frozenset(), queues=frozenset({"default", "system"}))
QUEUE = QueueVitals(queue="default", waiting=0, oldest_ms=0, workers=1, is_paused=False)
LOOK = Look(cursor=Cursor(1, 0, "0-0", b""), home=None, incarnation="")


def standing(verdict: Verdict) -> Standing:
    return Standing(verdict=verdict, reason="partition 0: said", look=LOOK)


PARTITION = PartitionVitals(
    partition=0, is_open=True, is_watched=True, outbox=1, lag_ms=0, standing=standing(Verdict.SOUND)
)
REDIS = RedisVitals(
    at_s=0.0,
    problems=(),
    used_bytes=79,
    maxmemory_bytes=100,
    workers=[WORKER],
    partitions=[PARTITION],
    queues=[QUEUE],
)
POSTGRES = PostgresVitals(opened=frozenset({0}))


def judged(**parts: Any) -> Health:
    whole: dict[str, Any] = {"redis": REDIS, "postgres": POSTGRES} | parts
    return judge_health(Vitals(**whole), LIMITS, "env")


def redis(**fields: Any) -> RedisVitals:
    return msgspec.structs.replace(REDIS, **fields)


def partition(**fields: Any) -> RedisVitals:
    return redis(partitions=[msgspec.structs.replace(PARTITION, **fields)])


def queue(**fields: Any) -> RedisVitals:
    return redis(queues=[msgspec.structs.replace(QUEUE, **fields)])


def worker(*handlers: str, queue: str = "default", wanted: tuple[Wanted, ...] = ()) -> LiveWorker:
    return LiveWorker(name="w", pid=1, handlers=frozenset(handlers), queues=frozenset({queue, "system"}), wanted=wanted)


def ended(count: int, failed: int) -> PostgresVitals:
    return msgspec.structs.replace(POSTGRES, ends=Ends(count, failed))


def problem(severity: Severity) -> tuple[Problem, ...]:
    return (Problem(code="p", severity=severity, message="m", hint="h"),)


def test_all_is_well() -> None:
    """Nothing is said where nothing is wrong."""
    found = judged()
    assert (found.status, found.reasons) == ("HEALTHY", ())


@pytest.mark.parametrize(
    ("found", "status", "codes"),
    [
        ({"redis": None, "redis_error": "refused"}, "CRITICAL", ["redis_unreachable"]),
        ({"redis": redis(problems=problem(Severity.ERROR))}, "CRITICAL", ["p"]),
        ({"redis": redis(problems=problem(Severity.WARNING))}, "WARNING", ["p"]),
        ({"redis": redis(used_bytes=80)}, "WARNING", ["redis_memory"]),
        ({"redis": redis(used_bytes=95)}, "CRITICAL", ["redis_memory"]),
        ({"redis": redis(used_bytes=95, maxmemory_bytes=0)}, "HEALTHY", []),
        ({"postgres": None, "postgres_error": "refused"}, "WARNING", ["postgres_unreachable"]),
        (
            {"postgres": None, "redis": partition(outbox=101, lag_ms=None, standing=None)},
            "CRITICAL",
            ["outbox_over_limit", "postgres_unreachable"],
        ),
        (
            {"postgres": None, "redis": partition(is_open=False, lag_ms=None, standing=None)},
            "CRITICAL",
            ["redis_closed", "postgres_unreachable"],
        ),
        ({"postgres": None, "schema_error": "newer"}, "CRITICAL", ["schema_unusable"]),
        ({"postgres": PostgresVitals(missing=("0001_a.sql",))}, "CRITICAL", ["schema_behind"]),
        ({"postgres": PostgresVitals()}, "WARNING", ["nothing_here"]),
        ({"redis": partition(standing=standing(Verdict.LOST))}, "CRITICAL", ["redis_lost_data"]),
        ({"redis": partition(standing=standing(Verdict.BEHIND))}, "CRITICAL", ["postgres_set_back"]),
        ({"redis": partition(standing=standing(Verdict.ELSEWHERE))}, "CRITICAL", ["redis_elsewhere"]),
        ({"redis": partition(standing=standing(Verdict.MOVED))}, "WARNING", ["redis_moved"]),
        ({"redis": partition(is_watched=False)}, "CRITICAL", ["no_supervisor"]),
        ({"redis": partition(outbox=50)}, "HEALTHY", []),
        ({"redis": partition(outbox=51)}, "WARNING", ["outbox_filling"]),
        ({"redis": partition(outbox=100)}, "WARNING", ["outbox_filling"]),
        ({"redis": partition(outbox=101)}, "CRITICAL", ["outbox_over_limit"]),
        ({"redis": partition(outbox=201)}, "CRITICAL", ["outbox_full"]),
        ({"redis": partition(lag_ms=14_999)}, "HEALTHY", []),
        ({"redis": partition(lag_ms=15_000)}, "WARNING", ["recorder_lags"]),
        ({"redis": partition(lag_ms=60_000)}, "CRITICAL", ["recorder_lags"]),
        ({"redis": redis(workers=[])}, "WARNING", ["no_worker"]),
        ({"redis": queue(waiting=1, workers=0)}, "CRITICAL", ["queue_without_worker"]),
        ({"redis": queue(waiting=1, workers=0, is_paused=True)}, "HEALTHY", []),
        ({"redis": queue(waiting=0, workers=0)}, "HEALTHY", []),
        ({"redis": queue(waiting=9, oldest_ms=29_999)}, "HEALTHY", []),
        ({"redis": queue(waiting=9, oldest_ms=30_000)}, "WARNING", ["queue_slow"]),
        ({"postgres": ended(9, 9)}, "HEALTHY", []),
        ({"postgres": ended(1_000, 99)}, "HEALTHY", []),
        ({"postgres": ended(1_000, 100)}, "WARNING", ["runs_failing"]),
        ({"postgres": ended(10, 4)}, "WARNING", ["runs_failing"]),
        ({"postgres": ended(10, 5)}, "CRITICAL", ["runs_failing"]),
    ],
)
def test_what_is_found(found: dict[str, Any], status: str, codes: list[str]) -> None:
    """Each finding has its word; the worst gives that of all, and stands first."""
    health = judged(**found)
    assert (health.status, [reason.code for reason in health.reasons]) == (status, codes)


CHARGE = Wanted("shop.charge", "default", "shop", "charge")
STOCK = Wanted("tool:shop.stock", "default", "shop", "look")


@pytest.mark.parametrize(
    ("workers", "subjects"),
    [
        ([worker(wanted=(CHARGE,))], ["shop.charge"]),
        ([worker(wanted=(CHARGE, STOCK)), worker(wanted=(CHARGE,))], ["shop.charge", "shop.stock"]),
        ([worker(wanted=(CHARGE, STOCK)), worker("shop.charge", "tool:shop.*")], []),
        ([worker(wanted=(CHARGE,)), worker("shop.charge", queue="gpu")], ["shop.charge"]),
        ([worker(wanted=(CHARGE, CHARGE._replace(step="again")))], ["shop.charge"]),
    ],
)
def test_a_handler_that_nobody_has(workers: list[LiveWorker], subjects: list[str]) -> None:
    """Only where none that reads the queue of the step has it; each handler is told once."""
    found = judged(redis=redis(workers=workers)).reasons
    assert [one.subject for one in found] == subjects
    assert {one.code for one in found} <= {"handler_without_worker"}


def test_of_many_handlers_some_are_named() -> None:
    """As of runs."""
    wanted = tuple(CHARGE._replace(handler=f"h{number}") for number in range(25))
    found = judged(redis=redis(workers=[worker(wanted=wanted)]))
    assert (found.status, len(found.reasons)) == ("WARNING", SUBJECTS_MAX + 1)
    assert found.reasons[0].message == "no worker has 'h0', which the step 'charge' of shop waits for"
    assert found.reasons[-1].message == "and 5 handlers more"


def test_what_only_people_can_change() -> None:
    """Stuck and halted runs and pauses are warnings that name what they are about."""
    alert = Alert(kind=AlertKind.RUN_STUCK, subject="run_a", message="still", since=AT)
    unsafe = Alert(kind=AlertKind.REDIS_UNSAFE, subject="redis_evicts", message="looked at itself", since=AT)
    pause = Pause(kind=PauseKind.QUEUE, name="gpu", by="ann", reason="repair", created_at=AT)
    found = judged(
        postgres=PostgresVitals(
            opened=frozenset({0}), alerts=(alert, unsafe), halted=(HaltedRun("run_b", "w", AT),), pauses=(pause,)
        )
    )
    assert found.status == "WARNING"
    assert [(one.code, one.subject, one.since) for one in found.reasons] == [
        ("run_stuck", "run_a", AT),
        ("run_halted", "run_b", AT),
        ("queue_paused", "gpu", AT),
    ]
    assert found.reasons[2].message == "queue 'gpu' is paused by ann: repair"


def test_of_many_some_are_named() -> None:
    """A thousand stuck runs do not drown the rest: so many are named, and one line counts the others."""
    alerts = tuple(
        Alert(kind=AlertKind.RUN_STUCK, subject=f"run_{number}", message="still", since=AT) for number in range(25)
    )
    found = judged(postgres=PostgresVitals(opened=frozenset({0}), alerts=alerts))
    assert len(found.reasons) == SUBJECTS_MAX + 1
    assert found.reasons[-1].message == "and 5 runs more, at least"


def test_the_worst_comes_first() -> None:
    """Whatever the order in which it was found."""
    found = judged(redis=redis(workers=[], partitions=[msgspec.structs.replace(PARTITION, is_watched=False)]))
    assert [one.severity for one in found.reasons] == ["CRITICAL", "WARNING"]
