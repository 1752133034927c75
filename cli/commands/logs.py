"""``courante logs``: what the steps of a run have said, and what they say now."""

from __future__ import annotations

from typing import NamedTuple

import anyio
import click

from ...compiler.diagnostics import did_you_mean
from ...compiler.ir import Ir, decode_ir
from ...sdk.connections import connect_redis
from ...sdk.keys import Keys
from ...sdk.step_log_reading import StepLogReader
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.runs import RunRow, get_run, is_step_over
from ...sdk.stores.workflows import get_ir
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..log_view import LogView
from ..services import Services, check_redis, database, open_services, run_async

LOOK_S = 0.2


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--step", metavar="STEP", help="Only what this step has said.")
@click.option("--follow", is_flag=True, help="Go on as steps say more, until the step or the run has ended.")
@service_options
@with_call
def logs(call: Call, run_id: str, step: str | None, follow: bool) -> None:
    """Show what the steps of a run say, and follow it.

    That is what they write to their logs, and the answers of models as they come.

    Under --json every line and every piece of an answer is one object on a line of its own.
    """
    call.log(default_level="warning")
    with open_services(call) as services:
        run_async(lambda: _show_all(call, services, run_id, step=step, is_follow=follow))


async def _show_all(call: Call, services: Services, run_id: str, *, step: str | None, is_follow: bool) -> None:
    env = services.settings.env
    await check_redis(services)
    redis = connect_redis(services.redis_url)
    try:
        async with database(services) as conn:
            run = await get_run(conn, run_id)
            if run.env != env:
                raise UnknownRun(run_id)
            ir = await _ir(conn, run)
            _check_step(ir, step)
            reader = StepLogReader(conn, redis, Keys(env).partition(run.partition), env, run_id, step)
            view = LogView(call.out, ir)
            try:
                await _show(conn, reader, view, _Followed(run_id, _once(ir, step)) if is_follow else None)
            finally:
                view.close()
    finally:
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            await redis.aclose()


class _Followed(NamedTuple):
    """What is followed to its end: a run, or a step that comes once in it."""

    run_id: str
    step: str | None

    async def is_over(self, conn: Connection) -> bool:
        if (await get_run(conn, self.run_id)).status.is_final:
            return True
        return self.step is not None and await is_step_over(conn, self.run_id, self.step)


async def _show(conn: Connection, reader: StepLogReader, view: LogView, followed: _Followed | None) -> None:
    async for line in reader.past():
        view.show(line)
    while True:
        is_over = followed is None or await followed.is_over(conn)
        said = await reader.more()
        for each in said:
            view.show(each)
        if followed is None or (is_over and not said):
            return
        if not said:
            await anyio.sleep(LOOK_S)


async def _ir(conn: Connection, run: RunRow) -> Ir | None:
    content = await get_ir(conn, run.env, run.ir_hash)
    return None if content is None else decode_ir(content)


def _once(ir: Ir | None, step: str | None) -> str | None:
    """A step in a loop or a map may come again, whatever has become of it."""
    return next((node.id for node in (ir.nodes if ir is not None else ()) if node.id == step and not node.levels), None)


def _check_step(ir: Ir | None, step: str | None) -> None:
    names = [] if ir is None else [node.id for node in ir.nodes]
    if step is not None and names and step not in names:
        near = did_you_mean(step, names)
        raise CliError(ExitCode.NOT_FOUND, "unknown_step", f"the run has no step {step!r}", near)
