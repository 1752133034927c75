"""The client of the engine over an API: what commands ask of it, by the same names and with the same results.

Refusals are CliErrors, but for those that commands look into: these are the engine's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET

from ...api.wire import commands as wire
from ...api.wire.dead_letters import DeadLetterPage as ToldLetters
from ...api.wire.dead_letters import Drop, DropDone, Place, Requeue, Requeued
from ...api.wire.migrations import Migrate, MigrationShown
from ...api.wire.pauses import PauseDone
from ...api.wire.runs import RunDetail
from ...compiler.ir import Ir
from ...sdk.client.commands import Commands
from ...sdk.client.control import Commanded
from ...sdk.client.dead_letters import DroppedLetters
from ...sdk.client.deciding import Decision, StepCommanded
from ...sdk.client.pausing import PauseResult
from ...sdk.client.restarts import Restarted
from ...sdk.client.results import RunResult
from ...sdk.errors import NotMigratable
from ...sdk.floor.commanding import RAISE
from ...sdk.migration.migrations import Migration
from ...sdk.stores.command_bodies import Body
from ...sdk.stores.dead_letters import DeadLetter, DeadLetterPage, Dropped, Wanted
from ...sdk.stores.pauses import PauseKind
from ..exits import CliError
from .bulk import ApiBulk
from .connection import Connection
from .converted import (
    commanded,
    dead_letter,
    migration,
    paused,
    refused,
    restarted,
    step_commanded,
    when,
)
from .faces import ApiAccess, ApiCache, ApiOperators, ApiPausing, ApiWebhooks
from .paths import at
from .schedules import ApiSchedules

PLACES_MAX = 1_000
BILLION = 10**9


class ApiClient(Commands):
    """See ``sdk.client.client.Client``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection
        self.access = ApiAccess(connection)
        self.bulk = ApiBulk(connection)
        self.operators = ApiOperators(connection)
        self.pausing = ApiPausing(connection)
        self.schedules = ApiSchedules(connection)
        self.step_cache = ApiCache(connection)
        self.webhooks = ApiWebhooks(connection)

    async def result(self, run_id: str) -> RunResult:
        """``status`` alone is known, and the times."""
        found = await self._api.get(at("runs", run_id), RunDetail)
        return RunResult(
            run_id=run_id, status=str(found.status), started_at=found.started_at, finished_at=found.finished_at
        )

    async def _about_run(self, run_id: str, kind: str, body: Body, by: str | None) -> Commanded:
        if kind == RAISE:
            raised = wire.Budget(tokens=body.tokens, cost=body.cost / BILLION, reason=body.reason, by=by)
            return await self._command(at("runs", run_id, "budget"), raised)
        return await self._command(at("runs", run_id, kind), wire.Because(reason=body.reason, by=by))

    async def _signal(self, run_id: str, name: str, data: Any, by: str | None) -> Commanded:
        return await self._command(at("runs", run_id, "signal"), wire.Signal(name=name, data=data, by=by))

    async def _about_step(self, run_id: str, kind: str, step: str, scope: str, body: Body, by: str | None) -> Commanded:
        place, reason = ("runs", run_id, "steps", step), body.reason
        if kind == "cancel_step":
            return await self._command(at(*place, "cancel"), wire.CancelStep(scope=scope, reason=reason, by=by))
        end: Literal["succeed", "skip"] = "succeed" if kind == "force_succeed" else "skip"
        force = wire.Force(end=end, output=body.output, scope=scope, reason=reason, by=by)
        return await self._command(at(*place, "force"), force)

    async def _command(self, path: str, body: object) -> Commanded:
        return commanded(await self._api.post(path, body, wire.CommandDone))

    async def _decide(self, run_id: str, decision: Decision) -> StepCommanded:
        said = msgspec.structs.asdict(decision)
        del said["is_approval"]
        return step_commanded(
            await self._api.post(at("runs", run_id, decision.type), wire.Decide(**said), wire.CommandDone)
        )

    async def _end_step(self, token: str, output: Any, error: str | None, by: str | None) -> StepCommanded:
        path, body = (
            (at("steps", "complete"), wire.Complete(token=token, output=output, by=by))
            if error is None
            else (at("steps", "fail"), wire.Fail(token=token, reason=error, by=by))
        )
        return step_commanded(await self._api.post(path, body, wire.CommandDone))

    async def _pause(self, kind: PauseKind, name: str, reason: str, by: str | None) -> PauseResult:
        body = wire.Because(reason=reason, by=by)
        return paused(await self._api.post(at(f"{kind}s", name, "pause"), body, PauseDone), kind, name)

    async def _resume(self, kind: PauseKind, name: str, by: str | None) -> PauseResult:
        body = wire.Because(by=by)
        return paused(await self._api.post(at(f"{kind}s", name, "resume"), body, PauseDone), kind, name)

    async def migrate_run(
        self, run_id: str, to: int | str = "latest", *, reason: str = "", by: str | None = None, dry_run: bool = False
    ) -> Migration:
        """Raises NotMigratable with what stands in the way."""
        body = Migrate(to=to, reason=reason, by=by, dry_run=dry_run)
        try:
            return migration(await self._api.post(at("runs", run_id, "migrate"), body, MigrationShown))
        except CliError as error:
            if dry_run or error.code != NotMigratable.code:
                raise
            planned = await self.migrate_run(run_id, to, reason=reason, by=by, dry_run=True)
            raise NotMigratable(error.message, reason="", hint=error.hint, blockers=planned.blockers) from error

    async def retry(
        self,
        run_id: str,
        *,
        version: int | str = "base",
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Restarted:
        return await self._restart(run_id, "retry", wire.Retry(version=version, by=by, again=again, dry_run=dry_run))

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
        body = wire.Fork(at=at, input=input, override=dict(override or {}), by=by, again=again, dry_run=dry_run)
        return await self._restart(run_id, "fork", body)

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
        body = wire.Rerun(steps=list(steps), input=input, by=by, again=again, dry_run=dry_run)
        return await self._restart(run_id, "rerun", body)

    async def rebuild(
        self,
        run_id: str,
        changes: Sequence[str] = (),
        *,
        steps: Sequence[str] = (),
        input: Any = UNSET,
        is_any_version: bool = False,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> Restarted:
        body = wire.Rebuild(
            changes=list(changes),
            steps=list(steps),
            input=input,
            version="base" if is_any_version else "latest",
            by=by,
            again=again,
            dry_run=dry_run,
        )
        return await self._restart(run_id, "rebuild", body)

    async def _restart(self, run_id: str, verb: str, body: object) -> Restarted:
        return restarted(await self._api.post(at("runs", run_id, verb), body, wire.RestartDone))

    async def irs(self, addresses: Iterable[str]) -> dict[str, Ir]:
        """None are known, and none are needed: scopes come as people read them."""
        del addresses
        return {}

    async def dead_letters(
        self, wanted: Wanted | None = None, *, limit: int = 50, cursor: str | None = None
    ) -> DeadLetterPage:
        wanted = wanted or Wanted()
        query = {
            "run_id": wanted.run_id,
            "workflow": wanted.workflow,
            "step": wanted.node,
            "error": wanted.error,
            "kind": wanted.kind,
            "since": when(wanted.since),
            "until": when(wanted.until),
            "tag": list(wanted.tags),
            "all": not wanted.is_open,
            "limit": limit,
            "cursor": cursor,
        }
        page = await self._api.get(at("dead-letters"), ToldLetters, query)
        return DeadLetterPage(letters=[dead_letter(one) for one in page.dead_letters], next=page.next)

    async def requeue(
        self, run_id: str, *, by: str | None = None, again: bool = False, dry_run: bool = False
    ) -> Restarted:
        """Raises CouranteError."""
        body = Requeue(runs=[run_id], by=by, again=again, dry_run=dry_run)
        done = await self._api.post(at("dead-letters", "requeue"), body, Requeued)
        if done.refused:
            raise refused(done.refused[0])
        return restarted(done.requeued[0])

    async def drop_dead_letters(
        self, letters: Sequence[DeadLetter], reason: str = "", *, by: str | None = None
    ) -> DroppedLetters:
        dropped, who = list[Dropped](), by
        for first in range(0, len(letters), PLACES_MAX):
            places = [
                Place(run_id=one.run_id, step=one.node, scope=one.scope) for one in letters[first : first + PLACES_MAX]
            ]
            body = Drop(places=places, reason=reason, by=by)
            done = await self._api.post(at("dead-letters", "drop"), body, DropDone)
            dropped += [Dropped(one.run_id, one.step, one.scope) for one in done.dropped]
            who = done.by
        return DroppedLetters(dropped, who)
