"""The client: register workflows, submit runs, wait for them.

A submission is acknowledged when Postgres has committed it; concurrent ones share a commit. Then it is applied to
Redis by an idempotent script; a supervisor's reconciler applies again what a crash in between left undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import anyio
import asyncpg
import msgspec
from redis.exceptions import RedisError

from ..compiler.ir import Ir
from ..compiler.workflow import Workflow
from .catalog import Catalog, Registered
from .connections import connect_postgres, connect_redis
from .errors import CouranteError, IdempotencyConflict, InputInvalid, ServiceUnavailable
from .ids import new_run_id
from .keys import Keys
from .opening import open_partitions
from .payloads import PAYLOAD_BYTES_MAX
from .plan import Plan
from .results import Results, RunResult
from .scripts import BackPressure, Closed
from .starting import apply_starts
from .stores.commands import Conflict, StartCommand, insert_starts, run_id_of_key
from .stores.connection import Pool

Durability = Literal["postgres", "redis"]
BATCH_MAX = 1_000
_canonical = msgspec.json.Encoder(order="deterministic")


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """One run to start. ``key``: the same key is the same run. ``tags``: words to find it by.

    ``start_at``: not before; ``expires_at``: not started after it.
    """

    workflow: str
    input: Any = None
    version: int | None = None
    key: str | None = None
    by: str | None = None
    tags: tuple[str, ...] = ()
    start_at: datetime | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None


class _Pending:
    """A submission in a group commit."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.answer: str | Exception | None = None


class Client:
    """``async with Client.open(...) as client``. Safe for any number of tasks."""

    def __init__(
        self, *, redis_url: str, database_url: str, env: str, partitions: int, outbox_hard_max: int = 1_000_000
    ) -> None:
        self._redis = connect_redis(redis_url)
        self._database_url = database_url
        self._partitions = partitions
        self._outbox_hard_max = outbox_hard_max
        self._pending: list[_Pending] = []
        self._commit = anyio.Lock()
        self._stack = AsyncExitStack()
        self.keys = Keys(env)
        self.pool: Pool
        self.catalog: Catalog
        self._results: Results

    @classmethod
    def open(cls, *, redis_url: str, database_url: str, env: str = "default", partitions: int = 1) -> Client:
        """Return a client; nothing is connected before ``async with``."""
        return cls(redis_url=redis_url, database_url=database_url, env=env, partitions=partitions)

    async def __aenter__(self) -> Client:
        with _as_unavailable():
            self.pool = await connect_postgres(self._database_url)
        self._stack.push_async_callback(self.pool.close)
        self._stack.push_async_callback(self._redis.aclose)
        self.catalog = Catalog(self._redis, self.pool, self.keys)
        self._results = await self._stack.enter_async_context(
            Results(self._redis, self.pool, self.keys, self._partitions)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def prepare(self) -> None:
        """Open the partitions with the epoch that Postgres knows. The schema must be up to date."""
        with _as_unavailable():
            await open_partitions(self._redis, self.pool, self.keys, self._partitions)

    async def register(self, workflow: Workflow, ir: Ir, source: str | bytes | None = None) -> Registered:
        """Keep a version of a workflow. The same content is the same version."""
        text = source.decode() if isinstance(source, bytes) else source
        with _as_unavailable():
            return await self.catalog.register(workflow, ir, text or None)

    async def submit(
        self,
        workflow: str,
        input: Any = None,
        *,
        version: int | None = None,
        key: str | None = None,
        by: str | None = None,
        tags: Sequence[str] = (),
        start_at: datetime | None = None,
        expires_at: datetime | None = None,
        durability: Durability = "postgres",
    ) -> str:
        """Start a run and return its id. Submissions made at the same time share a commit.

        Raises WorkflowNotFound, InputInvalid, IdempotencyConflict, ServiceUnavailable.
        """
        submission = Submission(
            workflow=workflow,
            input=input,
            version=version,
            key=key,
            by=by,
            tags=tuple(tags),
            start_at=start_at,
            expires_at=expires_at,
        )
        if durability == "redis":
            return (await self.submit_many([submission], durability="redis"))[0]
        mine = _Pending(submission)
        self._pending.append(mine)
        async with self._commit:
            if mine.answer is None:
                await self._commit_group()
        if isinstance(mine.answer, Exception):
            raise mine.answer
        assert mine.answer is not None
        return mine.answer

    async def _commit_group(self) -> None:
        group, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
        try:
            answers = await self._submit([one.submission for one in group], "postgres")
        except BaseException as error:
            for one in group:
                one.answer = ServiceUnavailable("the submission was interrupted")
            if isinstance(error, CouranteError):
                for one in group:
                    one.answer = error
                return
            raise
        for one, answer in zip(group, answers, strict=True):
            one.answer = answer

    async def submit_many(
        self, submissions: Sequence[Submission], *, durability: Durability = "postgres"
    ) -> list[str]:
        """Start runs and return their ids, in order. All or, per batch of 1,000, none: the first refusal is raised."""
        ids: list[str] = []
        for first in range(0, len(submissions), BATCH_MAX):
            answers = await self._submit(submissions[first : first + BATCH_MAX], durability, is_all=True)
            ids += [str(answer) for answer in answers]
        return ids

    async def _submit(
        self, submissions: Sequence[Submission], durability: Durability, *, is_all: bool = False
    ) -> list[str | Exception]:
        answers: list[str | Exception | None] = [None] * len(submissions)
        starts: list[tuple[int, StartCommand, Plan]] = []
        with _as_unavailable():
            async with self.pool.acquire() as conn:
                for place, submission in enumerate(submissions):
                    try:
                        resolved = await self._resolve(conn, submission)
                        starts.append((place, _command(self.keys.env, self._partitions, submission, resolved), resolved.plan))
                        self.catalog.check_input(resolved.plan, submission.input)
                    except CouranteError as error:
                        if is_all:
                            raise
                        starts = [one for one in starts if one[0] != place]
                        answers[place] = error
                if durability == "postgres" and starts:
                    verdicts = await insert_starts(conn, [command for _, command, _ in starts])
                    for (place, command, _), verdict in zip(starts, verdicts, strict=True):
                        if isinstance(verdict, Conflict):
                            answers[place] = _conflict(submissions[place], command)
                            if is_all:
                                raise _conflict(submissions[place], command)
            starts = [one for one in starts if answers[one[0]] is None]
            await self._apply(starts, durability)
        for place, command, _ in starts:
            answers[place] = command.run_id
        return [answer for answer in answers if answer is not None]

    async def _resolve(self, conn: Any, submission: Submission) -> Any:
        return await self.catalog.resolve(conn, submission.workflow, submission.version)

    async def _apply(self, starts: list[tuple[int, StartCommand, Plan]], durability: Durability) -> None:
        """Apply to Redis. What Postgres has committed is accepted, whatever happens here: the reconciler goes on."""
        by_partition: dict[int, list[tuple[StartCommand, Plan]]] = defaultdict(list)
        for _, command, plan in starts:
            by_partition[command.partition].append((command, plan))
        for number, some in by_partition.items():
            try:
                await apply_starts(
                    self._redis,
                    self.keys,
                    self.keys.partition(number),
                    some,
                    outbox_hard_max=self._outbox_hard_max,
                )
            except (Closed, BackPressure, RedisError, OSError):
                if durability == "redis":
                    raise

    async def wait(
        self, run_id: str, *, timeout_s: float | None = None, is_recorded: bool = False
    ) -> RunResult:
        """Return the result when the run has ended. ``is_recorded``: and its last event is in Postgres.

        Raises TimeoutError, RunNotFound.
        """
        with _as_unavailable():
            with anyio.fail_after(timeout_s):
                return await self._results.wait(run_id, is_recorded=is_recorded)

    async def result(self, run_id: str) -> RunResult:
        """Return what is known of the run now. Raises RunNotFound."""
        with _as_unavailable():
            return await self._results.read(run_id)


def _command(env: str, partitions: int, submission: Submission, resolved: Any) -> StartCommand:
    try:
        content = _canonical.encode(submission.input)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InputInvalid(f"the input is no JSON value: {error}") from error
    if len(content) > PAYLOAD_BYTES_MAX:
        raise InputInvalid(f"the input has {len(content):,} bytes; at most {PAYLOAD_BYTES_MAX:,} are allowed")
    run_id = new_run_id() if submission.key is None else run_id_of_key(env, submission.key)
    return StartCommand(
        env=env,
        run_id=run_id,
        partition=partition_of(run_id, partitions),
        workflow=submission.workflow,
        version=resolved.version,
        ir_hash=resolved.plan.hash,
        input=content,
        asked_version=submission.version,
        idempotency_key=submission.key,
        by=submission.by,
        tags=submission.tags,
        start_at=_utc(submission.start_at),
        expires_at=_utc(submission.expires_at),
        traceparent=submission.traceparent,
    )


def partition_of(run_id: str, partitions: int) -> int:
    """Where a new run goes. It carries its partition from then on."""
    return 0 if partitions == 1 else sum(run_id.encode()) % partitions


def _utc(at: datetime | None) -> datetime | None:
    """A time without an offset is the caller's local time, as everywhere in Python."""
    return None if at is None else at.astimezone(UTC)


def _conflict(submission: Submission, command: StartCommand) -> IdempotencyConflict:
    return IdempotencyConflict(
        f"the key {submission.key!r} belongs to another request (run {command.run_id})",
        hint="use a new key for a new request",
    )


class _as_unavailable:
    """Turn what the servers' clients raise into ServiceUnavailable."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Closed):
            raise ServiceUnavailable("Redis has no epoch", hint="run 'courante doctor'") from error
        if isinstance(error, BackPressure):
            raise ServiceUnavailable("the outbox is full: is the recorder running?") from error
        if isinstance(error, TimeoutError):
            return
        if isinstance(error, RedisError):
            raise ServiceUnavailable(f"Redis: {error}") from error
        if isinstance(error, (asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            raise ServiceUnavailable(f"Postgres: {error}") from error


__all__ = ["Client", "Durability", "RunResult", "Submission"]
