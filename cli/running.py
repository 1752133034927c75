"""Running: what ``courante run`` does once it knows what is asked: register, submit, follow, and end in order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
import msgspec
from click import style

from ..api.reading.runs import RunReader
from ..api.wire.runs import Result, RunShown, result_of
from ..compiler.ir import Ir, decode_ir
from ..compiler.subflows import subflows_of
from ..sdk.authoring.steps import Steps
from ..sdk.client.client import Client
from ..sdk.client.results import RunResult
from ..sdk.floor.presence import can_serve, find_workers
from ..sdk.stores import workflows
from ..sdk.stores.errors import UnknownRun, UnknownWorkflow
from ..sdk.stores.status import RunStatus
from .call import Call
from .crew import Crew, check_handlers
from .documents import Document
from .exits import STATUS_EXITS, CliError, ExitCode
from .live import Progress
from .output import status_text
from .services import Services, connected_client
from .signals import watch_signals
from .views.run import following_command, outcome_lines, step_lines, took_text, utc_now

LOOK_S = 0.15
ROWS_MAX = 40


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for. ``document``: where a file is to be run; ``has_apps``: modules of steps were named."""

    workflow: str
    document: Document | None
    input: Any
    version: int | None
    key: str | None
    tags: tuple[str, ...]
    by: str | None
    start_at: datetime | None
    expires_at: datetime | None
    has_apps: bool


async def submit_only(call: Call, services: Services, request: Request) -> int:
    """Submit, say the run's id and what to do next."""
    async with connected_client(services) as client:
        irs = await _find_irs(client, request)
        run_id = await _submit(client, request)
        result = await client.result(run_id)
        settings = services.settings
        workers = await find_workers(services.redis_url, settings.env, settings.partitions)
    show_accepted(call, result_of(result), can_run=can_serve(workers, *irs))
    return ExitCode.OK


async def run_and_wait(call: Call, services: Services, request: Request, steps: Steps) -> int:
    """Submit, show progress, and give the result. Raises CliError when interrupted."""
    async with connected_client(services) as client:
        irs = await _find_irs(client, request)
        await check_handlers(services, irs, steps)
        crew = Crew(services, irs, steps, wants_worker=request.has_apps)
        with call.out.aside():
            run_id, result = await _wait_with(call, client, request, crew)
        if result is None:
            raise interrupted(run_id, is_own=crew.has_own_worker)
        run = await _read(client, run_id)
    return show_end(call, result_of(result), run)


async def _wait_with(call: Call, client: Client, request: Request, crew: Crew) -> tuple[str, RunResult | None]:
    """Submit with the crew at work, and wait; no result where a signal ended that. The crew has gone at return."""
    run_id = ""
    result: RunResult | None = None
    waiting = anyio.CancelScope()
    async with anyio.create_task_group() as group:
        await group.start(watch_signals, waiting.cancel, crew.kill)
        async with crew:
            run_id = await _submit(client, request)
            with waiting:
                result = await _follow(call, client, run_id)
            if result is None and crew.has_own_worker and not call.is_json:
                call.out.note("finishing the steps at hand; Ctrl-C again drops them")
        group.cancel_scope.cancel()
    return run_id, result


async def _find_irs(client: Client, request: Request) -> list[Ir]:
    """Return the IR of the workflow, and of those that it runs as steps, as far as they are known.

    Raises UnknownWorkflow.
    """
    irs = [await _find_ir(client, request)]
    known: set[tuple[str, int | None]] = set()
    async with client.pool.acquire() as conn:
        for ir in irs:
            for _, name, version in subflows_of(ir.workflow, ir.nodes):
                if (name, version) in known:
                    continue
                known.add((name, version))
                with suppress(UnknownWorkflow):
                    row = await workflows.get(conn, client.keys.env, name, version)
                    content = await workflows.get_ir(conn, client.keys.env, row.ir_hash)
                    irs += [] if content is None else [decode_ir(content)]
    return irs


async def _find_ir(client: Client, request: Request) -> Ir:
    """Raises UnknownWorkflow."""
    if request.document is not None and request.document.ir is not None:
        return request.document.ir
    async with client.pool.acquire() as conn:
        row = await workflows.get(conn, client.keys.env, request.workflow, request.version)
        content = await workflows.get_ir(conn, client.keys.env, row.ir_hash)
    assert content is not None, "every version refers to an IR that is stored"
    return decode_ir(content)


async def _submit(client: Client, request: Request) -> str:
    version = request.version
    document = request.document
    if document is not None and document.workflow is not None and document.ir is not None:
        version = (await client.register(document.workflow, document.ir, document.content)).version
    return await client.submit(
        request.workflow,
        request.input,
        version=version,
        key=request.key,
        tags=request.tags,
        by=request.by,
        start_at=request.start_at,
        expires_at=request.expires_at,
    )


async def _follow(call: Call, client: Client, run_id: str) -> RunResult:
    """Wait until the final event is in the log, showing what happens."""
    result: RunResult | None = None
    with Progress(call.out) as progress:
        async with anyio.create_task_group() as group:
            group.start_soon(_show_progress, client, run_id, progress)
            result = await client.wait(run_id, is_recorded=True)
            group.cancel_scope.cancel()
        progress.show(await _read(client, run_id))
    assert result is not None
    return result


async def _show_progress(client: Client, run_id: str, progress: Progress) -> None:
    while True:
        with suppress(UnknownRun):  # accepted by Redis alone: the log will hear of it
            progress.show(await _read(client, run_id))
        await anyio.sleep(LOOK_S)


async def _read(client: Client, run_id: str) -> RunShown:
    async with client.pool.acquire() as conn:
        return await RunReader(conn, client.keys.env, run_id).shown()


def interrupted(run_id: str, *, is_own: bool) -> CliError:
    """is_own: nobody else works on it."""
    if is_own:
        hint = f"it goes on when a worker runs ('courante up'); look at it with 'courante status {run_id}'"
        return CliError(ExitCode.INTERRUPTED, "interrupted", f"stopped; {run_id} is kept where it is", hint)
    message = f"stopped waiting; {run_id} goes on without us"
    return CliError(ExitCode.INTERRUPTED, "interrupted", message, f"follow it with 'courante status {run_id} --watch'")


def show_accepted(call: Call, result: Result, *, can_run: bool = True) -> None:
    """Tell that a run was submitted. can_run: a live worker is there for it, as far as that is known."""
    call.out.json(msgspec.to_builtins(result))
    call.out.text(result.run_id)
    if not can_run:
        call.out.note(f"{call.out.glyph('warning')} no live worker can run it: start one with 'courante up'")
    call.out.next(f"courante status {result.run_id} --watch")


def show_end(call: Call, result: Result, run: RunShown) -> int:
    """Tell how a run has ended; return the exit code."""
    out, now = call.out, utc_now()
    out.json(msgspec.to_builtins(result))
    if out.is_terminal:
        for line in step_lines(run, now, width=out.width - 1, rows_max=ROWS_MAX):
            out.text(line)
        out.text()
    took = ""
    if run.started_at is not None and run.finished_at is not None:
        took = f" in {took_text(run.started_at, run.finished_at, now)}"
    sign = "ok" if run.status is RunStatus.COMPLETED else "error"
    out.text(f"{out.glyph(sign)} {run.run_id} {status_text(str(run.status))}{style(took, dim=True)}")
    for line in outcome_lines(run):
        out.text(line)
    following = following_command(run)
    if following:
        out.next(following)
    return STATUS_EXITS[str(run.status)]
