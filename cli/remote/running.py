"""Running over an API: register and submit there, follow, and give the result. Whoever works on it is elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from uuid import uuid4

import anyio

from ...api.wire.commands import Submit
from ...api.wire.runs import Result, RunShown
from ...api.wire.workflows import WorkflowRegistered
from ...sdk.submissions.submissions import encode_input
from ..call import Call
from ..documents import Document
from ..exits import CliError, ExitCode
from ..live import Progress
from ..running import Request, interrupted, show_accepted, show_end
from ..signals import watch_signals
from .connection import Connection
from .documents import headers_of
from .paths import at

LOOK_S = 0.5


async def run_over_api(call: Call, api: Connection, request: Request, *, is_detached: bool) -> int:
    """Raises CliError, also when interrupted."""
    if request.has_apps:
        hint = "leave out --app, or COURANTE_API_URL"
        raise CliError(ExitCode.USAGE, "usage", "--app is for a worker of one's own, and an API has its own", hint)
    encode_input(request.input)  # told here, in words for people
    version = request.version
    if request.document is not None:
        version = (await register(api, request.document)).version
    submitted = await api.post(
        at("runs"),
        Submit(
            workflow=request.workflow,
            input=request.input,
            version=version,
            key=request.key or new_key(),
            tags=list(request.tags),
            by=request.by,
            start_at=request.start_at,
            expires_at=request.expires_at,
        ),
        Result,
        may_repeat=True,
    )
    if is_detached:
        show_accepted(call, submitted)
        return ExitCode.OK
    run_id = submitted.run_id
    run = await _wait_for(call, lambda: api.get(at("runs", run_id), RunShown, {"wait": LOOK_S}))
    if run is None:
        raise interrupted(run_id, is_own=False)
    fields = {name: getattr(run, name) for name in Result.__struct_fields__}
    return show_end(call, Result(**fields), run)


async def register(api: Connection, document: Document) -> WorkflowRegistered:
    """Raises CliError."""
    content = document.content
    try:
        return await api.post(at("workflows"), content, WorkflowRegistered, headers=headers_of(content))
    except CliError as error:
        if error.code == "forbidden":
            hint = "somebody who may registers it: courante init FILE; then the id of the workflow stands for the file"
            raise CliError(error.exit_code, error.code, error.message, hint) from error
        raise


def new_key() -> str:
    """Return an idempotency key of one submission: what is sent again is the same run."""
    return f"cli-{uuid4()}"


async def _wait_for(call: Call, read: Callable[[], Awaitable[RunShown]]) -> RunShown | None:
    """Return the run once it has ended; None where a signal came first."""
    found: RunShown | None = None
    async with anyio.create_task_group() as group:
        await group.start(watch_signals, group.cancel_scope.cancel, lambda: None)
        with Progress(call.out) as progress:
            while True:
                run = await read()
                progress.show(run)
                if run.is_final:
                    found = run
                    break
        group.cancel_scope.cancel()
    return found
