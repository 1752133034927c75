"""The rows of ``runs`` and ``node_executions``: what a batch of events says of each, and how a COPY takes it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

import msgspec

from ...sdk.moments import from_ms
from ...sdk.stores import copy_format
from ...sdk.stores.copy_format import NULL, bigint, text, timestamptz

RUN_COLUMNS = (
    "run_id env partition workflow version ir_hash status trigger base_run_id by tags input_digest output_seq error "
    "drain_reason is_halted created_at started_at finished_at updated_at last_seq last_hash last_command"
).split()
EXECUTION_COLUMNS = (
    "run_id node scope attempt status reason worker started_at finished_at due_at updated_at ms error output_seq env"
).split()

Execution = list[Any]
"""One row of ``upsert_executions``: run, node, scope, attempt, status, reason, worker, started, finished, due, updated,
ms, error, output_seq, env."""
STATUS, REASON, WORKER, STARTED, FINISHED, DUE, UPDATED, MS, ERROR, OUTPUT = range(4, 14)

GOES_ON = "GOES_ON"
"""For a status: what it is without a pause, RUNNING or PENDING."""

_RUN_START = copy_format.columns(len(RUN_COLUMNS))
_EXECUTION_START = copy_format.columns(len(EXECUTION_COLUMNS))


class RunChange(msgspec.Struct):
    """What a batch says of one run. ``is_new``: its first event is in the batch. None: as it was.

    ``updated_at``: time of the last event. ``before_command``: its status before the last command, for the case that
    this had no effect. ``version``, ``ir_hash``: what it has moved to.
    """

    updated_at: datetime
    partition: int = 0
    is_new: bool = False
    started: Mapping[str, object] = msgspec.field(default_factory=dict[str, object])
    status: str | None = None
    output_seq: int | None = None
    error: str | None = None
    drain_reason: str | None = None
    is_halted: bool | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    last_seq: int | None = None
    last_hash: bytes | None = None
    last_command: int | None = None
    before_command: str | None = None
    version: int | None = None
    ir_hash: str | None = None

    def has_only_ended(self) -> bool:
        """Whether all that the batch says is that it came to its end, and nothing had gone wrong."""
        return self.finished_at is self.updated_at and not (
            self.error
            or self.drain_reason
            or self.last_command
            or self.is_halted is not None
            or self.started_at
            or self.ir_hash
        )


def run_row(env: str, run_id: str, run: RunChange) -> bytes:
    """Return the row of a new run for a COPY, in the order of ``RUN_COLUMNS``."""
    said = run.started
    created_ms = said.get("created_ms")
    created_at = from_ms(created_ms) if isinstance(created_ms, int) else run.created_at or run.updated_at
    status = run.status or "RUNNING"
    if status == GOES_ON:
        status = "PENDING" if run.started_at is None else "RUNNING"
    return b"".join((
        _RUN_START, text(run_id), text(env), bigint(run.partition), text(_text(said, "workflow")),
        bigint(run.version or _number(said, "version")), text(run.ir_hash or _text(said, "ir")), text(status),
        text(_text(said, "trigger") or "initial"), _text_or_null(_text(said, "base_run_id")),
        _text_or_null(_text(said, "by")), copy_format.texts(_texts(said, "tags")),
        _text_or_null(_text(said, "input")), _bigint_or_null(run.output_seq), _jsonb_or_null(run.error),
        _text_or_null(run.drain_reason), copy_format.boolean(bool(run.is_halted)), timestamptz(created_at),
        _time_or_null(run.started_at), _time_or_null(run.finished_at), timestamptz(run.updated_at),
        _bigint_or_null(run.last_seq), NULL if run.last_hash is None else copy_format.bytea(run.last_hash),
        bigint(run.last_command or 1),
    ))  # fmt: skip


def ended_row(run_id: str, run: RunChange) -> tuple[object, ...]:
    """Return the values of ``end_runs``."""
    return (run_id, run.status, run.output_seq, run.finished_at, run.last_seq, run.last_hash)


def changed_row(run_id: str, run: RunChange) -> tuple[object, ...]:
    """Return the values of ``update_runs``."""
    return (
        run_id, run.status, run.output_seq, run.error, run.drain_reason, run.is_halted, run.started_at, run.finished_at,
        run.updated_at, run.last_seq, run.last_hash, run.last_command, run.version, run.ir_hash,
    )  # fmt: skip


def execution_row(row: Execution) -> bytes:
    """Return a new row for a COPY, in the order of ``EXECUTION_COLUMNS``."""
    run_id, node, scope, attempt, status, reason, worker, started, finished, due, updated, ms, error, output, env = row
    return b"".join((
        _EXECUTION_START, text(run_id), text(node), text(scope), bigint(attempt), text(status), _text_or_null(reason),
        _text_or_null(worker), _time_or_null(started), _time_or_null(finished), _time_or_null(due),
        timestamptz(updated), _bigint_or_null(ms), _jsonb_or_null(error), _bigint_or_null(output), text(env),
    ))  # fmt: skip


def _text_or_null(value: str | None) -> bytes:
    """Nobody keeps an empty text where NULL is allowed."""
    return text(value) if value else NULL


def _bigint_or_null(value: int | None) -> bytes:
    return NULL if value is None else bigint(value)


def _jsonb_or_null(content: str | None) -> bytes:
    return NULL if content is None else copy_format.jsonb(content)


def _time_or_null(at: datetime | None) -> bytes:
    return NULL if at is None else timestamptz(at)


def _text(said: Mapping[str, object], name: str) -> str:
    value = said.get(name)
    return value if isinstance(value, str) else ""


def _texts(said: Mapping[str, object], name: str) -> list[str]:
    value = said.get(name)
    return [word for word in cast("list[object]", value) if isinstance(word, str)] if isinstance(value, list) else []


def _number(said: Mapping[str, object], name: str) -> int:
    value = said.get(name)
    return value if isinstance(value, int) else 0
