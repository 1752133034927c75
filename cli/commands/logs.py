"""``courante logs``: what the steps of a run have said, and what they say now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

import anyio
import click
import msgspec

from ...api.wire.events import Numbers
from ...api.wire.logs import LogPage, Said, SaidReader
from ...api.wire.runs import RunDetail
from ...compiler.diagnostics import did_you_mean
from ...compiler.ir import Ir, decode_ir
from ...sdk.client.step_log_reading import StepLogReader
from ...sdk.connections import close_redis, connect_redis
from ...sdk.keys import Keys
from ...sdk.logs.step_lines import Piece, StepLine
from ...sdk.stores.connection import Connection as Database
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.runs import RunRow, get_run, is_step_over
from ...sdk.stores.workflows import get_ir
from ..asking import ask
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..remote.paths import at
from ..services import Services, check_redis, database
from ..views.log import LogView

if TYPE_CHECKING:
    from ..remote.connection import Connection

LOOK_S = 0.2
LINES_MAX = 10_000
"""Of a log that is not followed, over an API: the last ones."""
END = "end"


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
    ask(
        call,
        lambda services: _show_all(call, services, run_id, step=step, is_follow=follow),
        lambda api: _show_over_api(call, api, run_id, step=step, is_follow=follow),
    )


async def _show_over_api(call: Call, api: Connection, run_id: str, *, step: str | None, is_follow: bool) -> None:
    _check_step([node.id for node in (await api.get(at("runs", run_id), RunDetail)).nodes], step)
    path, view = at("runs", run_id, "logs"), LogView(call.out)
    try:
        if not is_follow:
            for said in (await api.get(path, LogPage, {"step": step, "limit": LINES_MAX})).lines:
                view.show(said)
            return
        async with aclosing(api.events(path, {"step": step})) as told:
            async for event in told:
                if event.name == END:
                    return
                view.show(msgspec.json.decode(event.data, type=Said))
    finally:
        view.close()


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
            _check_step([] if ir is None else [node.id for node in ir.nodes], step)
            reader = StepLogReader(conn, redis, Keys(env).partition(run.partition), env, run_id, step)
            words, view = SaidReader(Numbers(ir)), LogView(call.out)

            def show(found: StepLine | Piece) -> None:
                for said in words.said(found):
                    view.show(said)

            try:
                await _show(conn, reader, show, _Followed(run_id, _once(ir, step)) if is_follow else None)
            finally:
                view.close()
    finally:
        await close_redis(redis)


class _Followed(NamedTuple):
    """What is followed to its end: a run, or a step that comes once in it."""

    run_id: str
    step: str | None

    async def is_over(self, conn: Database) -> bool:
        if (await get_run(conn, self.run_id)).status.is_final:
            return True
        return self.step is not None and await is_step_over(conn, self.run_id, self.step)


async def _show(
    conn: Database, reader: StepLogReader, show: Callable[[StepLine | Piece], None], followed: _Followed | None
) -> None:
    async for line in reader.past():
        show(line)
    while True:
        is_over = followed is None or await followed.is_over(conn)
        said = await reader.more()
        for each in said:
            show(each)
        if followed is None or (is_over and not said):
            return
        if not said:
            await anyio.sleep(LOOK_S)


async def _ir(conn: Database, run: RunRow) -> Ir | None:
    content = await get_ir(conn, run.env, run.ir_hash)
    return None if content is None else decode_ir(content)


def _once(ir: Ir | None, step: str | None) -> str | None:
    """A step in a loop or a map may come again, whatever has become of it."""
    return next((node.id for node in (ir.nodes if ir is not None else ()) if node.id == step and not node.levels), None)


def _check_step(names: Sequence[str], step: str | None) -> None:
    if step is not None and names and step not in names:
        near = did_you_mean(step, names)
        raise CliError(ExitCode.NOT_FOUND, "unknown_step", f"the run has no step {step!r}", near)
