"""Exit codes, and how every error that can leave a command is told: a code, what is wrong, and what to do.

Source: docs/reference/cli.md. Modules that know their own errors are imported only when there is an error to explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import cast

from .output import ReaderGone
from .texts import cut_lines


class ExitCode(IntEnum):
    OK = 0
    INVALID = 1
    SERVICE = 2
    NOT_FOUND = 3
    CANCELLED = 4
    RUN_FAILED = 5
    TIMED_OUT = 6
    USAGE = 64
    INTERRUPTED = 130


class CliError(Exception):
    """An error that is ready to be shown. ``code``: stable, lower-case words joined by ``_``; ``hint``: what to do."""

    def __init__(self, exit_code: ExitCode, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.code = code
        self.message = message
        self.hint = hint


STATUS_EXITS = {
    "COMPLETED": ExitCode.OK,
    "CANCELLED": ExitCode.CANCELLED,
    "FAILED": ExitCode.RUN_FAILED,
    "TIMED_OUT": ExitCode.TIMED_OUT,
}
"""Exit code of a command that waited for a run, by the run's final status."""


def explain(error: BaseException) -> CliError | None:
    """Return an error ready to be shown, None for one that is a fault of ours."""
    if isinstance(error, BaseExceptionGroup):
        return _explain_group(cast("BaseExceptionGroup[BaseException]", error))
    if isinstance(error, CliError):
        return error
    if isinstance(error, ReaderGone):
        return CliError(ExitCode.OK, "reader_gone", "the reader of the output has left")
    return _explain_rights(error) or _explain_ours(error) or _explain_services(error)


def refused(code: str, message: str, hint: str = "", problems: Sequence[str] = ()) -> CliError:
    """Return a refusal of the engine. problems: all that is wrong, the first of which the message tells."""
    hint = hint or _HINTS.get(code, "")
    if hint == _INPUT_HINT and not message.removeprefix("the ").startswith("input"):
        hint = ""  # it is about a name, a text or a time
    return CliError(_EXITS.get(code, ExitCode.INVALID), code, "\n".join((message, *problems[1:])), hint)


def _explain_group(group: BaseExceptionGroup[BaseException]) -> CliError | None:
    """The first of the errors that a task group wraps, however deep; None if one of them is a fault of ours."""
    told = [explain(error) for error in group.exceptions]
    return None if None in told else told[0]


def _explain_ours(error: BaseException) -> CliError | None:
    from ..sdk import errors
    from ..sdk.embedded.errors import EmbeddedError
    from ..sdk.settings import SettingsError
    from ..sdk.stores import errors as stores

    if isinstance(error, SettingsError):
        hint = error.hint or "'courante config' shows every setting and where it comes from"
        return CliError(
            ExitCode.USAGE, "bad_setting", f"{error.field or 'settings'} from {error.source}: {error.allowed}", hint
        )
    if isinstance(error, EmbeddedError):
        return CliError(ExitCode.SERVICE, error.code, error.message, error.hint)
    if isinstance(error, errors.CouranteError):
        problems = error.problems if isinstance(error, errors.InputInvalid) else ()
        return refused(error.code, error.message, error.hint, problems)
    if isinstance(error, stores.UnknownRun):
        return refused("run_not_found", str(error))
    if isinstance(error, stores.UnknownWorkflow):
        return refused("workflow_not_found", str(error))
    if isinstance(error, stores.LogArchived):
        return refused("log_archived", str(error), f"courante retain restore {error.path}" if error.path else "")
    if isinstance(error, stores.NotEnded):
        return CliError(ExitCode.INVALID, "run_not_ended", str(error), f"courante cancel {error.run_id}")
    if isinstance(error, stores.BadFilter):
        return CliError(ExitCode.USAGE, f"bad_{error.field}", str(error))
    if isinstance(error, stores.RoleUnusable):
        return CliError(ExitCode.USAGE, "role_unusable", str(error), error.hint)
    if isinstance(error, stores.SchemaError):
        return CliError(
            ExitCode.SERVICE,
            "schema_unusable",
            str(error),
            "is this the right database, and the right version of courante?",
        )
    return None


_EXITS = {
    "workflow_not_found": ExitCode.NOT_FOUND,
    "run_not_found": ExitCode.NOT_FOUND,
    "artifact_gone": ExitCode.NOT_FOUND,
    "artifact_not_found": ExitCode.NOT_FOUND,
    "schedule_not_found": ExitCode.NOT_FOUND,
    "api_key_not_found": ExitCode.NOT_FOUND,
    "api_keys_missing": ExitCode.SERVICE,
    "event_not_found": ExitCode.NOT_FOUND,
    "ir_not_found": ExitCode.NOT_FOUND,
    "webhook_invalid": ExitCode.USAGE,
    "webhook_not_found": ExitCode.NOT_FOUND,
    "log_archived": ExitCode.NOT_FOUND,
    "rate_limited": ExitCode.SERVICE,
    "step_not_found": ExitCode.NOT_FOUND,
    "step_unclear": ExitCode.USAGE,
    "service_unavailable": ExitCode.SERVICE,
    "bench_unknown": ExitCode.USAGE,
    "key_unusable": ExitCode.USAGE,
}
_INPUT_HINT = "the workflow's 'input:' says what it takes; give it with --input NAME=VALUE or --input-file FILE"
_HINTS = {
    "api_key_not_found": "'courante keys list --all' shows those of this environment",
    "schedule_exists": "give another id, or --replace this one",
    "schedule_not_found": "'courante schedules list' shows those of this environment",
    "log_archived": "its summary is in 'courante status'",
    "nothing_waits": "'courante approvals' lists the steps that wait for a decision",
    "run_not_found": "'courante runs' lists the runs of this environment",
    "webhook_exists": "'courante webhooks remove NAME' takes it away",
    "webhook_not_found": "'courante webhooks list' shows those of this environment",
    "workflow_not_found": "'courante workflows list' shows what is registered; 'courante init FILE' registers a file",
    "input_invalid": _INPUT_HINT,
    "role_lacks_right": "the owner migrates; 'courante migrate --append-role ROLE' lets another role do the rest",
    "service_unavailable": "'courante doctor' looks at Redis and Postgres",
}


def _explain_rights(error: BaseException) -> CliError | None:
    """What Postgres does not let its role do, also where the client takes that for a server that is away."""
    import asyncpg

    for each in (error, error.__cause__):
        if isinstance(each, asyncpg.InsufficientPrivilegeError):
            message = f"the role of COURANTE_DATABASE_URL lacks a right: {cut_lines(str(each))}"
            return CliError(ExitCode.SERVICE, "role_lacks_right", message, _HINTS["role_lacks_right"])
    return None


def _explain_services(error: BaseException) -> CliError | None:
    """What the clients of Redis and Postgres raise."""
    import asyncpg
    from redis.exceptions import RedisError

    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.UndefinedFunctionError):
        return CliError(
            ExitCode.SERVICE, "schema_missing", "the database has no tables of ours", "run 'courante migrate'"
        )
    hint = _HINTS["service_unavailable"]
    if isinstance(error, RedisError):
        return CliError(ExitCode.SERVICE, "redis_unavailable", f"Redis: {cut_lines(str(error))}", hint)
    if isinstance(error, asyncpg.PostgresError | asyncpg.InterfaceError):
        return CliError(ExitCode.SERVICE, "postgres_unavailable", f"Postgres: {cut_lines(str(error))}", hint)
    if isinstance(error, ConnectionError):
        return CliError(ExitCode.SERVICE, "service_unavailable", f"a server cannot be reached: {error}", hint)
    return None
