"""Live runs that go on with another version of their workflow, as they travel."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.migration.migrations import LATEST, Migration, VersionName
from .commands import Because, VersionNumber, Word


class Migrate(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``to``: a number, the hash of its IR, or latest. ``dry_run``: only say whether it can."""

    to: VersionNumber | Word = LATEST
    dry_run: bool = False


class BlockerShown(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in the way. ``token``, ``node``, ``scope``: empty where it is about none."""

    code: str
    token: str
    node: str
    scope: str
    message: str
    hint: str


class MigrationShown(msgspec.Struct, frozen=True, kw_only=True, rename={"before": "from", "after": "to"}):
    """``seq``: of the event after which it was looked at. ``moved``: it goes on with ``to`` now, and did not before."""

    run_id: str
    workflow: str
    before: VersionName
    after: VersionName
    seq: int
    ok: bool
    moved: bool
    blockers: list[BlockerShown]
    by: str | UnsetType | None = UNSET


def migration_shown(done: Migration, by: str | UnsetType | None = UNSET) -> MigrationShown:
    return MigrationShown(
        run_id=done.run_id,
        workflow=done.workflow,
        before=done.before,
        after=done.after,
        seq=done.seq,
        ok=not done.blockers,
        moved=done.is_moved,
        blockers=[BlockerShown(**one._asdict()) for one in done.blockers],
        by=by,
    )
