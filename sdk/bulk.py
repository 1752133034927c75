"""Bulk: many runs go on anew, each as if it had been asked for by itself.

Runs are selected as ``courante runs`` lists them: a page at a time, newest first; those that come into being meanwhile
are not among them. Who asks twice for the same of a run gets the same run, so that a bulk that was interrupted is
simply asked for again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import anyio
import msgspec

from .errors import CouranteError, InputInvalid, NotRestartable
from .restarts import RETRIED, Restarted
from .stores.errors import BadFilter, LogArchived
from .stores.runs import RunRow, list_runs
from .stores.status import RunStatus, run_status
from .unavailable import AsUnavailable

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


Act = Callable[[str], Awaitable[Restarted]]


class Bulk:
    """Of one environment. Close what it returns (``contextlib.aclosing``) where it is not read to its end."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def select(self, wanted: Selection) -> AsyncGenerator[list[RunRow]]:
        """Yield the runs that are wanted, a page at a time, newest first. Raises InputInvalid, ServiceUnavailable."""
        left, cursor = wanted.limit, None
        while left is None or left > 0:
            with AsUnavailable():
                async with self._client.pool.acquire() as conn:
                    try:
                        page = await list_runs(
                            conn,
                            self._client.keys.env,
                            workflow=wanted.workflow,
                            status=wanted.status,
                            since=wanted.since,
                            tag=wanted.tag,
                            limit=PAGE if left is None else min(PAGE, left),
                            cursor=cursor,
                        )
                    except BadFilter as error:
                        raise InputInvalid(str(error)) from error
            if page.runs:
                yield page.runs
            left, cursor = None if left is None else left - len(page.runs), page.next
            if cursor is None:
                return

    async def each(self, wanted: Selection, act: Act) -> AsyncGenerator[Outcome]:
        """Do the same for each of the runs, and yield what became of it, in their order; a few at once.

        What is refused of one is its outcome and no reason to stop; a service that is away is.
        Raises InputInvalid where nothing says which runs, ServiceUnavailable.
        """
        if not wanted.says_which:
            raise InputInvalid("which runs is not said", hint="give a workflow, a status, a time or a tag")
        async for runs in self.select(wanted):
            for first in range(0, len(runs), AT_ONCE):
                for outcome in await _acted([run.run_id for run in runs[first : first + AT_ONCE]], act):
                    yield outcome

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
        if wanted.says_which:
            wanted = msgspec.structs.replace(wanted, status=_retried(wanted.status or RunStatus.FAILED))
        return self.each(
            wanted,
            lambda run_id: self._client.retry(run_id, version=version, by=by, again=again, dry_run=dry_run),
        )


def _retried(word: str) -> RunStatus:
    hint = f"one of {', '.join(sorted(RETRIED))}"
    try:
        status = run_status(word)
    except BadFilter as error:
        raise InputInvalid(str(error), hint=hint) from error
    if status not in RETRIED:
        raise InputInvalid(f"status: runs that are {status} are not retried", hint=hint)
    return status


async def _acted(run_ids: list[str], act: Act) -> list[Outcome]:
    told: dict[str, Restarted | CouranteError] = {}

    async def do(run_id: str) -> None:
        try:
            told[run_id] = await act(run_id)
        except CouranteError as error:
            told[run_id] = error
        except LogArchived as error:
            told[run_id] = NotRestartable(str(error), reason="archived", hint="put it back: courante retain restore")

    async with anyio.create_task_group() as group:
        for run_id in run_ids:
            group.start_soon(do, run_id)
    for error in told.values():
        if isinstance(error, CouranteError) and error.code == "service_unavailable":
            raise error
    return [Outcome(run_id, told[run_id]) for run_id in run_ids]
