"""Many runs that go on anew, over an API: a page after the other, by the names that the engine's client has."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from msgspec import UNSET

from ...api.wire.bulk import BulkOutcome, BulkPage, Chosen, ForkMany, RebuildMany, RerunMany, RetryMany
from ...sdk.client.bulk import Outcome, Selection
from .connection import Connection
from .converted import refused, restarted, when
from .paths import at

PAGE = 50
"""Runs that are asked for at once: an answer comes in time, and is heard of in time."""


class ApiBulk:
    """See ``sdk.client.bulk.Bulk``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    def retry(
        self,
        wanted: Selection,
        *,
        version: int | str = "base",
        by: str | None = None,
        again: bool = False,
        dry_run: bool = False,
    ) -> AsyncGenerator[Outcome]:
        def body(chosen: Chosen) -> RetryMany:
            return RetryMany(runs=chosen, version=version, by=by, again=again, dry_run=dry_run)

        return self._pages(wanted, "retry", body)

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
        def body(chosen: Chosen) -> RerunMany:
            return RerunMany(runs=chosen, steps=list(steps), input=input, by=by, again=again, dry_run=dry_run)

        return self._pages(wanted, "rerun", body)

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
        def body(chosen: Chosen) -> RebuildMany:
            return RebuildMany(
                runs=chosen,
                changes=list(changes),
                steps=list(steps),
                input=input,
                version="base" if is_any_version else "latest",
                by=by,
                again=again,
                dry_run=dry_run,
            )

        return self._pages(wanted, "rebuild", body)

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
        given = dict(override or {})

        def body(chosen: Chosen) -> ForkMany:
            return ForkMany(runs=chosen, at=at, input=input, override=given, by=by, again=again, dry_run=dry_run)

        return self._pages(wanted, "fork", body)

    async def _pages(self, wanted: Selection, verb: str, body: Callable[[Chosen], object]) -> AsyncGenerator[Outcome]:
        left, cursor = wanted.limit, None
        while left is None or left > 0:
            chosen = Chosen(
                workflow=wanted.workflow,
                status=wanted.status,
                since=when(wanted.since),
                tag=wanted.tag,
                limit=PAGE if left is None else min(PAGE, left),
                cursor=cursor,
            )
            page = await self._api.post(at("runs", verb), body(chosen), BulkPage)
            for one in page.outcomes:
                yield _outcome(one)
            left, cursor = None if left is None else left - len(page.outcomes), page.next
            if cursor is None:
                return


def _outcome(one: BulkOutcome) -> Outcome:
    if one.refused is not None:
        return Outcome(one.run_id, refused(one.refused))
    assert one.restarted is not None
    return Outcome(one.run_id, restarted(one.restarted))
