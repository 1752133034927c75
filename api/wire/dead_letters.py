"""Dead letters, and what became of them, as they travel."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ...compiler.ir import Ir
from ...sdk.events import ErrorInfo
from ...sdk.moments import iso_text
from ...sdk.stores.dead_letters import DeadLetter as Letter
from .commands import Refusal, RestartDone, Text, Word
from .events import Numbers
from .moments import Moment, moment


class LetterError(msgspec.Struct, frozen=True, kw_only=True, rename={"failure_class": "class"}):
    """``kind``: retryable or fatal. ``class``: network, timeout, an HTTP status ... All but type may be empty."""

    type: str
    message: str
    kind: str
    failure_class: str
    worker: str
    traceback: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A step that failed for good. ``state``: whether somebody has dealt with it."""

    run_id: str
    workflow: str
    version: int
    tags: list[str]
    step: str
    scope: str
    attempts: int
    error: LetterError | None
    failed_at: Moment
    seq: int
    state: Literal["open", "requeued", "dropped"]
    requeued_as: str | None
    dropped_by: str | None
    drop_reason: str | None
    dropped_at: Moment | None


class DeadLetterPage(msgspec.Struct, frozen=True, kw_only=True):
    """The last failure first."""

    dead_letters: list[DeadLetter]
    next: str | None


class Requeue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``runs``: with dead letters."""

    runs: Annotated[list[Word], Meta(min_length=1, max_length=1_000)]
    dry_run: bool = False
    again: bool = False
    by: Word | None = None


class Requeued(msgspec.Struct, frozen=True, kw_only=True):
    dry_run: bool
    requeued: list[RestartDone]
    refused: list[Refusal]


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``step``: left out, all of the run. ``scope``: left out, all of the step."""

    run_id: Word
    step: Word | None = None
    scope: Word | None = None


class Drop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    places: Annotated[list[Place], Meta(min_length=1, max_length=1_000)]
    reason: Text = ""
    by: Word | None = None


class DroppedStep(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    step: str
    scope: str


class DropDone(msgspec.Struct, frozen=True, kw_only=True):
    """Those that were open until now."""

    dropped: list[DroppedStep]
    by: str
    reason: str


def dead_letter_of(letter: Letter, ir: Ir | None) -> DeadLetter:
    """ir: None where it is not known; the scope is then as the log has it."""
    return DeadLetter(
        run_id=letter.run_id,
        workflow=letter.workflow,
        version=letter.version,
        tags=list(letter.tags),
        step=letter.node,
        scope=Numbers(ir).scope(letter.node, letter.scope),
        attempts=letter.attempt,
        error=None if letter.error is None else _error(letter.error),
        failed_at=iso_text(letter.failed_at),
        seq=letter.seq,
        state=letter.state,
        requeued_as=letter.requeued_as,
        dropped_by=letter.dropped_by,
        drop_reason=letter.drop_reason,
        dropped_at=moment(letter.dropped_at),
    )


def _error(error: ErrorInfo) -> LetterError:
    return LetterError(
        type=error.type,
        message=error.message,
        kind=error.kind,
        failure_class=error.failure_class,
        worker=error.worker,
        traceback=error.traceback,
    )
