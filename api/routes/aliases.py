"""The paths and words of older systems: the same runs and workflows, so that what was written for them goes on working.

Task lists: ``/workflows``, ``/runs``, ``/task-runs``. Typed steps: ``/runs/{id}/steps``, ``artifacts``, ``cancel``.
Sequential workflows: ``/api/workflows/...``, where running one waits for its end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any

import anyio
import msgspec
from msgspec import UNSET, Meta

from ...compiler.document import to_document
from ...compiler.workflow import EdgeKind
from ...sdk.access import Scope
from ...sdk.errors import DocumentInvalid, InputInvalid, NothingWaits, RunNotFound
from ...sdk.step_log_reading import StepLogReader
from ...sdk.stores import workflows as store
from ...sdk.stores.connection import Connection, iso_text
from ...sdk.stores.payloads import event_payload
from ...sdk.stores.runs import list_runs, list_steps
from ...sdk.stores.spending import spending_of_runs
from ...sdk.submissions import Submission
from ..backend import Backend
from ..bodies import NoBody, NoQuery
from ..problems import Refused
from ..reading.documents import compile_text
from ..reading.runs import RunView
from ..reading.steps import StepView
from ..reading.task_ids import read_task_id, task_id
from ..route import IDEMPOTENCY_KEY, Answer, Asked, Routes, check_scope
from ..wire.aliases import (
    Definition,
    Dependency,
    Executed,
    ExecutedRun,
    ExecutedRuns,
    ExecuteRun,
    RunWithTasks,
    SlugWorkflow,
    StartRun,
    StepShown,
    Task,
    TaskArtifact,
    TaskLine,
    TaskLog,
    TaskRun,
    UpdateAsked,
    WorkflowCounted,
    WorkflowDefined,
    WorkflowMade,
    WorkflowsCounted,
    executed_step_word,
    executed_word,
    run_word,
    task_word,
)
from ..wire.artifacts import ArtifactPage
from ..wire.commands import Because, CommandDone, Restart, RestartDone
from ..wire.logs import SaidReader
from ..wire.moments import moment
from ..wire.spending import cost_of
from ..wire.steps import StepPage
from . import commands, runs
from .runs import StepFilters, find_artifacts, found_run, read_numbers, read_run
from .workflows import read_version

routes = Routes("aliases")
WAIT_S = 30.0
EXECUTED = tuple(dict.fromkeys((*runs.REFUSALS, *commands.AGAIN)))
LATEST_MAX = 100
"""Runs among which one is looked for that has ended."""
LINES_MAX = 10_000
"""Lines of a task in one answer, the last ones."""
OUTPUTS_MAX = 500
"""Steps of a run whose outputs are read for one answer."""
Outputs = dict[tuple[str, str], Any]


class Latest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


@routes.post("/workflows", scope=Scope.ADMIN, statuses=(201,), errors=("document_invalid", "workflow_exists"))
async def register(asked: Asked[NoQuery, Definition]) -> Answer[WorkflowMade]:
    """Register a workflow; 409 where its id is taken by other content."""
    body, client = asked.body, asked.backend.client
    document = body.definition or msgspec.json.decode(await asked.request.body() or b"{}", type=dict[str, Any])
    named = {"id": body.id, "name": body.name} if body.definition is not None else {}
    content = msgspec.json.encode({**{name: text for name, text in named.items() if text}, **document})
    compiled = compile_text(content, "json")
    if compiled.workflow is None or compiled.ir is None:
        raise DocumentInvalid(compiled.diagnostics)
    async with client.pool.acquire() as conn:
        before = await store.list_versions(conn, asked.backend.env, compiled.workflow.id)
    known = msgspec.json.encode(to_document(compiled.workflow), order="deterministic")
    if before and all(one.document != known for one in before):
        told = f"there is a workflow {compiled.workflow.id!r} with other content"
        raise Refused("workflow_exists", told, hint="POST /v1/workflows makes new versions")
    found = await client.register(compiled.workflow, compiled.ir, content)
    shown = await defined(asked.backend, found.workflow)
    async with client.pool.acquire() as conn:
        made = await store.get(conn, asked.backend.env, found.workflow, found.version)
    value = WorkflowMade(
        id=shown.id,
        name=shown.name,
        version=found.version,
        task_count=len(shown.tasks),
        dependency_count=len(shown.dependencies),
        created_at=iso_text(made.created_at),
    )
    return Answer(value, 201)


@routes.get("/workflows", scope=Scope.READ)
async def list_workflows(asked: Asked[NoQuery, NoBody]) -> WorkflowsCounted:
    """List workflows."""
    async with asked.backend.client.pool.acquire() as conn:
        found = await store.list_workflows(conn, asked.backend.env, limit=1000)
    return WorkflowsCounted(workflows=[WorkflowCounted(id=w.id, name=w.name, task_count=w.nodes) for w in found])


@routes.get("/workflows/{workflow}", scope=Scope.READ, errors=("workflow_not_found",))
async def show_workflow(asked: Asked[NoQuery, NoBody]) -> WorkflowDefined:
    """Show a workflow with its tasks and dependencies."""
    return await defined(asked.backend, asked.at("workflow"))


@routes.post("/runs", scope=Scope.SUBMIT, statuses=(201,), errors=runs.REFUSALS, takes_key=True)
async def start(asked: Asked[NoQuery, StartRun]) -> Answer[RunWithTasks]:
    """Start a run."""
    body, client = asked.body, asked.backend.client
    key = asked.request.headers.get(IDEMPOTENCY_KEY)
    run_id = await client.start(Submission(workflow=body.wanted, input=body.input, key=key, by=asked.by()))
    return Answer(await with_tasks(asked.backend, run_id), 201)


@routes.get("/runs/{run_id}", scope=Scope.READ, errors=("run_not_found",))
async def show_run(asked: Asked[NoQuery, NoBody]) -> RunWithTasks:
    """Show a run with its tasks."""
    return await with_tasks(asked.backend, asked.at("run_id"))


@routes.delete("/runs/{run_id}", scope=Scope.OPERATE, errors=commands.OF_RUN)
async def delete_run(asked: Asked[NoQuery, NoBody]) -> RunWithTasks:
    """Cancel a run."""
    await asked.backend.client.cancel(asked.at("run_id"), by=asked.by())
    return await with_tasks(asked.backend, asked.at("run_id"))


@routes.get("/runs/{run_id}/steps", scope=Scope.READ, errors=("run_not_found",))
async def steps(asked: Asked[StepFilters, NoBody]) -> StepPage:
    """Show the steps of a run."""
    return await runs.steps(asked)


@routes.get("/runs/{run_id}/artifacts", scope=Scope.READ, errors=("run_not_found",))
async def artifacts(asked: Asked[NoQuery, NoBody]) -> ArtifactPage:
    """List the artifacts of a run."""
    return await runs.artifacts(asked)


@routes.post("/runs/{run_id}/cancel", scope=Scope.OPERATE, statuses=commands.APPLIED, errors=commands.OF_RUN)
async def cancel(asked: Asked[NoQuery, Because]) -> Answer[CommandDone]:
    """Cancel a run."""
    return await commands.cancel(asked)


@routes.post("/runs/{run_id}/update", scope=Scope.OPERATE, statuses=(201, 200), errors=commands.AGAIN)
async def update(asked: Asked[NoQuery, UpdateAsked]) -> Answer[RestartDone]:
    """Execute again what a change request makes out of date."""
    client, wanted = asked.backend.client, asked.body.change_request
    done = await client.rebuild(asked.at("run_id"), [wanted.type], by=asked.by())
    return commands.restarted(done, Restart())


@routes.get("/task-runs/{id}", scope=Scope.READ, errors=("run_not_found", "step_not_found"))
async def show_task(asked: Asked[NoQuery, NoBody]) -> TaskRun:
    """Show one task of a run."""
    view, step = await find_task(asked.backend, asked.at("id"))
    return (await tasks_of(asked.backend, view, [step]))[0]


@routes.post("/task-runs/{id}/approve", scope=Scope.APPROVE, errors=commands.DECIDED)
async def approve_task(asked: Asked[NoQuery, NoBody]) -> TaskRun:
    """Approve a task that is BLOCKED."""
    view, step = await find_task(asked.backend, asked.at("id"))
    if task_word(step.status, step.waiting_for) != "BLOCKED":
        raise NothingWaits(f"task {step.id!r} is not BLOCKED")
    await asked.backend.client.approve(view.run.run_id, step.id, scope=step.scope, by=asked.by())
    view, step = await find_task(asked.backend, asked.at("id"))
    return (await tasks_of(asked.backend, view, [step]))[0]


@routes.get("/task-runs/{id}/logs", scope=Scope.READ, errors=("run_not_found", "step_not_found"))
async def task_log(asked: Asked[NoQuery, NoBody]) -> TaskLog:
    """Show what a task has said, the last 10,000 lines."""
    view, step = await find_task(asked.backend, asked.at("id"))
    client = asked.backend.client
    async with found_run(asked.backend, view.run.run_id) as (conn, run):
        words = SaidReader(await read_numbers(conn, run))
        place = client.keys.partition(run.partition)
        reader = StepLogReader(conn, client.redis, place, run.env, run.run_id, step.id)
        lines: deque[TaskLine] = deque(maxlen=LINES_MAX)
        async for line in reader.past():
            lines.extend(
                TaskLine(timestamp=said.at, level=str(said.level), message=str(said.text))
                for said in words.said(line)
                if said.type == "line" and said.scope == step.scope
            )
    return TaskLog(task_run_id=asked.at("id"), logs=list(lines))


@routes.post("/api/workflows/{slug}/run", scope=Scope.SUBMIT, statuses=(200, 202), errors=EXECUTED, takes_key=True)
async def execute(asked: Asked[NoQuery, ExecuteRun]) -> Answer[ExecutedRun]:
    """Run a workflow and wait for its end; 202 where it takes longer than half a minute.

    To go on from a step of its last run needs the scope operate as well.
    """
    client, body, slug = asked.backend.client, asked.body, asked.at("slug")
    key = asked.request.headers.get(IDEMPOTENCY_KEY)
    if body.from_step_id is None:
        input: Any = {} if body.input is UNSET else body.input
        run_id = await client.start(Submission(workflow=slug, input=input, key=key, by=asked.by()))
    elif key is not None:  # the second time another run would be the last
        raise InputInvalid("fromStepId: with it there is no key", hint="ask for it of one run: /v1/runs/{run_id}/rerun")
    else:
        check_scope(asked.principal, Scope.OPERATE)
        base = await last_ended(asked.backend, slug)
        steps = [body.from_step_id]
        run_id = (await client.rerun(base, steps, input=body.input, by=asked.by(), again=True)).run_id
    with anyio.move_on_after(WAIT_S):
        await client.wait(run_id, is_recorded=True)
    view = await read_run(asked.backend, run_id)
    shown = await executed(asked.backend, view)
    return Answer(
        ExecutedRun(success=not view.is_final or view.run.status == "COMPLETED", run=shown),
        200 if view.is_final else 202,
    )


async def last_ended(backend: Backend, slug: str) -> str:
    """Return the workflow's newest run that has ended. Raises UnknownWorkflow, RunNotFound."""
    async with backend.client.pool.acquire() as conn:
        await store.get(conn, backend.env, slug)
        page = await list_runs(conn, backend.env, workflow=slug, limit=LATEST_MAX)
    for run in page.runs:
        if run.finished_at is not None:
            return run.run_id
    raise RunNotFound(f"no run of {slug!r} has ended: there is nothing to go on from")


@routes.get("/api/workflows/{slug}", scope=Scope.READ, errors=("workflow_not_found",))
async def show_slug(asked: Asked[NoQuery, NoBody]) -> SlugWorkflow:
    """Show a workflow."""
    return SlugWorkflow(success=True, workflow=await defined(asked.backend, asked.at("slug")))


@routes.get("/api/workflows/{slug}/runs", scope=Scope.READ, errors=("workflow_not_found",))
async def list_executed(asked: Asked[Latest, NoBody]) -> ExecutedRuns:
    """List the runs of a workflow, the newest first."""
    backend, slug = asked.backend, asked.at("slug")
    async with backend.client.pool.acquire() as conn:
        await store.get(conn, backend.env, slug)
        page = await list_runs(conn, backend.env, workflow=slug, limit=asked.query.limit)
    views = [await read_run(backend, run.run_id) for run in page.runs]
    return ExecutedRuns(success=True, runs=[await executed(backend, view) for view in views])


@routes.get("/api/workflows/runs/{run_id}", scope=Scope.READ, errors=("run_not_found",))
async def show_executed(asked: Asked[NoQuery, NoBody]) -> ExecutedRun:
    """Show a run."""
    view = await read_run(asked.backend, asked.at("run_id"))
    return ExecutedRun(success=True, run=await executed(asked.backend, view))


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
    view = await read_run(backend, run_id)
    detail = view.detail()
    return RunWithTasks(
        id=run_id,
        workflow_id=view.run.workflow,
        status=run_word(view.run.status),
        output=view.output,
        started_at=detail.started_at or detail.created_at,
        finished_at=detail.finished_at,
        task_runs=await tasks_of(backend, view, view.steps),
        steps_summary=detail.steps_summary,
    )


async def tasks_of(backend: Backend, view: RunView, wanted: Sequence[StepView]) -> list[TaskRun]:
    run_id = view.run.run_id
    async with backend.client.pool.acquire() as conn:
        outputs = await read_outputs(conn, backend, view)
    made = await find_artifacts(backend, run_id) if any(outputs.values()) else []
    return [
        TaskRun(
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
        for step in wanted
    ]


async def read_outputs(conn: Connection, backend: Backend, view: RunView) -> Outputs:
    """Return the outputs of steps, by step and scope as people read it."""
    scopes = {(step.id, step.key): step.scope for step in view.steps}
    found: Outputs = {}
    for row in (await list_steps(conn, view.run.run_id))[:OUTPUTS_MAX]:
        if row.output_seq is not None and (row.node, row.scope) in scopes:
            content = await event_payload(conn, backend.env, view.run.run_id, row.output_seq)
            if content is not None:
                found[row.node, scopes[row.node, row.scope]] = msgspec.json.decode(content)
    return found


async def executed(backend: Backend, view: RunView) -> Executed:
    run = view.run
    async with backend.client.pool.acquire() as conn:
        outputs = await read_outputs(conn, backend, view)
        given = await event_payload(conn, backend.env, run.run_id, 1)
        spent = (await spending_of_runs(conn, [run.run_id])).get(run.run_id, [])
    return Executed(
        id=run.run_id,
        workflow_id=run.workflow,
        status=executed_word(run.status),
        input_json=None if given is None else msgspec.json.decode(given),
        output_json=view.output,
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
    )


async def find_task(backend: Backend, id: str) -> tuple[RunView, StepView]:
    """Raises UnknownRun, RunNotFound, for what is no task too."""
    run_id, node, scope = read_task_id(id)
    view = await read_run(backend, run_id)
    for step in view.steps:
        if (step.id, step.scope) == (node, scope):
            return view, step
    raise RunNotFound(f"the run {run_id[:100]} has no task {node[:100]!r}")
