"""What older systems call things, as it travels at their own paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta

from ...sdk.stores.status import RunStatus, StepStatus
from .commands import Word
from .moments import Moment

RunWord = Literal["RUNNING", "SUCCESS", "FAILED", "CANCELLED"]
TaskWord = Literal["PENDING", "READY", "QUEUED", "RUNNING", "SUCCESS", "FAILED", "BLOCKED", "CANCELLED", "SKIPPED"]
ExecutedWord = Literal["running", "completed", "failed", "cancelled"]
ExecutedStepWord = Literal[
    "pending", "ready", "running", "waiting", "retrying", "completed", "failed", "cancelled", "skipped"
]
_RUN_WORDS: Mapping[RunStatus, RunWord] = {
    RunStatus.COMPLETED: "SUCCESS",
    RunStatus.FAILED: "FAILED",
    RunStatus.TIMED_OUT: "FAILED",
    RunStatus.CANCELLED: "CANCELLED",
}
_EXECUTED_WORDS: Mapping[RunWord, ExecutedWord] = {
    "RUNNING": "running",
    "SUCCESS": "completed",
    "FAILED": "failed",
    "CANCELLED": "cancelled",
}
_TASK_WORDS: Mapping[StepStatus, TaskWord] = {
    StepStatus.PENDING: "PENDING",
    StepStatus.READY: "READY",
    StepStatus.RUNNING: "RUNNING",
    StepStatus.WAITING: "RUNNING",
    StepStatus.RETRYING: "QUEUED",
    StepStatus.SUCCEEDED: "SUCCESS",
    StepStatus.FAILED: "FAILED",
    StepStatus.CANCELLED: "CANCELLED",
    StepStatus.SKIPPED: "SKIPPED",
}
_EXECUTED_STEP_WORDS: Mapping[StepStatus, ExecutedStepWord] = {
    StepStatus.PENDING: "pending",
    StepStatus.READY: "ready",
    StepStatus.RUNNING: "running",
    StepStatus.WAITING: "waiting",
    StepStatus.RETRYING: "retrying",
    StepStatus.SUCCEEDED: "completed",
    StepStatus.FAILED: "failed",
    StepStatus.CANCELLED: "cancelled",
    StepStatus.SKIPPED: "skipped",
}


class Definition(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow to register: its document as ``definition``, or the document itself."""

    id: str = ""
    name: str = ""
    definition: dict[str, Any] | None = None


class WorkflowMade(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    version: int
    task_count: int
    dependency_count: int
    created_at: Moment


class WorkflowCounted(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    task_count: int


class WorkflowsCounted(msgspec.Struct, frozen=True, kw_only=True):
    workflows: list[WorkflowCounted]


class Task(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    type: str
    depends_on: list[str]


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    task_id: str
    depends_on_task_id: str


class WorkflowDefined(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    version: int
    definition: dict[str, Any]
    tasks: list[Task]
    dependencies: list[Dependency]


class StartRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the three names the workflow."""

    workflow_id: Word | None = None
    workflow: Word | None = None
    workflow_name: Word | None = msgspec.field(default=None, name="workflowName")
    input: Any = msgspec.field(default_factory=dict[str, Any])

    @property
    def wanted(self) -> str:
        return self.workflow_id or self.workflow or self.workflow_name or ""


class TaskArtifact(msgspec.Struct, frozen=True, kw_only=True):
    """``content``: of one that is text, where one task is shown; ``/v1/runs/{run_id}/artifacts/{id}`` has others."""

    id: str
    content_type: str
    size_bytes: int
    content: str | None = None


class TaskRun(msgspec.Struct, frozen=True, kw_only=True):
    """``status``: BLOCKED, where it waits for a decision."""

    id: str
    task_id: str
    run_id: str
    status: TaskWord
    attempt: int
    output: Any
    error: str | None
    artifacts: list[TaskArtifact]
    started_at: Moment | None
    finished_at: Moment | None


class RunWithTasks(msgspec.Struct, frozen=True, kw_only=True):
    """``stepsSummary``: how many steps have which status.

    ``isCut``: outputs are left out for want of room; ``/v1/runs/{run_id}`` has them one by one.
    """

    id: str
    workflow_id: str
    status: RunWord
    output: Any
    started_at: Moment | None
    finished_at: Moment | None
    task_runs: list[TaskRun]
    steps_summary: dict[StepStatus, int] = msgspec.field(name="stepsSummary")
    is_cut: bool = msgspec.field(default=False, name="isCut")


class TaskLine(msgspec.Struct, frozen=True, kw_only=True):
    timestamp: Moment
    level: str
    message: str


class TaskLog(msgspec.Struct, frozen=True, kw_only=True):
    task_run_id: str
    logs: list[TaskLine]


class ExecuteRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``from_step_id``: goes on from there in the workflow's last run that has ended, whose earlier steps are not
    executed again. ``input``: left out there, the one that it had.
    """

    input: Any = UNSET
    from_step_id: str | None = msgspec.field(default=None, name="fromStepId")


class Update(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A change request. ``type``: one that the workflow names steps for."""

    type: Annotated[str, Meta(min_length=1, max_length=512)]


class UpdateAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    change_request: Update = msgspec.field(name="changeRequest")


class StepShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    step_id: str
    status: ExecutedStepWord
    output: Any
    error: str | None
    started_at: Moment | None
    finished_at: Moment | None


class Executed(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """``actual_cost``: null where nobody knows it.

    ``is_cut``: inputs and outputs are left out for want of room in the answer.
    """

    id: str
    workflow_id: str
    status: ExecutedWord
    input_json: Any
    output_json: Any
    error: str | None
    actual_cost: float | int | None
    started_at: Moment | None
    finished_at: Moment | None
    steps: list[StepShown]
    is_cut: bool = False


class ExecutedRun(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    run: Executed


class ExecutedRuns(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    runs: list[Executed]


class SlugWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    success: bool
    workflow: WorkflowDefined


def run_word(status: RunStatus) -> RunWord:
    return _RUN_WORDS.get(status, "RUNNING")


def task_word(status: StepStatus, waiting_for: str | None) -> TaskWord:
    if status is StepStatus.WAITING and (waiting_for or "").startswith("approval"):
        return "BLOCKED"
    return _TASK_WORDS[status]


def executed_word(status: RunStatus) -> ExecutedWord:
    return _EXECUTED_WORDS[run_word(status)]


def executed_step_word(status: StepStatus) -> ExecutedStepWord:
    return _EXECUTED_STEP_WORDS[status]
