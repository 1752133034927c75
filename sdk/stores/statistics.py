"""Statistics: how runs, steps and retries have gone, counted from the projections."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from .connection import Connection
from .queries import load_queries

_sql = load_queries("statistics")
_OPEN = ("PENDING", "RUNNING", "WAITING", "PAUSED")
RUNS_MAX = 10_000
"""The newest runs that are looked at."""
STEPS_MAX = 500
WORKERS_MAX = 100


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Of durations, s."""

    median: float
    p95: float


class RunSpread(Spread, frozen=True, kw_only=True):
    longest: float


class StepStatistics(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a workflow in all runs. ``total``: by scope, an item of a map each; those that are none of the others
    are open. ``attempts``: of those that ran. ``retried``: had more than one; ``recovered`` have succeeded all the
    same, ``exhausted`` have failed. ``seconds``: of attempts.
    """

    workflow: str
    step: str
    total: int
    succeeded: int
    failed: int
    skipped: int
    cancelled: int
    attempts: int
    retried: int
    recovered: int
    exhausted: int
    seconds: Spread | None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """``is_cut``: there were more than ``RUNS_MAX`` runs, or more steps or workers than are told. ``seconds``: of runs
    that have ended. ``workers``: attempts by worker.
    """

    by_status: dict[str, int]
    seconds: RunSpread | None
    steps: tuple[StepStatistics, ...]
    workers: dict[str, int]
    is_cut: bool

    @property
    def runs(self) -> int:
        return sum(self.by_status.values())


async def read_statistics(
    conn: Connection, env: str, *, since: datetime, workflow: str | None = None, run_id: str | None = None
) -> Statistics:
    """Count the recorded runs that were accepted since. Cost: theirs, at most ``RUNS_MAX``, newest first."""
    about = env, since, workflow, run_id, RUNS_MAX
    by_status = {row["shown"]: int(row["runs"]) for row in await conn.fetch(_sql["count_runs"], *about)}
    spread = await conn.fetchrow(_sql["spread_runs"], *about)
    steps = await conn.fetch(_sql["count_steps"], *about, STEPS_MAX)
    workers = await conn.fetch(_sql["count_workers"], *about, WORKERS_MAX)
    seconds = None
    if spread is not None and spread["some"] is not None:
        median, p95 = map(float, spread["some"])
        seconds = RunSpread(median=median, p95=p95, longest=float(spread["longest"]))
    is_cut = sum(by_status.values()) >= RUNS_MAX or len(steps) >= STEPS_MAX or len(workers) >= WORKERS_MAX
    return Statistics(
        by_status=by_status,
        seconds=seconds,
        steps=tuple(_step(dict(row)) for row in steps),
        workers={row["worker"]: int(row["attempts"]) for row in workers},
        is_cut=is_cut,
    )


def _step(row: dict[str, Any]) -> StepStatistics:
    ms = row.pop("ms")
    seconds = None if ms is None else Spread(median=float(ms[0]) / 1000, p95=float(ms[1]) / 1000)
    return StepStatistics(step=row.pop("node"), total=row.pop("steps"), seconds=seconds, **row)


async def workflows_of(conn: Connection, env: str, run_ids: Iterable[str]) -> dict[str, tuple[str, datetime]]:
    """Return the workflow of each recorded run, and when it began."""
    rows = await conn.fetch(_sql["workflows_of"], env, list(run_ids))
    return {row["run_id"]: (row["workflow"], row["began_at"]) for row in rows}


async def count_open(conn: Connection, env: str) -> tuple[dict[str, int], int]:
    """Return how many runs have not ended, by their status, and how many dead letters are open."""
    found = {row["shown"]: int(row["runs"]) for row in await conn.fetch(_sql["count_open_runs"], env)}
    dead = int(await conn.fetchval(_sql["count_open_dead_letters"], env))
    return {status: found.get(status, 0) for status in _OPEN}, dead
