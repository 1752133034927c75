"""What the stores raise.

StoreError
├── SchemaError        the database is not what this code needs
│   ├── MigrationChanged    a migration that was applied reads otherwise now (file)
│   ├── SchemaTooNew        migrations were applied that this code does not know (names)
│   └── RoleUnusable        a role of Postgres cannot be granted less than it may (name, hint)
├── UnknownWorkflow    no such workflow or version
├── UnknownRun         no such run
├── LogArchived        the events of a run were moved out of the log (run_id, at, path)
├── NotEnded           what is only done with runs that have ended was asked for one that goes on
└── BadFilter          a filter, limit or cursor that cannot be used (field)
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime


class StoreError(Exception):
    """Anything that a store refuses."""


class SchemaError(StoreError):
    """The database is not what this code needs."""


class MigrationChanged(SchemaError):
    """A migration that was applied reads otherwise now. file: its name."""

    def __init__(self, file: str) -> None:
        super().__init__(f"{file} was changed after it had been applied; write a new migration instead")
        self.file = file


class SchemaTooNew(SchemaError):
    """The database was migrated by newer code. names: the migrations unknown here."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(f"the database has migrations that this version does not know: {', '.join(names)}; upgrade it")
        self.names = tuple(names)


class RoleUnusable(SchemaError):
    """A role of Postgres is not there, or may do more than it would be granted. hint: what to do."""

    def __init__(self, name: str, why: str, hint: str) -> None:
        super().__init__(f"role {name!r} cannot be used: {why}")
        self.name = name
        self.hint = hint


class UnknownWorkflow(StoreError):
    """No such workflow, or no such version of it."""

    def __init__(self, workflow: str, version: int | None = None) -> None:
        what = workflow if version is None else f"{workflow} version {version}"
        super().__init__(f"there is no workflow {what}")
        self.workflow = workflow
        self.version = version


class UnknownRun(StoreError):
    """No such run."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"there is no run {run_id}")
        self.run_id = run_id


class LogArchived(StoreError):
    """The events of a run were moved out of the log, some or all. path: of the archive; None where there is none.

    ``told``: the message for those whom the server's disk is no business of.
    """

    def __init__(self, run_id: str, at: datetime, path: str | None) -> None:
        day = at.astimezone(UTC).date().isoformat()
        self.told = f"the log of run {run_id} was moved away by retention on {day}"
        where = f"moved to {path}" if path else "deleted"
        super().__init__(f"the log of run {run_id} was {where} by retention on {day}")
        self.run_id = run_id
        self.at = at
        self.path = path


class NotEnded(StoreError):
    """What is only done with runs that have ended was asked for one that goes on."""

    def __init__(self, run_id: str) -> None:
        super().__init__(f"run {run_id} has not ended, or another run is about to go on from it")
        self.run_id = run_id


class BadFilter(StoreError):
    """A filter that cannot be used. field: which one."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
