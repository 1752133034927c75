"""The client: register workflows, submit runs, wait for them.

A submission is acknowledged when Postgres has committed it; concurrent ones share a commit. Then it is applied to
Redis by an idempotent script; a supervisor's reconciler applies again what a crash in between left undone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import anyio
import msgspec
import structlog
from redis.exceptions import RedisError

from ..compiler.ir import Ir
from ..compiler.workflow import Workflow
from .catalog import Catalog, Registered, Resolved
from .commanding import Body
from .connections import connect_postgres, connect_redis
from .control import Commanded, Control
from .deciding import Decision, Decisions, StepCommanded
from .errors import CouranteError, ServiceUnavailable
from .keys import Keys
from .opening import open_partitions
from .plan import Plan
from .results import Results, RunResult
from .schedules.face import Schedules
from .scripts import OUTBOX_HARD_MAX, BackPressure, Closed, Late
from .starting import StartWindow, apply_starts
from .stores.commands import Accepted, Conflict, Duplicate, StartCommand, insert_starts
from .stores.connection import Connection, Pool
from .submissions import Submission, check_texts, conflict, start_command
from .unavailable import AsUnavailable

Durability = Literal["postgres", "redis"]
BATCH_MAX = 1_000
COMMIT_S = 60.0
CLOSE_S = 5.0
log = structlog.get_logger()


class _Pending:
    """A submission in a group commit."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.answer: str | Exception | None = None


class _Committed(NamedTuple):
    """What Postgres has of a batch. ``new``: what is to be applied to Redis, within ``window``."""

    answers: list[str | Exception]
    new: list[tuple[StartCommand, Plan]]
    window: StartWindow | None


class Client:
    """``async with Client.open(...) as client``. Safe for any number of tasks."""

    def __init__(
        self, *, redis_url: str, database_url: str, env: str, partitions: int, outbox_hard_max: int = OUTBOX_HARD_MAX
    ) -> None:
        self._redis = connect_redis(redis_url)
        self._database_url = database_url
        self._partitions = partitions
        self._outbox_hard_max = outbox_hard_max
        self._pending: list[_Pending] = []
        self._committing = anyio.Lock()
        self._stack = AsyncExitStack()
        self.keys = Keys(env)
        self.pool: Pool
        self.catalog: Catalog
        self.schedules: Schedules
        self._control: Control
        self._decisions: Decisions
        self._results: Results

    @classmethod
    def open(cls, *, redis_url: str, database_url: str, env: str = "default", partitions: int = 1) -> Client:
        """Return a client; nothing is connected before ``async with``."""
        return cls(redis_url=redis_url, database_url=database_url, env=env, partitions=partitions)

    async def __aenter__(self) -> Self:
        with AsUnavailable():
            self.pool = await connect_postgres(self._database_url)
        self._stack.push_async_callback(self._close)
        self.catalog = Catalog(self._redis, self.pool, self.keys)
        self.schedules = Schedules(self, self._redis)
        self._control = Control(self._redis, self.pool, self.keys, self.catalog, outbox_hard_max=self._outbox_hard_max)
        self._decisions = Decisions(self._control, self.pool, self.catalog)
        self._results = await self._stack.enter_async_context(
            Results(self._redis, self.pool, self.keys, self._partitions)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _close(self) -> None:
        """Also when cancelled: a connection that nobody closes keeps its server waiting."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S) as patience:
            await self._redis.aclose()
            await self.pool.close()
        if patience.cancelled_caught:
            self.pool.terminate()

    async def prepare(self) -> None:
        """Open the partitions with the epoch that Postgres knows. The schema must be up to date."""
        with AsUnavailable():
            await open_partitions(self._redis, self.pool, self.keys, self._partitions)

    async def register(self, workflow: Workflow, ir: Ir, source: str | bytes | None = None) -> Registered:
        """Keep a version of a workflow. The same content is the same version."""
        text = source.decode() if isinstance(source, bytes) else source
        with AsUnavailable():
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
        return await self.start(submission)

    async def start(self, submission: Submission) -> str:
        """Start a run and return its id, as ``submit`` does."""
        mine = _Pending(submission)
        self._pending.append(mine)
        try:
            async with self._committing:
                while mine.answer is None:
                    # Not to be cut short: a caller that gives up must not take the others of its group with it.
                    with anyio.CancelScope(shield=True):
                        await self._commit_group()
        finally:
            if mine in self._pending:
                self._pending.remove(mine)
        if isinstance(mine.answer, Exception):
            raise mine.answer
        return mine.answer

    async def _commit_group(self) -> None:
        group, self._pending = self._pending[:BATCH_MAX], self._pending[BATCH_MAX:]
        answers: Sequence[str | Exception] = [ServiceUnavailable("the submission was interrupted")] * len(group)
        try:
            with anyio.move_on_after(COMMIT_S):
                answers = await self._submit([one.submission for one in group], "postgres")
        except CouranteError as error:
            answers = [error] * len(group)
        finally:
            for one, answer in zip(group, answers, strict=True):
                one.answer = answer

    async def submit_many(self, submissions: Sequence[Submission], *, durability: Durability = "postgres") -> list[str]:
        """Start runs and return their ids, in order. All or, per batch of 1,000, none: the first refusal is raised.

        durability: with ``redis`` a run is acknowledged when Redis has it, while Postgres still writes to its disk.
        """
        batches = [submissions[first : first + BATCH_MAX] for first in range(0, len(submissions), BATCH_MAX)]
        ids: list[str] = []
        before = _Committed([], [], None)
        for batch in batches:
            before = await self._commit_while(before, batch, durability)
            ids += [str(answer) for answer in before.answers]
        with AsUnavailable():
            await self._apply(before, durability)
        return ids

    async def _commit_while(
        self, before: _Committed, batch: Sequence[Submission], durability: Durability
    ) -> _Committed:
        """Commit a batch in Postgres while the one before it is applied to Redis, whatever becomes of this one."""
        outcomes: list[_Committed | CouranteError] = []

        async def apply() -> None:
            try:
                with anyio.CancelScope(shield=True), anyio.move_on_after(COMMIT_S), AsUnavailable():
                    await self._apply(before, durability)
            except CouranteError as error:
                outcomes.append(error)

        async def commit() -> None:
            try:
                outcomes.append(await self._commit(batch, durability, is_all=True))
            except CouranteError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(apply)
            group.start_soon(commit)
        failed = [outcome for outcome in outcomes if isinstance(outcome, CouranteError)]
        if failed:
            raise failed[0]
        (committed,) = outcomes
        assert isinstance(committed, _Committed)
        return committed

    async def _submit(self, submissions: Sequence[Submission], durability: Durability) -> list[str | Exception]:
        """Commit, then apply."""
        committed = await self._commit(submissions, durability)
        with AsUnavailable():
            await self._apply(committed, durability)
        return committed.answers

    async def _commit(
        self, submissions: Sequence[Submission], durability: Durability, *, is_all: bool = False
    ) -> _Committed:
        """Let Postgres have them. What it knew before is not to be applied again: it may have ended long ago."""
        answers: dict[int, str | Exception] = {}
        starts: dict[int, tuple[StartCommand, Plan]] = {}
        known: dict[tuple[str, int | None], Resolved] = {}
        with AsUnavailable():
            window = await StartWindow.now(self._redis, *map(self.keys.partition, range(self._partitions)))
            async with self.pool.acquire() as conn:
                for place, submission in enumerate(submissions):
                    try:
                        starts[place] = await self._resolve(conn, submission, known)
                    except CouranteError as error:
                        if is_all:
                            raise
                        answers[place] = error
                commands = [command for command, _ in starts.values()]
                if is_all:
                    async with conn.transaction():
                        if durability == "redis":
                            await conn.execute("SET LOCAL synchronous_commit TO off")
                        verdicts = _no_conflict(await insert_starts(conn, commands), commands)
                else:
                    verdicts = await insert_starts(conn, commands)
            new: list[tuple[StartCommand, Plan]] = []
            for (place, start), verdict in zip(starts.items(), verdicts, strict=True):
                answers[place] = conflict(start[0]) if isinstance(verdict, Conflict) else verdict.run_id
                if isinstance(verdict, Accepted):
                    command, plan = start
                    new.append((msgspec.structs.replace(command, created_at=verdict.created_at), plan))
        return _Committed([answers[place] for place in range(len(submissions))], new, window)

    async def _resolve(
        self, conn: Connection, submission: Submission, known: dict[tuple[str, int | None], Resolved]
    ) -> tuple[StartCommand, Plan]:
        """known: what this batch has looked up, so that each version is looked up once."""
        check_texts(submission)
        asked = (submission.workflow, submission.version)
        resolved = known.get(asked)
        if resolved is None:
            resolved = known[asked] = await self.catalog.resolve(conn, *asked)
        command = start_command(self.keys.env, self._partitions, submission, resolved)
        self.catalog.check_input(resolved.plan, command.input)
        return command, resolved.plan

    async def _apply(self, committed: _Committed, durability: Durability) -> None:
        """Apply to Redis. What Postgres has committed is accepted, whatever happens here: the reconciler goes on."""
        window = committed.window
        by_partition: dict[int, list[tuple[StartCommand, Plan]]] = defaultdict(list)
        for start in committed.new:
            by_partition[start[0].partition].append(start)
        for number, some in by_partition.items():
            partition = self.keys.partition(number)
            try:
                if window is None:
                    raise RedisError("it could not be reached")
                await apply_starts(
                    self._redis, self.keys, partition, some, outbox_hard_max=self._outbox_hard_max, window=window
                )
            except (Closed, BackPressure, Late, RedisError, OSError) as error:
                if durability == "redis":
                    raise
                log.warning("starts_left_to_reconciler", runs=len(some), error=str(error) or type(error).__name__)

    async def wait(self, run_id: str, *, timeout_s: float | None = None, is_recorded: bool = False) -> RunResult:
        """Return the result when the run has ended. ``is_recorded``: and its last event is in Postgres.

        Raises TimeoutError, RunNotFound.
        """
        with anyio.fail_after(timeout_s), AsUnavailable():
            return await self._results.wait(run_id, is_recorded=is_recorded)

    async def result(self, run_id: str) -> RunResult:
        """Return what is known of the run now. Raises RunNotFound."""
        with AsUnavailable():
            return await self._results.read(run_id)

    async def cancel(self, run_id: str, reason: str = "", *, by: str | None = None) -> Commanded:
        """Cancel a run: what waits is taken away, what runs is told, what is done is undone where that is declared.

        All of these raise RunNotFound, InputInvalid, ServiceUnavailable.
        """
        return await self._control.about_run(run_id, "cancel", Body(reason=reason), by)

    async def pause(self, run_id: str, reason: str = "", *, by: str | None = None) -> Commanded:
        """Hand out no more steps of a run; what is under way ends. Timers and signals are kept until it goes on."""
        return await self._control.about_run(run_id, "pause", Body(reason=reason), by)

    async def resume(self, run_id: str, reason: str = "", *, by: str | None = None) -> Commanded:
        """Let a paused run go on."""
        return await self._control.about_run(run_id, "resume", Body(reason=reason), by)

    async def signal(self, run_id: str, name: str, data: Any = None, *, by: str | None = None) -> Commanded:
        """Send a signal to the step that has waited longest for it, or keep it for the one that will."""
        return await self._control.signal(run_id, name, data, by)

    async def approve(
        self,
        run_id: str,
        step: str | None = None,
        *,
        scope: str = "",
        comment: str = "",
        data: Any = None,
        by: str | None = None,
    ) -> StepCommanded:
        """Let a step go on that asks for a decision, or will ask. step: may be left out where only one can be meant.

        Raises StepNotFound, StepUnclear, NothingWaits, and AlreadyDecided with who was first.
        """
        decision = Decision(is_approval=True, step=step, scope=scope, comment=comment, data=data, by=by)
        return await self._decisions.decide(run_id, decision)

    async def reject(
        self,
        run_id: str,
        step: str | None = None,
        *,
        scope: str = "",
        reason: str = "",
        data: Any = None,
        by: str | None = None,
    ) -> StepCommanded:
        """Let a step fail that asks for a decision, as ``approve`` does the opposite."""
        decision = Decision(is_approval=False, step=step, scope=scope, reason=reason, data=data, by=by)
        return await self._decisions.decide(run_id, decision)

    async def cancel_step(
        self, run_id: str, step: str, *, scope: str = "", reason: str = "", by: str | None = None
    ) -> Commanded:
        """Withdraw a step that has not ended: the ways that lead on from it are dead. Raises StepNotFound."""
        return await self._control.about_step(run_id, "cancel_step", step, scope, Body(reason=reason), by)

    async def force_succeed(
        self, run_id: str, step: str, output: Any = None, *, scope: str = "", reason: str = "", by: str | None = None
    ) -> Commanded:
        """Let a step that waits, retries or runs have succeeded with this output. Raises StepNotFound."""
        body = Body(output=output, reason=reason)
        return await self._control.about_step(run_id, "force_succeed", step, scope, body, by)

    async def force_skip(
        self, run_id: str, step: str, *, scope: str = "", reason: str = "", by: str | None = None
    ) -> Commanded:
        """Let a step that waits, retries or runs be skipped. Raises StepNotFound."""
        return await self._control.about_step(run_id, "force_skip", step, scope, Body(reason=reason), by)


def _no_conflict(
    verdicts: Sequence[Accepted | Duplicate | Conflict], commands: Sequence[StartCommand]
) -> Sequence[Accepted | Duplicate | Conflict]:
    """Raise IdempotencyConflict for the first conflict, so that the transaction around takes everything back."""
    for verdict, command in zip(verdicts, commands, strict=True):
        if isinstance(verdict, Conflict):
            raise conflict(command)
    return verdicts


__all__ = ["Client", "Commanded", "Durability", "RunResult", "StepCommanded", "Submission"]
