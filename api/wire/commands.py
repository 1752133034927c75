"""Commands to runs, and what became of them, as they travel."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...sdk.client.control import Commanded
from ...sdk.client.deciding import StepCommanded
from ...sdk.client.restarts import Restarted
from ...sdk.errors import CouranteError, NotRestartable
from ...sdk.submissions.submissions import TAGS_MAX, Submission, encode_input

Text = Annotated[str, Meta(max_length=10_000)]
Word = Annotated[str, Meta(max_length=512)]
VersionNumber = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class Submit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run to start. ``version``: left out, the latest. ``key``: the same key is the same run.

    ``start_at``: not before; ``expires_at``: not started after it; ISO 8601 with an offset.
    """

    workflow: Annotated[str, Meta(min_length=1, max_length=512)]
    input: Any = msgspec.field(default_factory=dict[str, Any])
    version: VersionNumber | None = None
    key: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    by: Word | None = None
    tags: Annotated[list[Word], Meta(max_length=TAGS_MAX)] = msgspec.field(default_factory=lambda: [])
    start_at: Annotated[datetime, Meta(tz=True)] | None = None
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None


class SubmitMany(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs to start, all or none."""

    runs: Annotated[list[Submit], Meta(min_length=1, max_length=1_000)]


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """In the order in which they were asked for."""

    run_ids: list[str]


class Because(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``by``: who wants it, where that is somebody else than who asks."""

    reason: Text = ""
    by: Word | None = None


class CancelStep(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``scope``: which one, of a step in a loop or a map."""

    scope: Word = ""


class Force(CancelStep, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``output``: of a step that is to have succeeded."""

    end: Literal["succeed", "skip"]
    output: Any = None


class Signal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``data``: the output of the step that waits for it."""

    name: Annotated[str, Meta(min_length=1, max_length=512)]
    data: Any = None
    by: Word | None = None


class Decide(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``step``: may be left out where only one can be meant. ``data``: what the form asks for."""

    step: Word | None = None
    scope: Word = ""
    reason: Text = ""
    comment: Text = ""
    data: Any = None
    by: Word | None = None


class Complete(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``token``: as the step has handed it out."""

    token: Annotated[str, Meta(min_length=1, max_length=10_000)]
    output: Any = None
    by: Word | None = None


class Fail(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``reason``: the message of the step's error."""

    token: Annotated[str, Meta(min_length=1, max_length=10_000)]
    reason: Annotated[str, Meta(min_length=1, max_length=10_000)]
    by: Word | None = None


class Budget(Because, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By how much it is raised. ``cost``: in the budget's currency."""

    tokens: Annotated[int, Meta(ge=0, le=2**50)] = 0
    cost: Annotated[float, Meta(ge=0, le=1_000_000)] = 0


class Restart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``dry_run``: say what would be executed, and start nothing. ``again``: also where that was done before."""

    dry_run: bool = False
    again: bool = False
    by: Word | None = None


class Retry(Restart, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``version``: of the workflow, by which the rest is done: base, that of the run; latest, or a number."""

    version: VersionNumber | Word = "base"


class Fork(Restart, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``at``: the event after which it goes on. ``input``: in place of the run's own.

    ``override``: outputs in the place of steps', by ``step`` or ``step[scope]``.
    """

    at: Annotated[int, Meta(ge=1, le=2**53)]
    input: Any = UNSET
    override: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


class Rerun(Restart, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``steps``: that are executed again, with all that follows. ``input``: in place of the run's own."""

    steps: Annotated[list[Word], Meta(min_length=1, max_length=1_000)]
    input: Any = UNSET


class Rebuild(Restart, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``changes``: kinds of change that the workflow names steps for. ``steps``: others that are out of date.

    ``input``: in place of the run's own. ``version``: latest, only where the run has that of its workflow; base,
    whatever it has; newest: an older word for latest.
    """

    changes: Annotated[list[Word], Meta(max_length=1_000)] = msgspec.field(default_factory=list[str])
    steps: Annotated[list[Word], Meta(max_length=1_000)] = msgspec.field(default_factory=list[str])
    input: Any = UNSET
    version: Literal["latest", "base", "newest"] = "latest"


class CommandDone(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command. ``state``: applied; no_effect: there was nothing to act on; accepted: kept, and applied
    as soon as that can be. ``reason``: why it is not plainly applied.
    """

    run_id: str
    state: Literal["applied", "no_effect", "accepted"]
    reason: str
    by: str
    number: int
    step: str | UnsetType = UNSET
    scope: str | UnsetType = UNSET
    name: str | UnsetType = UNSET
    decision: Literal["approve", "reject"] | UnsetType = UNSET


class RestartDone(msgspec.Struct, frozen=True, kw_only=True):
    """A run that goes on from ``base_run_id`` after its event ``base_seq``; of a dry run, that would.

    ``is_new``: it was not started before. ``run_id``: left out where it is not there yet. ``impacted``: steps that may
    be executed; ``reused``: those that are not again. ``given``: of a fork, those whose outputs were given. ``scopes``:
    of ``impacted`` in loops and maps, where they are executed first, of each the first thousand.

    Of a retry, ``version``: of the workflow, that the run has; ``way``: resumed, with the version of its base; migrated
    or reenacted, with another one, or reenacted where a map's items failed; ``why``: of each of ``impacted``, why it is
    executed.
    """

    run_id: str | UnsetType = UNSET
    is_new: bool
    base_run_id: str
    base_seq: int
    impacted: list[str]
    reused: list[str]
    given: list[str] | UnsetType = UNSET
    scopes: dict[str, list[str]] | UnsetType = UNSET
    version: int | UnsetType = UNSET
    way: Literal["resumed", "migrated", "reenacted"] | UnsetType = UNSET
    why: dict[str, str] | UnsetType = UNSET
    by: str | UnsetType | None = UNSET


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A run that none goes on from."""

    base_run_id: str
    code: str
    reason: str
    message: str
    hint: str


def submission_of(asked: Submit, by: str, *, key: str | None = None, traceparent: str | None = None) -> Submission:
    """key: of the header, which the body's own goes before. Raises InputInvalid. Cost: that of writing the input."""
    return Submission(
        workflow=asked.workflow,
        content=encode_input(asked.input),
        version=asked.version,
        key=asked.key or key,
        by=by,
        tags=tuple(asked.tags),
        start_at=asked.start_at,
        expires_at=asked.expires_at,
        traceparent=traceparent,
    )


def done_of(found: Commanded, by: str, **more: Any) -> CommandDone:
    place: dict[str, Any] = {"step": found.step, "scope": found.scope} if isinstance(found, StepCommanded) else {}
    return CommandDone(
        run_id=found.run_id,
        state=found.state,
        reason=found.reason,
        by=by,
        number=found.number,
        **{**place, **more},
    )


def restart_of(
    found: Restarted, *, is_dry: bool, by: str | UnsetType | None = UNSET, is_fork: bool = False
) -> RestartDone:
    """by: who has asked, where that is to be told; of a dry run it is not."""
    return RestartDone(
        run_id=UNSET if is_dry and found.is_new else found.run_id,
        is_new=found.is_new,
        base_run_id=found.base_run_id,
        base_seq=found.base_seq,
        impacted=list(found.impacted),
        reused=list(found.reused),
        given=list(found.given) if is_fork else UNSET,
        scopes={step: [*some] for step, some in found.scopes.items()} or UNSET,
        version=found.version if found.way else UNSET,
        way=found.way or UNSET,
        why=found.why if found.way else UNSET,
        by=UNSET if is_dry else by,
    )


def refusal_of(run_id: str, error: CouranteError) -> Refusal:
    reason = error.reason if isinstance(error, NotRestartable) else ""
    return Refusal(base_run_id=run_id, code=error.code, reason=reason, message=error.message, hint=error.hint)
