"""Submitting: runs are accepted by Postgres, many with one commit, and then applied to Redis.

What Postgres has committed is accepted, whatever becomes of it in Redis: the reconciler goes on. A Postgres that is
away is waited for; a commit in doubt is repeated with the same ids.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import anyio
import msgspec
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ..errors import CouranteError, NotRestartable, ServiceUnavailable
from ..floor.commanding import apply_in_order
from ..floor.scripts import BackPressure, Closed, Late
from ..floor.starting import StartWindow
from ..keys import Keys
from ..marking.plan import Plan
from ..reenactment.restarting import RestartPlan
from ..restarts.bases import apply_all_starts
from ..stores.command_bodies import Body, encode_body
from ..stores.commands import Accepted, Command, Conflict, Duplicate, StartCommand, append_command, insert_starts
from ..stores.connection import Connection, Pool
from ..submissions.catalog import Catalog, Resolved
from ..submissions.submissions import Submission, check_texts, conflict, start_command
from ..unavailable import AsUnavailable
from .patience import PATIENCE_S, wait_for_postgres
from .separation import check_starter

Durability = Literal["postgres", "redis"]
BATCH_MAX = 1_000
BATCH_FIRST = 125
COMMIT_S = 60.0
log = structlog.get_logger()


class _Pending:
    """A submission in a group commit."""

    def __init__(self, submission: Submission) -> None:
        self.submission = submission
        self.answer: str | Exception | None = None


class _Committed(NamedTuple):
    """What Postgres has of a batch. ``new``: what is to be applied to Redis, within ``window``. ``paused``: commands
    that are applied behind them, by run, where their workflow is paused. ``made``: see ``apply_all_starts``.
    """

    answers: list[str | Exception]
    new: list[tuple[StartCommand, Plan]]
    window: StartWindow | None
    paused: Mapping[str, Command]
    made: Mapping[str, RestartPlan] = {}


class _Batch:
    """Submissions of one commit, by their places. ``starts``: those that were resolved; ``answers``: the refused ones.

    ``known``: what was looked up, so that each version of a workflow is looked up once.
    """

    def __init__(self, submissions: Sequence[Submission]) -> None:
        self.submissions = submissions
        self.answers: dict[int, str | Exception] = {}
        self.starts: dict[int, tuple[StartCommand, Plan]] = {}
        self.known: dict[tuple[str, int | None], Resolved] = {}

    def unresolved(self) -> list[tuple[int, Submission]]:
        done = self.starts.keys() | self.answers.keys()
        return [(place, one) for place, one in enumerate(self.submissions) if place not in done]


class Submitter:
    """Starts runs of one environment. Safe for any number of tasks."""

    def __init__(
        self,
        redis: Redis,
        pool: Pool,
        keys: Keys,
        catalog: Catalog,
        *,
        partitions: int,
        outbox_hard_max: int,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._catalog = catalog
        self._partitions = partitions
        self._outbox_hard_max = outbox_hard_max
        self._patience_s = patience_s
        self._pending: list[_Pending] = []
        self._committing = anyio.Lock()

    async def start(self, submission: Submission) -> str:
        """Start a run and return its id. Submissions made at the same time share a commit.

        Raises WorkflowNotFound, InputInvalid, IdempotencyConflict, ServiceUnavailable.
        """
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
        """Start runs and return their ids, in order. Up to 1,000 all or none: the first refusal is raised.

        More come in batches, each all or none; the first ones are small, so that work begins meanwhile.

        durability: with ``redis`` a run is acknowledged when Redis has it, while Postgres still writes to its disk.
        """
        ids: list[str] = []
        before = _Committed([], [], None, {})
        for batch in batches_of(submissions):
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

    async def restart(
        self,
        command: StartCommand,
        resolved: Resolved,
        also: Callable[[Connection], Awaitable[object]],
        made: RestartPlan,
    ) -> Accepted | Duplicate:
        """Start a run that goes on from another one. also: what is committed with it. made: what it begins with.

        Raises IdempotencyConflict, ServiceUnavailable.
        """
        with AsUnavailable():
            window = await StartWindow.now(self._redis, self._keys.partition(command.partition))
            async with self._pool.acquire() as conn, conn.transaction():
                (verdict,) = _no_conflict(await insert_starts(conn, [command]), [command])
                await also(conn)
                paused = await self._pause(conn, [verdict], [command], [resolved])
            if isinstance(verdict, Accepted):
                new = (msgspec.structs.replace(command, created_at=verdict.created_at), resolved.plan)
                await self._apply(_Committed([], [new], window, paused, {command.run_id: made}), "postgres")
        assert not isinstance(verdict, Conflict)
        return verdict

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
        batch = _Batch(submissions)
        with AsUnavailable():
            return await wait_for_postgres(
                lambda: self._commit_once(batch, durability, is_all=is_all), self._patience_s
            )

    async def _commit_once(self, batch: _Batch, durability: Durability, *, is_all: bool) -> _Committed:
        """May be repeated: what was resolved once keeps its id, and is a duplicate where it was committed after all."""
        window = await StartWindow.now(self._redis, *map(self._keys.partition, range(self._partitions)))
        async with self._pool.acquire() as conn:
            for place, submission in batch.unresolved():
                try:
                    batch.starts[place] = await self._resolve(conn, submission, batch.known)
                except CouranteError as error:
                    if is_all:
                        raise
                    batch.answers[place] = error
            commands = [command for command, _ in batch.starts.values()]
            if is_all:
                async with conn.transaction():
                    if durability == "redis":
                        await conn.execute("SET LOCAL synchronous_commit TO off")
                    verdicts = _no_conflict(await insert_starts(conn, commands), commands)
            else:
                verdicts = await insert_starts(conn, commands)
            paused = await self._pause(conn, verdicts, commands, batch.known.values())
        answers, new = dict(batch.answers), list[tuple[StartCommand, Plan]]()
        for (place, start), verdict in zip(batch.starts.items(), verdicts, strict=True):
            answers[place] = conflict(start[0]) if isinstance(verdict, Conflict) else verdict.run_id
            if isinstance(verdict, Accepted):
                command, plan = start
                new.append((msgspec.structs.replace(command, created_at=verdict.created_at), plan))
        return _Committed([answers[place] for place in range(len(batch.submissions))], new, window, paused)

    async def _pause(
        self,
        conn: Connection,
        verdicts: Sequence[Accepted | Duplicate | Conflict],
        commands: Sequence[StartCommand],
        known: Iterable[Resolved],
    ) -> dict[str, Command]:
        """Give the new runs of paused workflows a second command. Who dies in between leaves it to the reconciler."""
        names = {one.workflow for one in known if one.is_paused}
        given: dict[str, Command] = {}
        for verdict, start in zip(verdicts, commands, strict=True) if names else ():
            if isinstance(verdict, Accepted) and start.workflow in names:
                body = encode_body(Body(name=start.workflow))
                command = await append_command(conn, start.run_id, "pause", body, by=start.by)
                assert isinstance(command, Command)
                given[start.run_id] = command
        return given

    async def _resolve(
        self, conn: Connection, submission: Submission, known: dict[tuple[str, int | None], Resolved]
    ) -> tuple[StartCommand, Plan]:
        """known: what this batch has looked up, so that each version is looked up once."""
        check_texts(submission)
        asked = (submission.workflow, submission.version)
        resolved = known.get(asked)
        if resolved is None:
            resolved = known[asked] = await self._catalog.resolve(conn, *asked)
        command = start_command(self._keys.env, self._partitions, submission, resolved)
        self._catalog.check_input(resolved.plan, command.input)
        check_starter(resolved.plan.ir, command.by)
        return command, resolved.plan

    async def _apply(self, committed: _Committed, durability: Durability) -> None:
        """Apply to Redis. What Postgres has committed is accepted, whatever happens here: the reconciler goes on."""
        window = committed.window
        by_partition: dict[int, list[tuple[StartCommand, Plan]]] = defaultdict(list)
        for start in committed.new:
            by_partition[start[0].partition].append(start)
        for number, some in by_partition.items():
            partition = self._keys.partition(number)
            try:
                if window is None:
                    raise RedisError("it could not be reached")
                await apply_all_starts(
                    self._redis,
                    self._pool,
                    self._keys,
                    partition,
                    some,
                    outbox_hard_max=self._outbox_hard_max,
                    window=window,
                    made=committed.made,
                )
                pauses = [
                    (one.run_id, plan, committed.paused[one.run_id])
                    for one, plan in some
                    if one.run_id in committed.paused
                ]
                await apply_in_order(self._redis, self._keys, partition, pauses, outbox_hard_max=self._outbox_hard_max)
            except (Closed, BackPressure, Late, NotRestartable, RedisError, OSError) as error:
                if durability == "redis":
                    raise
                say = log.info if isinstance(error, Closed) else log.warning  # one that is being opened soon is open
                say("starts_left_to_reconciler", runs=len(some), error=str(error) or type(error).__name__)


def batches_of(submissions: Sequence[Submission]) -> Iterator[Sequence[Submission]]:
    """What fits into one is one; else each is of up to twice the one before."""
    first, size = 0, BATCH_MAX if len(submissions) <= BATCH_MAX else BATCH_FIRST
    while first < len(submissions):
        yield submissions[first : first + size]
        first, size = first + size, min(BATCH_MAX, 2 * size)


def _no_conflict(
    verdicts: Sequence[Accepted | Duplicate | Conflict], commands: Sequence[StartCommand]
) -> Sequence[Accepted | Duplicate | Conflict]:
    """Raise IdempotencyConflict for the first conflict, so that the transaction around takes everything back."""
    for verdict, command in zip(verdicts, commands, strict=True):
        if isinstance(verdict, Conflict):
            raise conflict(command)
    return verdicts
