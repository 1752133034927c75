"""Many runs that go on anew, a page at a time, as they travel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta

from ...sdk.client.bulk import Outcome
from ...sdk.errors import CouranteError
from .commands import Fork, Rebuild, Refusal, RestartDone, Retry, Word, refusal_of, restart_of


class Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which runs: all that is given must hold, and something must be. ``since``: accepted since then; ``2h`` ago, or
    ISO 8601. ``cursor``: the ``next`` of the page before.
    """

    workflow: Word | None = None
    status: Word | None = None
    since: Word | None = None
    tag: Word | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100
    cursor: Word | None = None


class RetryMany(Retry, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``status``: FAILED where it is left out, or CANCELLED or TIMED_OUT."""

    runs: Chosen


class RerunMany(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``steps``: that are executed again, with all that follows. ``input``: in place of each run's own."""

    runs: Chosen
    steps: Annotated[list[Word], Meta(min_length=1, max_length=1_000)]
    input: Any = UNSET
    dry_run: bool = False
    again: bool = False
    by: Word | None = None


class RebuildMany(Rebuild, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``status``: COMPLETED, or left out."""

    runs: Chosen


class ForkMany(Fork, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Each after its event ``at``."""

    runs: Chosen


class BulkOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run: either it goes on as another one, or it is refused."""

    run_id: str
    restarted: RestartDone | None = None
    refused: Refusal | None = None


class BulkPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest run first. ``next``: null where there are no more."""

    dry_run: bool
    outcomes: list[BulkOutcome]
    next: str | None


def bulk_page(outcomes: Sequence[Outcome], following: str | None, *, is_dry: bool, is_fork: bool = False) -> BulkPage:
    told = [_outcome(one, is_dry=is_dry, is_fork=is_fork) for one in outcomes]
    return BulkPage(dry_run=is_dry, outcomes=told, next=following)


def _outcome(one: Outcome, *, is_dry: bool, is_fork: bool) -> BulkOutcome:
    if isinstance(one.told, CouranteError):
        return BulkOutcome(run_id=one.run_id, refused=refusal_of(one.run_id, one.told))
    return BulkOutcome(run_id=one.run_id, restarted=restart_of(one.told, is_dry=is_dry, is_fork=is_fork))
