"""Aliases: runs, tasks and workflows as older systems show them. What one answer holds is bounded in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ...compiler.workflow import EdgeKind
from ...sdk.client.artifact_store import FoundArtifact
from ...sdk.errors import ArtifactGone, ArtifactNotFound, RunNotFound
from ...sdk.stores import workflows as store
from ...sdk.stores.connection import Connection
from ...sdk.stores.payloads import event_payload
from ...sdk.stores.runs import list_runs, list_steps
from ...sdk.stores.spending import spending_of_runs
from ..aside import aside_if_many
from ..backend import Backend
from ..wire.aliases import (
    Dependency,
    Executed,
    RunWithTasks,
    StepShown,
    Task,
    TaskArtifact,
    TaskRun,
    WorkflowDefined,
    executed_step_word,
    executed_word,
    run_word,
    task_word,
)
from ..wire.moments import moment
from ..wire.spending import cost_of
from .documents import read_version
from .runs import RunView, read_run
from .steps import StepView
from .task_ids import read_task_id, task_id

LATEST_MAX = 100
"""Runs among which one is looked for that has ended."""
ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Inputs and outputs of one answer."""
Outputs = dict[tuple[str, str], Any]


class Room:
    """What an answer has room for yet. ``is_full``: something was left out for want of it, and all that came later."""

    def __init__(self, left: int | None = None) -> None:
        self._left = ANSWER_BYTES_MAX if left is None else left
        self.is_full = False

    def has(self, size_bytes: int) -> bool:
        """Take so much of it, or nothing."""
        self.is_full = self.is_full or size_bytes > self._left
        self._left -= 0 if self.is_full else size_bytes
        return not self.is_full

    def value(self, content: bytes | None) -> Any:
        """None for what is left out, and for what is not there."""
        return None if content is None or not self.has(len(content)) else msgspec.json.decode(content)


async def defined(backend: Backend, workflow_id: str) -> WorkflowDefined:
    """Raises UnknownWorkflow."""
    async with backend.client.pool.acquire() as conn:
        found = await store.get(conn, backend.env, workflow_id)
    workflow = read_version(found)
    before: dict[str, list[str]] = {node.id: [] for node in workflow.nodes}
    for edge in workflow.edges:
        if edge.kind is EdgeKind.NORMAL:
            before[edge.target].append(edge.source)
    return WorkflowDefined(
        id=found.workflow,
        name=found.name,
        version=found.version,
        definition=msgspec.json.decode(found.document),
        tasks=[Task(id=n.id, name=n.name, type=n.type, depends_on=before[n.id]) for n in workflow.nodes],
        dependencies=[
            Dependency(task_id=target, depends_on_task_id=source)
            for target, sources in before.items()
            for source in sources
        ],
    )


async def with_tasks(backend: Backend, run_id: str) -> RunWithTasks:
    """Raises UnknownRun."""
    view, room = await read_run(backend, run_id), Room()
    detail = await aside_if_many(len(view.steps), view.detail)
    output = room.value(None if view.output is None else msgspec.json.encode(view.output))
    tasks = await tasks_of(backend, view, view.steps, room)
    return RunWithTasks(
        id=run_id,
        workflow_id=view.run.workflow,
        status=run_word(view.run.status),
        output=output,
        started_at=detail.started_at or detail.created_at,
        finished_at=detail.finished_at,
        task_runs=tasks,
        steps_summary=detail.steps_summary,
        is_cut=room.is_full,
    )


async def tasks_of(backend: Backend, view: RunView, wanted: Sequence[StepView], room: Room) -> list[TaskRun]:
    run_id = view.run.run_id
    async with backend.client.pool.acquire() as conn:
        outputs = await read_outputs(conn, backend, view, wanted, room)
    made = await backend.client.artifacts.of_run(run_id) if outputs else []
    return await aside_if_many(len(wanted), lambda: [_task(run_id, step, outputs, made) for step in wanted])


def _task(run_id: str, step: StepView, outputs: Outputs, made: Sequence[FoundArtifact]) -> TaskRun:
    return TaskRun(
        id=task_id(run_id, step.id, step.scope),
        task_id=step.id,
        run_id=run_id,
        status=task_word(step.status, step.waiting_for),
        attempt=step.attempts,
        output=outputs.get((step.id, step.scope)),
        error=None if step.error is None else step.error.message,
        artifacts=[
            TaskArtifact(
                id=one.artifact.digest,
                content_type=one.artifact.content_type,
                size_bytes=one.artifact.size_bytes,
            )
            for one in made
            if one.node == step.id
        ],
        started_at=moment(step.started_at),
        finished_at=moment(step.finished_at),
    )


async def show_task(backend: Backend, id: str) -> TaskRun:
    """A task with the contents of its artifacts that are text. Raises UnknownRun, RunNotFound."""
    (view, step), room = await find_task(backend, id), Room()
    (task,) = await tasks_of(backend, view, [step], room)
    shown = [await _with_content(backend, artifact, room) for artifact in task.artifacts]
    return msgspec.structs.replace(task, artifacts=shown)


async def _with_content(backend: Backend, artifact: TaskArtifact, room: Room) -> TaskArtifact:
    """What cannot be had is left out, and so is what there is no room for, whatever its reference says of its size."""
    kind = artifact.content_type.partition(";")[0].strip()
    if room.is_full or not (kind.startswith("text/") or kind.endswith("json")):
        return artifact
    try:
        content = await backend.client.artifacts.read(artifact.id)
        text = content.decode()
    except (ArtifactGone, ArtifactNotFound, UnicodeDecodeError):
        return artifact
    return msgspec.structs.replace(artifact, content=text) if room.has(len(content)) else artifact


async def read_outputs(
    conn: Connection, backend: Backend, view: RunView, wanted: Sequence[StepView], room: Room
) -> Outputs:
    """Return the outputs of steps, by step and scope as people read it, as far as there is room for them."""
    scopes = {(step.id, step.key): step.scope for step in wanted}
    found: Outputs = {}
    for row in await list_steps(conn, view.run.run_id):
        if row.output_seq is not None and (row.node, row.scope) in scopes and not room.is_full:
            content = await event_payload(conn, backend.env, view.run.run_id, row.output_seq)
            if content is not None and room.has(len(content)):
                found[row.node, scopes[row.node, row.scope]] = msgspec.json.decode(content)
    return found


async def executed(backend: Backend, view: RunView, room: Room) -> Executed:
    run = view.run
    async with backend.client.pool.acquire() as conn:
        given = room.value(await event_payload(conn, backend.env, run.run_id, 1))
        output = room.value(None if view.output is None else msgspec.json.encode(view.output))
        outputs = await read_outputs(conn, backend, view, view.steps, room)
        spent = (await spending_of_runs(conn, [run.run_id])).get(run.run_id, [])
    return Executed(
        id=run.run_id,
        workflow_id=run.workflow,
        status=executed_word(run.status),
        input_json=given,
        output_json=output,
        error=None if run.error is None else run.error.message,
        actual_cost=cost_of(spent).amount,
        started_at=moment(run.started_at),
        finished_at=moment(run.finished_at),
        steps=[
            StepShown(
                step_id=step.id,
                status=executed_step_word(step.status),
                output=outputs.get((step.id, step.scope)),
                error=None if step.error is None else step.error.message,
                started_at=moment(step.started_at),
                finished_at=moment(step.finished_at),
            )
            for step in view.steps
        ],
        is_cut=room.is_full,
    )


async def find_task(backend: Backend, id: str) -> tuple[RunView, StepView]:
    """Raises UnknownRun, RunNotFound, for what is no task too."""
    run_id, node, scope = read_task_id(id)
    view = await read_run(backend, run_id)
    for step in view.steps:
        if (step.id, step.scope) == (node, scope):
            return view, step
    raise RunNotFound(f"the run {run_id[:100]} has no task {node[:100]!r}")


async def last_ended(backend: Backend, slug: str) -> str:
    """Return the workflow's newest run that has ended. Raises UnknownWorkflow, RunNotFound."""
    async with backend.client.pool.acquire() as conn:
        await store.get(conn, backend.env, slug)
        page = await list_runs(conn, backend.env, workflow=slug, limit=LATEST_MAX)
    for run in page.runs:
        if run.finished_at is not None:
            return run.run_id
    raise RunNotFound(f"no run of {slug!r} has ended: there is nothing to go on from")
