"""The paths and words of older systems: the same runs and workflows, so that what was written for them goes on working.

Task lists: ``/workflows``, ``/runs``, ``/task-runs``. Typed steps: ``/runs/{id}/steps``, ``artifacts``, ``cancel``.
Sequential workflows: ``/api/workflows/...``, where running one waits for its end.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

import anyio
import msgspec
from msgspec import UNSET, Meta

from ...compiler.document import to_document
from ...sdk.access import Scope
from ...sdk.client.step_log_reading import StepLogReader
from ...sdk.errors import DocumentInvalid, InputInvalid, NothingWaits
from ...sdk.moments import iso_text
from ...sdk.stores import workflows as store
from ...sdk.stores.runs import list_runs
from ...sdk.submissions.submissions import Submission, encode_input
from ..aside import aside
from ..bodies import NoBody, NoQuery
from ..problems import Refused
from ..reading import aliases as reading
from ..reading.aliases import Room, defined, executed, find_task, last_ended, with_tasks
from ..reading.documents import compile_text
from ..reading.events import read_numbers
from ..reading.runs import read_run
from ..route import Answer, Asked, Routes, check_scope
from ..wire.aliases import (
    Definition,
    ExecutedRun,
    ExecutedRuns,
    ExecuteRun,
    RunWithTasks,
    SlugWorkflow,
    StartRun,
    TaskLine,
    TaskLog,
    TaskRun,
    UpdateAsked,
    WorkflowCounted,
    WorkflowDefined,
    WorkflowMade,
    WorkflowsCounted,
    task_word,
)
from ..wire.artifacts import ArtifactPage
from ..wire.commands import Because, CommandDone, Restart, RestartDone
from ..wire.logs import SaidReader
from ..wire.steps import StepPage
from . import commands, restarts, runs
from .runs import StepFilters, found_run

routes = Routes("aliases", invalid=HTTPStatus.BAD_REQUEST)
WAIT_S = 30.0
SEEN_S = 2.0
"""As long an answer waits for the log to have what was asked, so that it shows it."""
LOOK_S = 0.02
BLOCKED = "BLOCKED"
EXECUTED = tuple(dict.fromkeys((*runs.REFUSALS, *restarts.AGAIN)))
UPDATED = (*restarts.AGAIN, "idempotency_conflict")
LINES_MAX = 10_000
"""Lines of a task in one answer, the last ones."""


class Latest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


@routes.post("/workflows", scope=Scope.ADMIN, statuses=(201,), errors=("document_invalid", "workflow_exists"))
async def register(asked: Asked[NoQuery, Definition]) -> Answer[WorkflowMade]:
    """Register a workflow; 409 where its id is taken by other content."""
    body, client = asked.body, asked.backend.client
    document = body.definition or msgspec.json.decode(await asked.request.body() or b"{}", type=dict[str, Any])
    named = {"id": body.id, "name": body.name} if body.definition is not None else {}
    content = msgspec.json.encode({**{name: text for name, text in named.items() if text}, **document})
    compiled = await aside(partial(compile_text, content, "json"))
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


@routes.post("/runs", scope=Scope.SUBMIT, statuses=(201,), errors=runs.REFUSALS, takes_key=True, takes_trace=True)
async def start(asked: Asked[NoQuery, StartRun]) -> Answer[RunWithTasks]:
    """Start a run."""
    body, client = asked.body, asked.backend.client
    key = asked.key
    content = await asked.prepared(partial(encode_input, body.input))
    run_id = await client.start(
        Submission(workflow=body.wanted, content=content, key=key, by=asked.by(), traceparent=asked.traceparent)
    )
    return Answer(await with_tasks(asked.backend, run_id), 201)


@routes.get("/runs/{run_id}", scope=Scope.READ, errors=("run_not_found",))
async def show_run(asked: Asked[NoQuery, NoBody]) -> RunWithTasks:
    """Show a run with its tasks."""
    return await with_tasks(asked.backend, asked.at("run_id"))


@routes.delete("/runs/{run_id}", scope=Scope.OPERATE, errors=commands.OF_RUN)
async def delete_run(asked: Asked[NoQuery, NoBody]) -> RunWithTasks:
    """Cancel a run. What works now may take longer to end than the answer waits."""
    client, run_id = asked.backend.client, asked.at("run_id")
    await client.cancel(run_id, by=asked.by())
    with anyio.move_on_after(SEEN_S):
        await client.wait(run_id, is_recorded=True)
    return await with_tasks(asked.backend, asked.at("run_id"))


@routes.get("/runs/{run_id}/steps", scope=Scope.READ, errors=("run_not_found",))
async def steps(asked: Asked[StepFilters, NoBody]) -> StepPage:
    """Show the steps of a run."""
    return await runs.steps(asked)


@routes.get("/runs/{run_id}/artifacts", scope=Scope.READ, errors=runs.OF_ARTIFACTS)
async def artifacts(asked: Asked[NoQuery, NoBody]) -> ArtifactPage:
    """List the artifacts of a run."""
    return await runs.artifacts(asked)


@routes.post("/runs/{run_id}/cancel", scope=Scope.OPERATE, statuses=commands.APPLIED, errors=commands.OF_RUN)
async def cancel(asked: Asked[NoQuery, Because]) -> Answer[CommandDone]:
    """Cancel a run."""
    return await commands.cancel(asked)


@routes.post("/runs/{run_id}/update", scope=Scope.OPERATE, statuses=(201, 200), errors=UPDATED, takes_key=True)
async def update(asked: Asked[NoQuery, UpdateAsked]) -> Answer[RestartDone]:
    """Execute again what a change request makes out of date; each does so anew, but one that has the key of another."""
    key, changes = asked.key, [asked.body.change_request.type]
    done = await asked.backend.client.rebuild(asked.at("run_id"), changes, key=key, again=key is None, by=asked.by())
    return restarts.restarted(done, Restart(), asked.by())


@routes.get("/task-runs/{id}", scope=Scope.READ, errors=("run_not_found", "step_not_found"))
async def show_task(asked: Asked[NoQuery, NoBody]) -> TaskRun:
    """Show one task of a run."""
    return await reading.show_task(asked.backend, asked.at("id"))


@routes.post("/task-runs/{id}/approve", scope=Scope.APPROVE, errors=commands.DECIDED)
async def approve_task(asked: Asked[NoQuery, NoBody]) -> TaskRun:
    """Approve a task that is BLOCKED."""
    view, step = await find_task(asked.backend, asked.at("id"))
    if task_word(step.status, step.waiting_for) != BLOCKED:
        raise NothingWaits(f"task {step.id!r} is not BLOCKED")
    await asked.backend.client.approve(view.run.run_id, step.id, scope=step.scope, by=asked.by())
    with anyio.move_on_after(SEEN_S):
        while task_word(step.status, step.waiting_for) == BLOCKED:
            await anyio.sleep(LOOK_S)
            _, step = await find_task(asked.backend, asked.at("id"))
    return await reading.show_task(asked.backend, asked.at("id"))


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


@routes.post(
    "/api/workflows/{slug}/run",
    scope=Scope.SUBMIT,
    statuses=(200, 202),
    errors=EXECUTED,
    takes_key=True,
    takes_trace=True,
)
async def execute(asked: Asked[NoQuery, ExecuteRun]) -> Answer[ExecutedRun]:
    """Run a workflow and wait for its end; 202 where it takes longer than half a minute.

    To go on from a step of its last run needs the scope operate as well.
    """
    client, body, slug = asked.backend.client, asked.body, asked.at("slug")
    key = asked.key
    if body.from_step_id is None:
        content = await asked.prepared(partial(encode_input, {} if body.input is UNSET else body.input))
        run_id = await client.start(
            Submission(workflow=slug, content=content, key=key, by=asked.by(), traceparent=asked.traceparent)
        )
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
    shown = await executed(asked.backend, view, Room())
    return Answer(
        ExecutedRun(success=not view.is_final or view.run.status == "COMPLETED", run=shown),
        200 if view.is_final else 202,
    )


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
    room = Room()
    return ExecutedRuns(
        success=True, runs=[await executed(backend, await read_run(backend, run.run_id), room) for run in page.runs]
    )


@routes.get("/api/workflows/runs/{run_id}", scope=Scope.READ, errors=("run_not_found",))
async def show_executed(asked: Asked[NoQuery, NoBody]) -> ExecutedRun:
    """Show a run."""
    view = await read_run(asked.backend, asked.at("run_id"))
    return ExecutedRun(success=True, run=await executed(asked.backend, view, Room()))
