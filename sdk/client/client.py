"""The client: register workflows, submit runs, wait for them.

A submission is acknowledged when Postgres has committed it; concurrent ones share a commit. Then it is applied to
Redis by an idempotent script; a supervisor's reconciler applies again what a crash in between left undone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import anyio
from msgspec import UNSET

from ...compiler.ir import Ir
from ...compiler.workflow import Workflow
from ..connections import POSTGRES_CONNECTIONS_MAX, SILENCE_MS, close_redis, connect_postgres, connect_redis
from ..floor.opening import open_partitions
from ..floor.scripts import OUTBOX_HARD_MAX
from ..health.health import DEFAULT_LIMITS, Health, Limits, judge_health
from ..health.vitals import read_vitals
from ..keys import Keys
from ..migration.migrations import Migration, Migrations
from ..restarts.forks import fork_wish
from ..restarts.reruns import rebuild_wish, rerun_wish
from ..restarts.wishes import Wish
from ..stores.command_bodies import Body
from ..stores.connection import Pool
from ..stores.dead_letters import DeadLetter, DeadLetterPage, Wanted
from ..stores.pauses import PauseKind
from ..submissions.catalog import Catalog, Registered
from ..submissions.submissions import Submission
from ..unavailable import AsUnavailable
from .access import Access
from .artifact_store import Artifacts
from .bulk import Bulk
from .commands import Commands
from .control import Commanded, Control
from .dead_letters import DeadLetters, DroppedLetters
from .deciding import Decision, Decisions, StepCommanded
from .operators import Operators
from .patience import PATIENCE_S
from .pausing import PauseResult, Pausing
from .restarts import Restarted, Restarts
from .results import Results, RunResult
from .schedules import Schedules
from .step_caching import StepCaching
from .submitting import Durability, Submitter
from .webhooks import Webhooks

CLOSE_S = 5.0


class Client(Commands):
    """``async with Client.open(...) as client``. Safe for any number of tasks."""

    def __init__(
        self,
        *,
        redis_url: str,
        database_url: str,
        env: str,
        partitions: int,
        outbox_hard_max: int = OUTBOX_HARD_MAX,
        silence_ms: int = SILENCE_MS,
        patience_s: float = PATIENCE_S,
        connections_max: int = POSTGRES_CONNECTIONS_MAX,
    ) -> None:
        self.redis = self._redis = connect_redis(redis_url)
        self.database_url = database_url
        self.partitions = self._partitions = partitions
        self._outbox_hard_max = outbox_hard_max
        self._silence_ms = silence_ms
        self._connections_max = connections_max
        self._patience_s = patience_s
        self._stack = AsyncExitStack()
        self.keys = Keys(env)
        self.pool: Pool
        self.catalog: Catalog
        self.schedules: Schedules
        self.access: Access
        self.operators: Operators
        self.webhooks: Webhooks
        self.bulk = Bulk(self)
        self.step_cache = StepCaching(self)
        self._submitter: Submitter
        self._control: Control
        self._decisions: Decisions
        self.pausing: Pausing
        self._dead_letters: DeadLetters
        self._restarts: Restarts
        self._migrations: Migrations
        self.artifacts: Artifacts
        self._results: Results

    @classmethod
    def open(
        cls,
        *,
        redis_url: str,
        database_url: str,
        env: str = "default",
        partitions: int = 1,
        patience_s: float = PATIENCE_S,
    ) -> Client:
        """Return a client; nothing is connected before ``async with``.

        patience_s: how long a submission waits for a Postgres that is away, before it is refused.
        """
        return cls(
            redis_url=redis_url, database_url=database_url, env=env, partitions=partitions, patience_s=patience_s
        )

    async def __aenter__(self) -> Self:
        with AsUnavailable():
            self.pool = await connect_postgres(
                self.database_url, connections_max=self._connections_max, silence_ms=self._silence_ms
            )
        self._stack.push_async_callback(self._close)
        self.catalog = Catalog(self._redis, self.pool, self.keys)
        self.schedules = Schedules(self, self._redis)
        self.access = Access(self.pool, self.keys)
        self.operators = Operators(self.pool, self.keys)
        self.webhooks = Webhooks(self.pool, self.keys)
        places = (self._redis, self.pool, self.keys, self.catalog)
        hard_max, patience_s = self._outbox_hard_max, self._patience_s
        partitions = self._partitions
        self._submitter = Submitter(*places, partitions=partitions, outbox_hard_max=hard_max, patience_s=patience_s)
        self._control = Control(*places, outbox_hard_max=hard_max)
        self._decisions = Decisions(self._control, self.pool, self.catalog)
        self.pausing = Pausing(self._redis, self.pool, self.keys, self._control, partitions=self._partitions)
        self._dead_letters = DeadLetters(self.pool, self.keys)
        self._restarts = Restarts(self.pool, self.keys, self.catalog, self._submitter, partitions=self._partitions)
        self._migrations = Migrations(*places, outbox_hard_max=hard_max)
        self.artifacts = Artifacts(self._redis, self.pool, self.keys)
        results = Results(self._redis, self.pool, self.keys, self._partitions)
        self._results = await self._stack.enter_async_context(results)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    async def _close(self) -> None:
        """Also when cancelled: a connection that nobody closes keeps its server waiting."""
        await close_redis(self._redis)
        with anyio.CancelScope(shield=True), anyio.move_on_after(CLOSE_S) as patience:
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

        Where Redis is away it is accepted, and started when Redis is back. Where Postgres is away it waits for that, as
        long as the client has patience; then it is refused.

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
        return await self._submitter.start(submission)

    async def submit_many(self, submissions: Sequence[Submission], *, durability: Durability = "postgres") -> list[str]:
        """Start runs and return their ids, in order. Up to 1,000 all or none: the first refusal is raised.

        More come in batches, each of up to 1,000 and all or none.

        durability: with ``redis`` a run is acknowledged when Redis has it, while Postgres still writes to its disk.
        """
        return await self._submitter.submit_many(submissions, durability=durability)

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

    async def health(self, limits: Limits = DEFAULT_LIMITS) -> Health:
        """Say how the environment is: HEALTHY, WARNING or CRITICAL, and why. Also where a server is away."""
        vitals = await read_vitals(self._redis, self.pool.acquire, self.keys, self._partitions)
        return judge_health(vitals, limits, self.keys.env)

    async def migrate_run(
        self, run_id: str, to: int | str = "latest", *, reason: str = "", by: str | None = None, dry_run: bool = False
    ) -> Migration:
        """Let a run go on with another version of its workflow: a number, the hash of its IR, or the latest.

        It must be proved that the run can. dry_run: only say so, or what stands in the way. Raises NotMigratable,
        WorkflowNotFound.
        """
        if dry_run:
            return await self._migrations.preview(run_id, to)
        return await self._migrations.migrate(run_id, to, by=by, reason=reason)

    async def irs(self, addresses: Iterable[str]) -> dict[str, Ir]:
        """Return the IRs of these hashes, without those that nobody knows."""
        with AsUnavailable():
            return await self.catalog.irs(addresses)

    async def dead_letters(
        self, wanted: Wanted | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> DeadLetterPage:
        """Return one page of steps that failed for good and that nobody has dealt with, the last failure first."""
        return await self._dead_letters.list(wanted or Wanted(), limit=limit, cursor=cursor)

    async def requeue(
        self, run_id: str, *, by: str | None = None, again: bool = False, dry_run: bool = False
    ) -> Restarted:
        """Start a run with dead letters again from where it was before its first one: a new run, with this base run.

        Asked twice it is the same run; with ``again`` it is another one. Raises RunNotFound, NotRestartable.
        """
        return await self._restart(run_id, Wish(trigger="requeue"), by, again=again, dry_run=dry_run)

    async def retry(
        self,
        run_id: str,
        *,
        version: int | str = "base",
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Restarted:
        """As ``requeue``, also of a run that was cancelled or whose time was up.

        version: of the workflow, by which the rest is done, and what it does otherwise than it was done: "base",
        "latest", or a number.
        """
        return await self._restart(run_id, Wish(trigger="retry", version=version), by, again=again, dry_run=dry_run)

    async def fork(
        self,
        run_id: str,
        at: int,
        *,
        input: Any = UNSET,
        override: Mapping[str, Any] | None = None,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Restarted:
        """Start a run that goes on from where another one was after its event ``at``, whether or not that has ended.

        In the middle of a transition the last whole one counts. input: in the place of the other run's. override:
        outputs in the place of steps', by ``step`` or ``step[scope]``. Raises NotRestartable, InputInvalid.
        """
        return await self._restart(run_id, fork_wish(at, input, override), by, again=again, dry_run=dry_run)

    async def rerun(
        self,
        run_id: str,
        steps: Sequence[str],
        *,
        input: Any = UNSET,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Restarted:
        """Start a run in which steps of an ended one are executed again, with all that follows from them.

        Everything else is taken over. input, again: as of ``fork``. Raises RunNotFound, StepNotFound, NotRestartable,
        InputInvalid.
        """
        return await self._restart(run_id, rerun_wish(steps, input), by, again=again, dry_run=dry_run)

    async def rebuild(
        self,
        run_id: str,
        changes: Sequence[str] = (),
        *,
        steps: Sequence[str] = (),
        input: Any = UNSET,
        is_any_version: bool = False,
        key: str | None = None,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Restarted:
        """As ``rerun``, of a completed run: from the steps that these changes make out of date, and from ``steps``.

        Which those are says ``changes`` of the document. is_any_version: also where the workflow has a newer version.
        key: an idempotency key; left out, the same wish is the same run.
        """
        wish = rebuild_wish(changes, steps, input, is_any_version=is_any_version, key=key)
        return await self._restart(run_id, wish, by, again=again, dry_run=dry_run)

    async def _restart(self, run_id: str, wish: Wish, by: str | None, *, again: bool, dry_run: bool) -> Restarted:
        if dry_run:
            return await self._restarts.preview(run_id, wish)
        return await self._restarts.restart(run_id, wish, by, again=again)

    async def drop_dead_letters(
        self, letters: Sequence[DeadLetter], reason: str = "", *, by: str | None = None
    ) -> DroppedLetters:
        """Write down that somebody has dealt with dead letters otherwise; return those that were open until now."""
        return await self._dead_letters.drop(letters, reason, by)

    async def _about_run(self, run_id: str, kind: str, body: Body, by: str | None) -> Commanded:
        return await self._control.about_run(run_id, kind, body, by)

    async def _signal(self, run_id: str, name: str, data: Any, by: str | None) -> Commanded:
        return await self._control.signal(run_id, name, data, by)

    async def _about_step(self, run_id: str, kind: str, step: str, scope: str, body: Body, by: str | None) -> Commanded:
        return await self._control.about_step(run_id, kind, step, scope, body, by)

    async def _decide(self, run_id: str, decision: Decision) -> StepCommanded:
        return await self._decisions.decide(run_id, decision)

    async def _end_step(self, token: str, output: Any, error: str | None, by: str | None) -> StepCommanded:
        return await self._decisions.end(token, output, error, by)

    async def _pause(self, kind: PauseKind, name: str, reason: str, by: str | None) -> PauseResult:
        return await self.pausing.pause(kind, name, reason, by)

    async def _resume(self, kind: PauseKind, name: str, by: str | None) -> PauseResult:
        return await self.pausing.resume(kind, name, by)


__all__ = ["Client", "Commanded", "Durability", "RunResult", "StepCommanded", "Submission"]
