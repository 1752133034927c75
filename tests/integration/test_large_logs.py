"""A log of years: what a recovery, the recorder and forgetting read of it does not grow with it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from courante.sdk.stores.queries import load_queries
from courante.sdk.stores.runs import unfinished_runs

if TYPE_CHECKING:
    from courante.sdk.stores.connection import Pool

pytestmark = pytest.mark.anyio
RUNS, EVENTS, MONTHS, OPEN = 100_000, 10, 10, 50
FILL = f"""
SELECT make_event_partitions({MONTHS - 1});
INSERT INTO runs (run_id, env, partition, workflow, version, ir_hash, status, trigger, tags, is_halted, created_at,
                  updated_at, finished_at)
SELECT 'run_' || n, 'e', 0, 'w', 1, 'i', CASE WHEN n % ({RUNS} / {OPEN}) = 0 THEN 'RUNNING' ELSE 'COMPLETED' END,
       'initial', '{{}}', false, now(), now(), CASE WHEN n % ({RUNS} / {OPEN}) = 0 THEN NULL ELSE now() END
  FROM generate_series(1, {RUNS}) n;
INSERT INTO event_log (env, partition, run_id, seq, type, at, node, scope, attempt, worker, facts, prev_hash, hash)
SELECT 'e', 0, 'run_' || n, s, 'step.succeeded',
       date_trunc('month', now()) + (n % {MONTHS}) * interval '1 month' + (n * {EVENTS} + s) * interval '1 ms',
       '', '', 0, '', '{{}}', '', ''
  FROM generate_series(1, {RUNS}) n, generate_series(1, {EVENTS}) s;
UPDATE runs SET finished_at = now() - interval '100 days' WHERE run_id LIKE 'run_99%1';
ANALYZE runs; ANALYZE event_log;
"""
PAGES_MAX = 4_000
"""Fifty runs in eleven partitions: three pages of an index for each, and their rows. The index of one has some 600."""


async def test_what_is_read_of_the_log_does_not_grow_with_it(pool: Pool) -> None:
    """F54: of a million events a recovery finds those of the unfinished runs, by index, whichever month they are of; of
    all runs, those that are old enough to be forgotten are found in the same way.
    """
    log, runs, recorder = load_queries("log"), load_queries("runs"), load_queries("recorder")
    forgetting, retention = load_queries("forgetting"), load_queries("retention")
    old = datetime.now(UTC) - timedelta(days=90)
    async with pool.acquire() as conn:
        await conn.execute(FILL, timeout=300)
        assert await conn.fetchval("SELECT count(*) FROM event_log") == RUNS * EVENTS
        open_runs = [run.run_id async for page in unfinished_runs(conn, "e", 0) for run in page]
        assert len(open_runs) == OPEN
        assert await conn.fetchval(retention["count_runs_to_forget"], "e", old, None, []) == 111
        asked: dict[str, tuple[str, list[Any]]] = {
            "unfinished runs": (runs["unfinished_runs"], ["e", 0, "RUNNING", None, None, 1_000]),
            "those that are still open": (runs["open_runs"], ["e", open_runs]),
            "their events": (log["read_events_of_runs"], [open_runs]),
            "their ends": (log["heads"], [open_runs]),
            "why they were halted": (log["read_halts"], [open_runs]),
            "their graphs": (recorder["irs_of_runs"], [open_runs]),
            "runs to forget": (forgetting["runs_to_forget"], ["e", old, None, None, 1_000, []]),
            "how many": (retention["count_runs_to_forget"], ["e", old, None, []]),
        }
        for what, (sql, arguments) in asked.items():
            plan = await conn.fetch(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) {sql}", *arguments)
            text = "\n".join(row[0] for row in plan)
            assert "Seq Scan on event_log_2" not in text, (what, text)
            assert "Seq Scan on runs" not in text, (what, text)
            assert touched(text) < PAGES_MAX, (what, touched(text), text)


def touched(plan: str) -> int:
    """Pages that a statement has looked at; the whole log has about a hundred thousand."""
    line = next(line for line in plan.splitlines() if "Buffers:" in line)
    return sum(int(word.partition("=")[2]) for word in line.split() if word.startswith(("hit=", "read=")))
