"""Runs that were emptied of what they have said and made, as they travel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from ...sdk.moments import iso_text
from ...sdk.stores.forgetting import Forgotten, Relative
from ...supervisor.retention.forgetting import Emptied
from .commands import Because, Word
from .runs import ForgottenRun

RUNS_MAX = 50_000


class Forget(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``dry_run``: say what would be emptied, and change nothing."""

    dry_run: bool = False


class ForgetMany(Forget, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``runs``: by their ids; or ``before``: those that ended earlier, the oldest first, at most ``limit``.

    ``workflow``, ``tag``: narrow ``before`` down.
    """

    runs: Annotated[list[Word], Meta(max_length=RUNS_MAX)] = msgspec.field(default_factory=list[str])
    before: Annotated[datetime, Meta(tz=True)] | None = None
    workflow: Word | None = None
    tag: Word | None = None
    limit: Annotated[int, Meta(ge=1, le=10_000)] = 1_000


class Related(msgspec.Struct, frozen=True, kw_only=True):
    """A run that may hold copies. ``relation``: goes_on_from_it, or parent."""

    run_id: str
    relation: str


class ForgottenBefore(ForgottenRun, frozen=True, kw_only=True):
    run_id: str


class ForgetDone(msgspec.Struct, frozen=True, kw_only=True):
    """``forgotten``: the runs, and child runs. ``events``: that had a payload. ``payloads``: deleted; ``left``: to a
    sweep of a supervisor. ``not_ended``: child runs that stay as they are. ``before``: runs that were forgotten before.
    """

    dry_run: bool
    by: str | None
    reason: str
    forgotten: list[str]
    events: int
    payloads: int
    left: int
    not_ended: list[str]
    related: list[Related]
    before: list[ForgottenBefore]


def forget_done(
    done: Emptied, asked: Forget, by: str | None, *, relatives: Sequence[Relative], before: Iterable[Forgotten]
) -> ForgetDone:
    return ForgetDone(
        dry_run=asked.dry_run,
        by=by,
        reason=asked.reason,
        forgotten=list(done.run_ids),
        events=done.events,
        payloads=done.payloads,
        left=done.left,
        not_ended=list(done.kept_alive),
        related=[Related(run_id=one.run_id, relation=one.relation) for one in relatives],
        before=[
            ForgottenBefore(run_id=one.run_id, at=iso_text(one.forgotten_at), by=one.by, reason=one.reason)
            for one in before
        ],
    )
