"""``courante status``: one run and its steps, once or until it has ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio
import click
import msgspec

from ...api.reading.runs import RunReader
from ...api.wire.runs import RunShown
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..exits import STATUS_EXITS, ExitCode
from ..live import Progress
from ..remote.paths import at
from ..views.run import (
    alert_lines,
    approval_lines,
    call_lines,
    children_lines,
    following_command,
    head_lines,
    outcome_lines,
    step_lines,
    utc_now,
)

LOOK_S = 0.5
ROWS_MAX = 200


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--watch", is_flag=True, help="Show it until it has ended; then exit as 'run' does.")
@service_options
@with_call
def status(call: Call, run_id: str, watch: bool) -> int:
    """Show a run and its steps.

    With --watch the exit code tells how the run ended: 0 COMPLETED, 5 FAILED, 4 CANCELLED, 6 TIMED_OUT.
    """
    run = look_up(
        call,
        lambda conn, env: _read(call, RunReader(conn, env, run_id).shown, watch=watch),
        lambda api: _read(call, lambda: api.get(at("runs", run_id), RunShown), watch=watch),
    )
    call.out.json(msgspec.to_builtins(run))
    if not call.is_json:
        _show(call, run)
    return STATUS_EXITS[str(run.status)] if watch else ExitCode.OK


async def _read(call: Call, read: Callable[[], Awaitable[RunShown]], *, watch: bool) -> RunShown:
    """Return the run; watch: once it has ended."""
    if not watch:
        return await read()
    with Progress(call.out, has_head=True) as progress:
        while True:
            run = await read()
            progress.show(run)
            if run.is_final:
                return run
            await anyio.sleep(LOOK_S)


def _show(call: Call, run: RunShown) -> None:
    out, now = call.out, utc_now()
    for line in head_lines(run, now):
        out.text(line)
    out.text()
    for line in step_lines(run, now, width=out.width - 1, rows_max=ROWS_MAX):
        out.text(line)
    lines = (
        children_lines(run)
        + call_lines(run, out.width - 1)
        + outcome_lines(run)
        + approval_lines(run, now)
        + alert_lines(run)
    )
    if lines:
        out.text()
    for line in lines:
        out.text(line)
    following = following_command(run)
    if following:
        out.text()
        out.next(following)
