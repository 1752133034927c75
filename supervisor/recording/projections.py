"""Projections: what the log says about runs and executions, folded into rows that people ask for.

``Projection.add`` folds events in memory, ``write`` brings a whole batch to Postgres in a few set-based statements:
a run that began and ended in one batch is one row of a COPY. Rows depend on the log alone, so they can be made again.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

import msgspec

from ...sdk.caching.cached import CACHE_HIT
from ...sdk.events import ErrorInfo, Facts
from ...sdk.fold.fold_ends import FINAL
from ...sdk.fold.migrated import MIGRATED, ir_told
from ...sdk.moments import from_ms
from ...sdk.outcomes.subflows import CHILD
from ...sdk.slices import uncut
from ...sdk.spending.spent import SPENT
from ...sdk.stores import copy_format
from ...sdk.stores.connection import Connection
from ...sdk.stores.queries import load_queries
from ...sdk.stores.webhooks import RunNews, tell_of_runs
from .cache_rows import CacheRows
from .child_rows import ChildRows
from .dead_letters import DeadLetterRows
from .entries import QUARANTINED
from .news import news_of
from .rows import (
    DUE,
    ERROR,
    EXECUTION_COLUMNS,
    FINISHED,
    GOES_ON,
    MS,
    OUTPUT,
    REASON,
    RUN_COLUMNS,
    STARTED,
    STATUS,
    UPDATED,
    WORKER,
    Execution,
    RunChange,
    changed_row,
    ended_row,
    execution_row,
    run_row,
)
from .spending_rows import SpendingRows

_sql = load_queries("projections")
_encode = msgspec.json.Encoder().encode


COMMAND_IGNORED = "command.ignored"
_COMMAND_STATUS = {"pause": "PAUSED", "resume": GOES_ON}
EXECUTIONS_KEY = "node_executions_pkey"
OPEN_MAX = 500_000
COUNTED = frozenset({"run.started", "step.succeeded", "step.failed", "step.retried", "step.skipped", *FINAL})
"""Of events that the supervisor's meter counts, besides those that tell what was spent."""
Told = list[tuple[str, datetime, Facts]]
ExecutionKey = tuple[str, str, str, int]
OPEN = frozenset({"READY", "RUNNING", "WAITING", "RETRYING"})
PARKED = frozenset({"WAITING", "RETRYING"})


class OpenExecutions:
    """Executions that have a row and no end: what comes next for them is an update, anything else is a new row.

    Only a guess that saves time: after a restart it is empty, and the key of the table tells.
    """

    def __init__(self) -> None:
        self._keys: dict[ExecutionKey, None] = {}

    def __contains__(self, key: ExecutionKey) -> bool:
        return key in self._keys

    def update(self, projection: Projection) -> None:
        """Follow a batch that was committed."""
        for key, row in projection.executions.items():
            if row[STATUS] in OPEN:
                self._keys[key] = None
            else:
                self._keys.pop(key, None)
        while len(self._keys) > OPEN_MAX:
            del self._keys[next(iter(self._keys))]


class Projection:
    """The rows that a batch of events makes. Events come in order of their sequence per run.

    told: takes those that are counted, where somebody counts. is_new: nobody was told of them yet.
    """

    def __init__(self, env: str, told: Told | None = None, *, is_new: bool = True) -> None:
        self.env = env
        self._news: list[RunNews] | None = [] if is_new else None
        self.told = told
        self.ended: list[str] = []
        self._runs: dict[str, RunChange] = {}
        self.executions: dict[ExecutionKey, Execution] = {}
        self._waiting: dict[tuple[str, str, str], Execution] = {}
        self._due: list[tuple[str, str, str, datetime]] = []
        self._gone: list[tuple[str, str, str, str, datetime]] = []
        self._released: list[tuple[str, str, str, datetime]] = []
        self._escalated: list[tuple[str, str, str, datetime]] = []
        self._dead = DeadLetterRows()
        self._children = ChildRows(env)
        self._spending = SpendingRows()
        self._cache = CacheRows()
        self._handlers: dict[str, Callable[[str, int, datetime, Facts, bool], None]] = {
            "run.started": self._run_started,
            "run.entered": self._run_entered,
            "run.draining": self._run_draining,
            "run.swept": self._run_swept,
            "command.applied": self._command_applied,
            COMMAND_IGNORED: self._command_ignored,
            MIGRATED: self._run_migrated,
            "run.halted": self._run_halted,
            "run.rebuilt": self._run_rebuilt,
            QUARANTINED: self._run_halted,
            "step.started": self._step_started,
            "step.succeeded": self._step_succeeded,
            "step.failed": self._step_failed,
            "step.retried": self._step_retried,
            "step.skipped": self._step_skipped,
            "step.reused": self._step_reused,
            "step.waiting": self._step_waiting,
            "timer.set": self._timer_set,
            "path.died": self._step_skipped,
            "token.dropped": self._token_gone,
            "token.withdrawn": self._token_gone,
            "step.withdrawn": self._token_gone,
            "timer.released": self._step_released,
            "token.released": self._step_released,
            "token.forced": self._step_released,
            "mutex.granted": self._step_released,
            "slot.granted": self._step_released,
            "budget.granted": self._step_released,
            "budget.refused": self._step_released,
            "approval.escalated": self._approval_escalated,
        }

    def types(self) -> frozenset[str]:
        """The types of events that change a row, but for the final ones."""
        return frozenset(self._handlers)

    def add(
        self, partition: int, run_id: str, seq: int, at: datetime, facts: Facts, has_payload: bool, hash_: bytes
    ) -> None:
        """Fold one event. hash_: of its row."""
        kind = facts.type
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(run_id, seq, at, facts, has_payload)
        elif kind in FINAL:
            self._run_ended(run_id, seq, at, facts, has_payload, hash_)
        if SPENT in facts.data:
            self._spending.add(run_id, facts)
        if "cache" in facts.data and kind == "step.succeeded":
            self._cache.add(run_id, seq, at, facts)
        if self.told is not None and (kind in COUNTED or SPENT in facts.data):
            self.told.append((run_id, at, facts))
        if self._news is not None and (news := news_of(run_id, seq, at, facts)):
            self._news.append(news)
        if seq == 1:
            run = self._run(run_id, at)
            run.is_new, run.partition = True, partition

    @property
    def wants_children(self) -> bool:
        """Whether steps have asked for runs of their own."""
        return bool(self._children)

    @property
    def has_moved(self) -> bool:
        """Whether runs have ended, or tokens stopped to wait: perhaps a child run, or what waits for one."""
        return bool(self.ended or self._gone or self._released)

    async def write(self, conn: Connection, known: OpenExecutions | None) -> None:
        """Bring everything to Postgres, in the caller's transaction. At most sixteen statements.

        known: what has a row already; None where that cannot be said, which is slower and always right. Raises
        asyncpg.UniqueViolationError where a run that begins here has a row, or an execution that ``known`` misses.
        """
        new, changed, ended = bytearray(), list[tuple[object, ...]](), list[tuple[object, ...]]()
        for run_id, run in self._runs.items():
            if run.is_new:
                new += run_row(self.env, run_id, run)
            elif run.has_only_ended():
                ended.append(ended_row(run_id, run))
            else:
                changed.append(changed_row(run_id, run))
        if new:
            await copy_format.copy_rows(conn, "runs", RUN_COLUMNS, new)
        if changed:
            await conn.execute(_sql["update_runs"], *map(list, zip(*changed, strict=True)))
        if ended:
            await conn.execute(_sql["end_runs"], *map(list, zip(*ended, strict=True)))
        if self._due:  # of rows that an earlier batch left waiting, so before this one changes them
            await conn.execute(_sql["set_due"], *map(list, zip(*self._due, strict=True)))
        if self._released:
            await conn.execute(_sql["release_executions"], *map(list, zip(*self._released, strict=True)))
        fresh, old = await uncut(len(self.executions), partial(self._written, known))
        if fresh:
            await copy_format.copy_rows(conn, "node_executions", EXECUTION_COLUMNS, fresh)
        if old:
            await conn.execute(_sql["upsert_executions"], *map(list, zip(*old, strict=True)))
        if self._escalated:
            await conn.execute(_sql["escalate_executions"], *map(list, zip(*self._escalated, strict=True)))
        if self._gone:
            await conn.execute(_sql["cancel_executions"], *map(list, zip(*self._gone, strict=True)))
        await self._dead.write(conn, self.env)
        await self._children.write(conn)
        await self._spending.write(conn, self.env)
        await tell_of_runs(conn, self.env, self._news or [])
        await self._cache.write(conn, self.env)

    def _written(self, known: OpenExecutions | None) -> tuple[bytearray, list[Execution]]:
        """Return the rows of new executions for a COPY, and those that may have one."""
        fresh, old = bytearray(), list[Execution]()
        for key, row in self.executions.items():
            if known is None or key in known:
                old.append(row)
            else:
                fresh += execution_row(row)
        return fresh, old

    def _run(self, run_id: str, at: datetime) -> RunChange:
        run = self._runs.get(run_id)
        if run is None:
            run = self._runs[run_id] = RunChange(at)
        run.updated_at = at
        return run

    def _execution(self, run_id: str, at: datetime, facts: Facts, status: str) -> Execution:
        key = (run_id, facts.node, facts.scope, facts.attempt)
        row = self.executions.get(key)
        if row is None:
            worker = facts.worker or None
            row = [*key, status, facts.reason or None, worker, None, None, None, at, None, None, None, self.env]
            self.executions[key] = row
            return row
        row[STATUS] = status
        row[UPDATED] = at
        row[REASON] = facts.reason or None
        if facts.worker:
            row[WORKER] = facts.worker
        return row

    def _run_started(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        run = self._run(run_id, at)
        run.started = facts.data
        run.created_at = at
        if facts.data.get("held"):
            run.status = "PENDING"
        else:
            run.status = "RUNNING"
            run.started_at = at

    def _run_entered(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        run = self._run(run_id, at)
        run.status = "RUNNING"
        run.drain_reason = run.drain_reason or facts.reason or None
        run.started_at = run.started_at or at

    def _run_draining(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        """Also the end of a pause."""
        run = self._run(run_id, at)
        run.drain_reason = run.drain_reason or facts.reason or "unknown"
        run.status = GOES_ON

    def _run_swept(self, run_id: str, _seq: int, at: datetime, _facts: Facts, _has_payload: bool) -> None:
        run = self._run(run_id, at)
        run.drain_reason = run.drain_reason or "failed"  # every other drain has said why before

    def _command_applied(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        run = self._run(run_id, at)
        number = facts.data.get("number")
        run.last_command = number if isinstance(number, int) else 0
        run.before_command = run.status
        run.status = _COMMAND_STATUS.get(str(facts.data.get("type")), run.status)

    def _command_ignored(self, run_id: str, _seq: int, at: datetime, _facts: Facts, _has_payload: bool) -> None:
        """It follows its command at once, in the same transition and so in the same batch."""
        run = self._run(run_id, at)
        run.status = run.before_command

    def _run_migrated(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        run, version = self._run(run_id, at), facts.data.get("version")
        run.ir_hash = ir_told(facts)
        run.version = version if isinstance(version, int) else 0

    def _run_halted(self, run_id: str, seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        run = self._run(run_id, at)
        run.is_halted = True
        kind = "QUARANTINED" if facts.type == QUARANTINED else "CORRUPT"
        run.error = _json(ErrorInfo(type=kind, message=f"event {seq}: {facts.reason}"))

    def _run_rebuilt(self, run_id: str, _seq: int, at: datetime, _facts: Facts, _has_payload: bool) -> None:
        run = self._run(run_id, at)
        run.is_halted, run.error = False, None

    def _run_ended(self, run_id: str, seq: int, at: datetime, facts: Facts, has_payload: bool, hash_: bytes) -> None:
        run = self._run(run_id, at)
        run.status = FINAL[facts.type]
        run.finished_at = at
        run.last_seq = seq
        run.last_hash = hash_
        if has_payload:
            run.output_seq = seq
        if facts.error is not None:
            run.error = _json(facts.error)
        self.ended.append(run_id)

    def _step_started(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        row = self._execution(run_id, at, facts, "RUNNING")
        row[STARTED] = row[STARTED] or at

    def _step_succeeded(self, run_id: str, seq: int, at: datetime, facts: Facts, has_payload: bool) -> None:
        row = self._execution(run_id, at, facts, "SKIPPED" if facts.reason == CACHE_HIT else "SUCCEEDED")
        if has_payload:
            row[OUTPUT] = seq
        self._finish(row, at, facts.ms)

    def _step_failed(self, run_id: str, seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        row = self._attempt_failed(run_id, at, facts)
        self._dead.add(run_id, seq, at, facts, row[ERROR])

    def _attempt_failed(self, run_id: str, at: datetime, facts: Facts) -> Execution:
        row = self._execution(run_id, at, facts, "FAILED")
        if facts.error is not None:
            row[ERROR] = _json(facts.error)
        self._finish(row, at, facts.ms)
        return row

    def _finish(self, row: Execution, at: datetime, ms: int) -> None:
        row[FINISHED] = at
        row[MS] = ms
        row[STARTED] = row[STARTED] or (at - timedelta(milliseconds=ms) if ms else at)

    def _step_retried(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        """The attempt has failed; the next one waits for its time."""
        self._attempt_failed(run_id, at, facts)
        following = msgspec.structs.replace(facts, attempt=facts.attempt + 1, worker="", error=None, ms=0)
        row = self._execution(run_id, at, following, "RETRYING")
        self._waiting[run_id, facts.node, facts.scope] = row

    def _step_skipped(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        self._execution(run_id, at, facts, "SKIPPED")[FINISHED] = at

    def _step_reused(self, run_id: str, seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        """It was settled in the run that this one continues: skipped, with its output."""
        row = self._execution(run_id, at, facts, "SKIPPED")
        row[FINISHED] = at
        row[OUTPUT] = seq if facts.data.get("status") == "SUCCEEDED" else None

    def _step_waiting(self, run_id: str, seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        if facts.reason == CHILD:
            self._children.add(run_id, seq, at, facts)
        row = self._execution(run_id, at, facts, "WAITING")
        row[STARTED] = row[STARTED] or at
        self._waiting[run_id, facts.node, facts.scope] = row
        if facts.due:
            row[DUE] = from_ms(facts.due)

    def _timer_set(self, run_id: str, _seq: int, _at: datetime, facts: Facts, _has_payload: bool) -> None:
        row = self._waiting.get((run_id, facts.node, facts.scope))
        if row is not None:
            row[DUE] = from_ms(facts.due)
        else:
            self._due.append((run_id, facts.node, facts.scope, from_ms(facts.due)))

    def _token_gone(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        reason = facts.reason or facts.type.partition(".")[2]
        self._gone.append((run_id, facts.node, facts.scope, reason, at))

    def _step_released(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        """What waited is queued again."""
        row = self._waiting.pop((run_id, facts.node, facts.scope), None)
        if row is None:
            self._released.append((run_id, facts.node, facts.scope, at))
        elif row[STATUS] in PARKED:
            row[STATUS], row[REASON], row[UPDATED] = "READY", None, at

    def _approval_escalated(self, run_id: str, _seq: int, at: datetime, facts: Facts, _has_payload: bool) -> None:
        self._escalated.append((run_id, facts.node, facts.scope, at))


def _json(error: ErrorInfo) -> str:
    """jsonb refuses U+0000."""
    return _encode(error).decode().replace("\\u0000", "\\ufffd")
