"""What the public face raises.

CouranteError (code, message, hint)
├── WorkflowNotFound      no such workflow or version
├── RunNotFound           no such run
├── InputInvalid          the input does not fit the workflow's schema, or is no JSON (problems)
│   ├── ScheduleInvalid   a schedule, or a request about one, that cannot be kept (problems)
│   └── WebhookInvalid    a webhook that cannot be kept (problems)
├── ScheduleNotFound      no such schedule
├── ScheduleExists        a schedule of this id asks for something else
├── ApiKeyNotFound        no such API key
├── ApiKeyExists          a key of this name is in force
├── WebhookNotFound       no such webhook
├── WebhookExists         there is a webhook of this name
├── ArtifactNotFound      no such artifact, or its content is damaged
├── EventNotFound         the log of the run has no event of this number
├── IrNotFound            nobody knows what the run was compiled to
├── LogCorrupt            the log contradicts the rules
├── ArtifactGone          retention has dropped its content
├── AnchorOutdated        another anchor was made since this one was drafted
├── IdempotencyConflict   the key belongs to another request
├── StepNotFound          the run's workflow has no such step, or the step has no such scope
├── StepUnclear           several steps are meant, or none (steps)
├── NothingWaits          what should be decided or completed does not wait for it any more
│   └── AlreadyDecided    somebody else was first (decision, by, at)
├── ApproverNotSeparate   who has started a run may not decide this about it (by)
├── NotRestartable        no run can go on from where this one ended (reason)
├── NotMigratable         the run cannot go on with that version of its workflow (reason, blockers)
├── PayloadUnreadable     what is stored was encrypted with a key that this process has not, or was changed
├── ServiceUnavailable    Redis or Postgres cannot be reached, or refuses work for now
└── DocumentInvalid       a document that does not compile (diagnostics)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from ..compiler.diagnostics import Diagnostic


class CouranteError(Exception):
    """``code``: stable, lower case. ``hint``: what to do, may be empty."""

    code = "error"

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class WorkflowNotFound(CouranteError):
    code = "workflow_not_found"


class RunNotFound(CouranteError):
    code = "run_not_found"


class InputInvalid(CouranteError):
    """``problems``: a line per violation, with its place in the input."""

    code = "input_invalid"

    def __init__(self, message: str, problems: Sequence[str] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class ScheduleInvalid(InputInvalid):
    """``problems``: a line per problem, with the name of its field."""

    code = "schedule_invalid"


class WebhookInvalid(InputInvalid):
    code = "webhook_invalid"


class ScheduleNotFound(CouranteError):
    code = "schedule_not_found"


class ScheduleExists(CouranteError):
    code = "schedule_exists"


class ApiKeyNotFound(CouranteError):
    code = "api_key_not_found"


class ApiKeyExists(CouranteError):
    code = "api_key_exists"


class WebhookNotFound(CouranteError):
    code = "webhook_not_found"


class WebhookExists(CouranteError):
    code = "webhook_exists"


class ArtifactNotFound(CouranteError):
    code = "artifact_not_found"


class AnchorOutdated(CouranteError):
    code = "anchor_outdated"


class EventNotFound(CouranteError):
    code = "event_not_found"


class IrNotFound(CouranteError):
    code = "ir_not_found"


class LogCorrupt(CouranteError):
    code = "log_corrupt"


class ArtifactGone(CouranteError):
    code = "artifact_gone"


class IdempotencyConflict(CouranteError):
    code = "idempotency_conflict"


class StepNotFound(CouranteError):
    code = "step_not_found"


class StepUnclear(CouranteError):
    """``steps``: those that could be meant."""

    code = "step_unclear"

    def __init__(self, message: str, steps: Sequence[str] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.steps = tuple(steps)


class NothingWaits(CouranteError):
    code = "nothing_waits"


class AlreadyDecided(NothingWaits):
    """``decision``: approve, reject, complete or fail. ``by``: None where nobody said who it was."""

    code = "already_decided"

    def __init__(self, message: str, *, decision: str, by: str | None, at: datetime) -> None:
        super().__init__(message)
        self.decision = decision
        self.by = by
        self.at = at


class ApproverNotSeparate(CouranteError):
    """``by``: who was refused; None where nobody said who it was."""

    code = "approver_not_separate"

    def __init__(self, message: str, *, by: str | None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.by = by


class NotRestartable(CouranteError):
    """``reason``: not_failed, undone, emptied, archived, halted, unknown_event, not_begun, not_reached, other_version,
    too_large, unreadable, unknown_way, not_ended, not_completed or unknown_change.
    """

    code = "not_restartable"

    def __init__(self, message: str, *, reason: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason


class Blocker(NamedTuple):
    """What stands in the way of a run's move to another version.

    ``code``: stable. ``token``: id of the token, ``<run>/<node>/<scope>``, or empty where no token does. ``node``,
    ``scope``: the step that it is about. ``message``, ``hint``: for people.
    """

    code: str
    token: str
    node: str
    scope: str
    message: str
    hint: str


class NotMigratable(CouranteError):
    """``reason``: blocked, ended, halted, not_begun, moving, too_large or unreadable.

    ``blockers``: all that stands in the way, where it is blocked.
    """

    code = "not_migratable"

    def __init__(self, message: str, *, reason: str, hint: str = "", blockers: Sequence[Blocker] = ()) -> None:
        super().__init__(message, hint=hint)
        self.reason = reason
        self.blockers = tuple(blockers)


class ServiceUnavailable(CouranteError):
    code = "service_unavailable"


class IrUnreadable(ServiceUnavailable):
    """A newer version of this program has compiled the workflow: another process may be able to read it."""

    def __init__(self, address: str) -> None:
        super().__init__(f"the IR {address} is none that this version can read", hint="update this process")


class PayloadUnreadable(CouranteError):
    code = "payload_unreadable"

    def __init__(self, message: str) -> None:
        super().__init__(
            message, hint="COURANTE_KEY_RING names the file with the keys; whoever reads needs all of them"
        )


class DocumentInvalid(CouranteError):
    code = "document_invalid"

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        errors = [d for d in diagnostics if d.severity == "error"]
        super().__init__(errors[0].message if errors else "the document is invalid")
        self.diagnostics = tuple(diagnostics)
