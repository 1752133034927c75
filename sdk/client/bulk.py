"""Bulk: many runs go on anew, each as if it had been asked for by itself.

Runs are selected as ``courante runs`` lists them: a page at a time, newest first; those that come into being meanwhile
are not among them. Who asks twice for the same of a run gets the same run, and what was made by the same wish is not
made again by it, so that a bulk that was interrupted is simply asked for again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import msgspec
from msgspec import UNSET

from ..errors import CouranteError, InputInvalid, NotRestartable, ServiceUnavailable
from ..restarts.wishes import Trigger
from ..stores.errors import BadFilter, LogArchived
from ..stores.runs import LIMIT_MAX, RunPage, RunRow, list_runs
from ..stores.status import RunStatus, run_status
from ..unavailable import AsUnavailable
from .restarts import RETRIED, Restarted

if TYPE_CHECKING:
    from .client import Client

AT_ONCE = 8
PAGE = 200


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Which runs: all that is given must hold. ``since``: accepted then or later. ``limit``: at most so many.

    ``status``: any accepted spelling.
    """

    workflow: str | None = None
    status: str | None = None
    since: datetime | None = None
    tag: str | None = None
    limit: int | None = None

    @property
    def says_which(self) -> bool:
        return any(word is not None for word in (self.workflow, self.status, self.since, self.tag))


class Outcome(NamedTuple):
    """What became of a run: the one that goes on from it, or why none does."""

    run_id: str
    told: Restarted | CouranteError


Act = Callable[[RunRow], Awaitable[Restarted]]
Do = Callable[[str, bool], Awaitable[Restarted]]
"""Makes a run go on anew; with true it only says what would be done."""


class Bulk:
    """Of one environment. Close what it returns (``contextlib.aclosing``) where it is not read to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def select(self, wanted: Selection) -> AsyncGenerator[list[RunRow]]:
        """Yield the runs that are wanted, a page at a time, newest first. Raises InputInvalid, ServiceUnavailable."""
        left, cursor = wanted.limit, None
        while left is None or left > 0:
            page = await self._select(wanted, PAGE if left is None else min(PAGE, left), cursor)
            if page.runs:
                yield page.runs
            left, cursor = None if left is None else left - len(page.runs), page.next
            if cursor is None:
                return

    async def _select(self, wanted: Selection, limit: int, cursor: str | None) -> RunPage:
        with AsUnavailable():
            async with self._client.pool.acquire() as conn:
                try:
                    return await list_runs(
                        conn,
                        self._client.keys.env,
                        workflow=wanted.workflow,
                        status=wanted.status,
                        since=wanted.since,
                        tag=wanted.tag,
                        limit=limit,
                        cursor=cursor,
                    )
                except BadFilter as error:
                    raise InputInvalid(str(error)) from error

    async def each(self, wanted: Selection, act: Act) -> AsyncGenerator[Outcome]:
        """Do the same for each of the runs, and yield what became of it, in their order; a few at once.

        What is refused of one is its outcome and no reason to stop; a service that is away is.
        Raises InputInvalid where nothing says which runs, ServiceUnavailable.
        """
        _check(wanted)
        async for runs in self.select(wanted):
            async for outcome in _each(runs, act):
                yield outcome

    async def page(self, wanted: Selection, act: Act, *, cursor: str | None = None) -> tuple[list[Outcome], str | None]:
        """Do the same for a page of the runs; return what became of each, and the cursor of the page after it.

        Raises as ``each`` does.
        """
        _check(wanted)
        found = await self._select(wanted, min(wanted.limit or PAGE, LIMIT_MAX), cursor)
        return [outcome async for outcome in _each(found.runs, act)], found.next

    def retry(
        self,
        wanted: Selection,
        *,
        version: int | str = "base",
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[Outcome]:
        """Retry each of the runs that failed, or with the status CANCELLED or TIMED_OUT of those. See ``each``."""
        client = self._client
        return self.each(
            retried(wanted),
            lambda run: client.retry(run.run_id, version=version, by=by, again=again, dry_run=dry_run),
        )

    def rerun(
        self,
        wanted: Selection,
        steps: Sequence[str],
        *,
        input: Any = UNSET,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[Outcome]:
        """Execute steps of each of the runs again, with all that follows from them. See ``each``."""
        client = self._client
        return self.each(
            wanted,
            once(
                "rerun",
                lambda run_id, is_dry: client.rerun(run_id, steps, input=input, by=by, again=again, dry_run=is_dry),
                again=again,
                dry_run=dry_run,
            ),
        )

    def rebuild(
        self,
        wanted: Selection,
        changes: Sequence[str] = (),
        *,
        steps: Sequence[str] = (),
        input: Any = UNSET,
        is_any_version: bool = False,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[Outcome]:
        """Execute again what changes make out of date of each of the runs that are COMPLETED. See ``each``."""
        said: dict[str, Any] = {"steps": steps, "input": input, "is_any_version": is_any_version}
        client = self._client
        return self.each(
            rebuilt(wanted),
            once(
                "rebuild",
                lambda run_id, is_dry: client.rebuild(run_id, changes, **said, by=by, again=again, dry_run=is_dry),
                again=again,
                dry_run=dry_run,
            ),
        )

    def fork(
        self,
        wanted: Selection,
        at: int,
        *,
        input: Any = UNSET,
        override: Mapping[str, Any] | None = None,
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[Outcome]:
        """Fork each of the runs after its event ``at``. See ``each``."""
        said: dict[str, Any] = {"input": input, "override": override}
        client = self._client
        return self.each(
            wanted,
            once(
                "fork",
                lambda run_id, is_dry: client.fork(run_id, at, **said, by=by, again=again, dry_run=is_dry),
                again=again,
                dry_run=dry_run,
            ),
        )


def once(trigger: Trigger, do: Do, *, again: bool, dry_run: bool) -> Act:
    """Return what does it to a run, unless that was itself made by the same wish; then its base is told as it was."""

    async def act(run: RunRow) -> Restarted:
        if run.trigger == trigger and run.base_run_id is not None and not again:
            try:
                made = await do(run.base_run_id, True)
            except ServiceUnavailable:
                raise
            except (CouranteError, LogArchived):
                made = None  # its base is not there any more to say what was wished
            if made is not None and made.run_id == run.run_id:
                return made
        return await do(run.run_id, dry_run)

    return act


def rebuilt(wanted: Selection) -> Selection:
    """Return the runs of these that can be rebuilt: those that are complete. Raises InputInvalid."""
    if not wanted.says_which:
        return wanted
    status = _known_status(wanted.status or RunStatus.COMPLETED, [RunStatus.COMPLETED], "rebuilt")
    return msgspec.structs.replace(wanted, status=status)


def retried(wanted: Selection) -> Selection:
    """Return the runs of these that can be retried: those that failed where no status is given. Raises InputInvalid."""
    if not wanted.says_which:
        return wanted
    status = _known_status(wanted.status or RunStatus.FAILED, RETRIED, "retried")
    return msgspec.structs.replace(wanted, status=status)


def _check(wanted: Selection) -> None:
    if not wanted.says_which:
        raise InputInvalid("which runs is not said", hint="give a workflow, a status, a time or a tag")


def _known_status(word: str, known: Collection[RunStatus], done: str) -> RunStatus:
    hint = f"one of {', '.join(sorted(known))}"
    try:
        status = run_status(word)
    except BadFilter as error:
        raise InputInvalid(str(error), hint=hint) from error
    if status not in known:
        raise InputInvalid(f"status: runs that are {status} are not {done}", hint=hint)
    return status


async def _each(runs: Sequence[RunRow], act: Act) -> AsyncGenerator[Outcome]:
    for first in range(0, len(runs), AT_ONCE):
        for outcome in await _acted(runs[first : first + AT_ONCE], act):
            yield outcome


async def _acted(runs: Sequence[RunRow], act: Act) -> list[Outcome]:
    told: dict[str, Restarted | CouranteError] = {}

    async def do(run: RunRow) -> None:
        try:
            told[run.run_id] = await act(run)
        except CouranteError as error:
            told[run.run_id] = error
        except LogArchived as error:
            told[run.run_id] = NotRestartable(
                error.told, reason="archived", hint="put it back: courante retain restore"
            )

    async with anyio.create_task_group() as group:
        for run in runs:
            group.start_soon(do, run)
    for error in told.values():
        if isinstance(error, CouranteError) and error.code == "service_unavailable":
            raise error
    return [Outcome(run.run_id, told[run.run_id]) for run in runs]
