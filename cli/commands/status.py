"""``courante status``: one run and its steps, once or until it has ended."""

from __future__ import annotations

import anyio
import click
import msgspec

from ...api.reading.runs import RunReader, RunView
from ...sdk.stores.status import RunStatus
from ..call import Call, service_options, with_call
from ..exits import STATUS_EXITS, ExitCode
from ..live import Progress
from ..run_view import (
    alert_lines,
    approval_lines,
    call_lines,
    children_lines,
    head_lines,
    outcome_lines,
    step_lines,
    utc_now,
)
from ..services import Services, database, open_services, run_async

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
    call.log(default_level="warning")
    with open_services(call) as services:
        view = run_async(lambda: _watch(call, services, run_id) if watch else _look(services, run_id))
    call.out.json(msgspec.to_builtins(view.to_wire()))
    if not call.is_json:
        _show(call, view)
    return STATUS_EXITS[str(view.run.status)] if watch else ExitCode.OK


async def _look(services: Services, run_id: str) -> RunView:
    async with database(services) as conn:
        return await RunReader(conn, services.settings.env, run_id).read(with_traces=True)


async def _watch(call: Call, services: Services, run_id: str) -> RunView:
    async with database(services) as conn:
        reader = RunReader(conn, services.settings.env, run_id)
        with Progress(call.out, has_head=True) as progress:
            while True:
                view = await reader.read()
                progress.show(view)
                if view.is_final:
                    return await reader.read(with_traces=True)
                await anyio.sleep(LOOK_S)


def _show(call: Call, view: RunView) -> None:
    out, now = call.out, utc_now()
    for line in head_lines(view, now):
        out.text(line)
    out.text()
    for line in step_lines(view, now, width=out.width - 1, rows_max=ROWS_MAX):
        out.text(line)
    lines = (
        children_lines(view)
        + call_lines(view, out.width - 1)
        + outcome_lines(view)
        + approval_lines(view, now)
        + alert_lines(view)
    )
    if lines:
        out.text()
    for line in lines:
        out.text(line)
    following = _following(view)
    if following:
        out.text()
        out.next(following)


def _following(view: RunView) -> str:
    """The command that a person is likely to want next; nothing after a run that went well."""
    run = view.run
    if run.error is not None and run.error.node and view.is_final:
        return f"courante dlq show {run.run_id}"
    if run.error is not None and run.error.type == "OUTPUT_ERROR":
        return f"courante events {run.run_id}"
    if view.is_final:
        return "" if run.status is RunStatus.COMPLETED else f"courante retry {run.run_id}"
    if view.approvals:
        return f"courante approve {run.run_id}{f' {view.approvals[0].step}' if len(view.approvals) > 1 else ''}"
    return (
        f"courante resume {run.run_id}" if run.status is RunStatus.PAUSED else f"courante status {run.run_id} --watch"
    )
