"""Runs as they travel."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.client.results import RunResult
from ...sdk.events import ErrorInfo
from ...sdk.spending.spent import Spent
from ...sdk.stores.alerts import AlertKind
from ...sdk.stores.children import ParentRow
from ...sdk.stores.runs import RunRow
from ...sdk.stores.status import RunStatus, StepStatus
from .approvals import Approval
from .children import Child, Parent, parent_of
from .moments import Moment, moment
from .spending import Cost, Usage, cost_of, usage_of
from .steps import Step
from .workflows import Edge, Node


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """``output``: null until the run is COMPLETED."""

    run_id: str
    status: RunStatus
    output: Any
    error: ErrorInfo | None
    started_at: Moment | None
    finished_at: Moment | None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong and only a person can change."""

    kind: AlertKind
    message: str
    since: Moment


class ForgottenRun(msgspec.Struct, frozen=True, kw_only=True):
    """That its values were emptied; who asked for it, and why."""

    at: Moment
    by: str | None
    reason: str


class ArchivedRun(msgspec.Struct, frozen=True, kw_only=True):
    """That its log was moved by retention. ``is_kept``: in an archive.

    ``path``: of that, null where there is none; it is told on the servers themselves alone.
    """

    at: Moment
    is_kept: bool
    path: str | UnsetType | None = UNSET


class RunShown(Result, frozen=True, kw_only=True):
    """A run with its steps. ``parent``: the step that it is; ``children``: runs that are steps of it.

    ``reason``: why it ends, or has ended, where that is no error. ``is_halted``: the log and the rules disagree.
    ``trigger``: why it was started, and ``by`` whom. ``base_run_id``: the run that it goes on from. ``approvals``: the
    decisions that it waits for.
    """

    workflow: str
    version: int
    reason: str | None
    tags: list[str]
    is_halted: bool
    created_at: Moment
    trigger: str
    base_run_id: str | None
    by: str | None
    steps: list[Step]
    parent: Parent | None
    children: list[Child]
    approvals: list[Approval]
    alerts: list[Alert]
    usage: Usage
    cost: Cost
    forgotten: ForgottenRun | None = None
    archived: ArchivedRun | None = None

    @property
    def is_final(self) -> bool:
        return self.status.is_final


class RunDetail(RunShown, frozen=True, kw_only=True):
    """A run with all that a page about it needs. ``nodes``, ``edges``: of the version that it runs by.

    ``steps_summary``: how many steps have which status.
    """

    steps_summary: dict[StepStatus, int]
    nodes: list[Node]
    edges: list[Edge]


class RunLine(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    workflow: str
    version: int
    status: RunStatus
    tags: list[str]
    started_at: Moment | None
    finished_at: Moment | None
    parent: Parent | None
    usage: Usage
    cost: Cost


class RunPage(msgspec.Struct, frozen=True, kw_only=True):
    """The newest first. ``next``: the cursor of the next page, null on the last one."""

    runs: list[RunLine]
    next: str | None


class Spending(msgspec.Struct, frozen=True, kw_only=True):
    """What the calls of models of a run have taken."""

    run_id: str
    usage: Usage
    cost: Cost


def result_of(found: RunResult) -> Result:
    return Result(
        run_id=found.run_id,
        status=RunStatus(found.status),
        output=found.output,
        error=None if found.error is None else msgspec.convert(found.error, ErrorInfo),
        started_at=found.started_at,
        finished_at=found.finished_at,
    )


def run_line(run: RunRow, parent: ParentRow | None, spent: list[Spent]) -> RunLine:
    return RunLine(
        run_id=run.run_id,
        workflow=run.workflow,
        version=run.version,
        status=run.status,
        tags=list(run.tags),
        started_at=moment(run.started_at),
        finished_at=moment(run.finished_at),
        parent=parent_of(parent),
        usage=usage_of(spent),
        cost=cost_of(spent),
    )
