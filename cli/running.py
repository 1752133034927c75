"""Running: what ``courante run`` does once it knows what is asked: register, submit, follow, and end in order."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import anyio
import msgspec
from click import style

from ..api.reading.runs import RunReader, RunView
from ..api.wire.runs import result_of
from ..compiler.ir import Ir, decode_ir
from ..compiler.subflows import subflows_of
from ..sdk.client import Client
from ..sdk.presence import can_serve, find_workers
from ..sdk.results import RunResult
from ..sdk.steps import Steps
from ..sdk.stores import workflows
from ..sdk.stores.errors import UnknownRun, UnknownWorkflow
from .call import Call
from .crew import Crew, check_handlers
from .documents import Document
from .exits import STATUS_EXITS, CliError, ExitCode
from .live import Progress
from .output import status_text
from .run_view import outcome_lines, step_lines, utc_now
from .services import Services, connected_client
from .signals import watch_signals
from .texts import duration_text

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
    call.out.json(msgspec.to_builtins(result_of(result)))
    call.out.text(run_id)
    if not can_serve(workers, *irs):
        call.out.note(f"{call.out.glyph('warning')} no live worker can run it: start one with 'courante up'")
    call.out.next(f"courante status {run_id} --watch")
    return ExitCode.OK


async def run_and_wait(call: Call, services: Services, request: Request, steps: Steps) -> int:
    """Submit, show progress, and give the result. Raises CliError when interrupted."""
    async with connected_client(services) as client:
        irs = await _find_irs(client, request)
        await check_handlers(services, irs, steps)
        crew = Crew(services, irs, steps, wants_worker=request.has_apps)
        run_id, result = await _wait_with(call, client, request, crew)
        if result is None:
            raise _interrupted(run_id, is_own=crew.has_own_worker)
        view = await _read(client, run_id)
    call.out.json(msgspec.to_builtins(result_of(result)))
    if not call.is_json:
        _show(call, view)
    return STATUS_EXITS[result.status]


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


async def _read(client: Client, run_id: str) -> RunView:
    async with client.pool.acquire() as conn:
        return await RunReader(conn, client.keys.env, run_id).read()


def _interrupted(run_id: str, *, is_own: bool) -> CliError:
    if is_own:
        hint = f"it goes on when a worker runs ('courante up'); look at it with 'courante status {run_id}'"
        return CliError(ExitCode.INTERRUPTED, "interrupted", f"stopped; {run_id} is kept where it is", hint)
    message = f"stopped waiting; {run_id} goes on without us"
    return CliError(ExitCode.INTERRUPTED, "interrupted", message, f"follow it with 'courante status {run_id} --watch'")


def _show(call: Call, view: RunView) -> None:
    out, run, now = call.out, view.run, utc_now()
    if out.is_terminal:
        for line in step_lines(view, now, width=out.width - 1, rows_max=ROWS_MAX):
            out.text(line)
        out.text()
    took = ""
    if run.started_at is not None and run.finished_at is not None:
        took = f" in {duration_text((run.finished_at - run.started_at).total_seconds())}"
    sign = "ok" if run.status == "COMPLETED" else "error"
    out.text(f"{out.glyph(sign)} {run.run_id} {status_text(str(run.status))}{style(took, dim=True)}")
    for line in outcome_lines(view):
        out.text(line)
    if run.status != "COMPLETED":
        out.next(f"courante events {run.run_id}")
