"""``courante replay``: the state of a run, made from its log alone: at any event, between two, or to verify it."""

from __future__ import annotations

import json
from typing import Any, cast

import click
import msgspec
from click import style

from ...compiler.ir import Ir, decode_ir
from ...sdk.fold import Folder
from ...sdk.marking import Corrupt
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.log import stream_events
from ...sdk.stores.runs import get_run
from ...sdk.stores.workflows import get_ir
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..services import Services, database, open_services, run_async
from ..texts import count_text

Json = dict[str, Any]


@click.command(short_help="Rebuild a run's state from its log alone, or verify it.")
@click.argument("run_id", metavar="RUN")
@click.option("--at", type=click.IntRange(min=1), metavar="SEQ", help="The state after this event; left out: the last.")
@click.option(
    "--diff", type=(click.IntRange(min=1), click.IntRange(min=1)), metavar="A B", help="What changed between two."
)
@click.option("--verify", is_flag=True, help="Check chain, sequence, and that the rules give what was logged.")
@service_options
@with_call
def replay(call: Call, run_id: str, at: int | None, diff: tuple[int, int] | None, verify: bool) -> int:
    """Rebuild a run's state from its log alone, or verify it.

    No handler is called and nothing is written. Exits with 1 where the log does not hold together.
    """
    if (at is not None) + (diff is not None) + verify > 1:
        raise CliError(ExitCode.USAGE, "usage", "--at, --diff and --verify exclude each other", "give one of them")
    call.log(default_level="warning")
    with open_services(call) as services:
        if verify:
            return run_async(lambda: _verify(call, services, run_id))
        if diff is not None:
            return run_async(lambda: _diff(call, services, run_id, *diff))
        return run_async(lambda: _at(call, services, run_id, at))


async def _verify(call: Call, services: Services, run_id: str) -> int:
    from ...replay.verify import verify_run

    env = services.settings.env
    async with database(services) as conn:
        await _ir_of(conn, env, run_id)
        found = await verify_run(conn, env, run_id)
    difference = msgspec.to_builtins(found.first_difference)
    call.out.json({"ok": found.ok, "events": found.events, "first_difference": difference})
    if found.ok:
        call.out.text(f"{call.out.glyph('ok')} {count_text(found.events, 'event')}: the log holds together")
        return ExitCode.OK
    call.out.text(f"{call.out.glyph('error')} {count_text(found.events, 'event')}: the log does not hold together")
    call.out.value(difference)
    return ExitCode.INVALID


async def _at(call: Call, services: Services, run_id: str, at: int | None) -> int:
    async with database(services) as conn:
        marking = (await _markings(conn, services.settings.env, run_id, [at]))[0]
    call.out.json(marking)
    call.out.value(marking)
    return ExitCode.OK


async def _diff(call: Call, services: Services, run_id: str, first: int, second: int) -> int:
    async with database(services) as conn:
        before, after = await _markings(conn, services.settings.env, run_id, [first, second])
    changes = differences(before, after)
    call.out.json({"from": first, "to": second, "changes": changes})
    if not call.is_json:
        for change in changes:
            call.out.text(style(str(change["path"]), bold=True))
            for name, colour, sign in (("before", "red", "-"), ("after", "green", "+")):
                if name in change:
                    call.out.text(style(f"  {sign} {json.dumps(change[name], ensure_ascii=False)}", fg=colour))
    return ExitCode.OK


def differences(before: object, after: object, path: str = "") -> list[Json]:
    """What changed between two JSON values, by path; ``before`` or ``after`` is left out where there is none."""
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast("Json", before), cast("Json", after)
        found: list[Json] = []
        for name in list(dict.fromkeys([*old, *new])):
            place = f"{path}.{name}" if path else name
            if name not in new:
                found.append({"path": place, "before": old[name]})
            elif name not in old:
                found.append({"path": place, "after": new[name]})
            else:
                found += differences(old[name], new[name], place)
        return found
    return [] if before == after else [{"path": path, "before": before, "after": after}]


async def _markings(conn: Connection, env: str, run_id: str, wanted: list[int | None]) -> list[Json]:
    """The state after each of the events, in the order asked for; None: after the last one. Reads the log once.

    Raises CliError where there is no such event, or where the log contradicts the rules.
    """
    from ...replay.marking_view import marking_to_json

    ir = await _ir_of(conn, env, run_id)
    folder = Folder(ir)
    numbered = {seq for seq in wanted if seq is not None}
    last = None if None in wanted else max(numbered)
    found: dict[int | None, Json] = {}
    try:
        async for event in stream_events(conn, run_id):
            folder.add(event)
            if event.seq in numbered:
                found[event.seq] = marking_to_json(ir, folder.marking)
            if event.seq == last:
                break
    except Corrupt as cause:
        hint = f"'courante replay {run_id} --verify' says more"
        raise CliError(ExitCode.INVALID, "log_corrupt", f"the log contradicts the rules: {cause}", hint) from cause
    if None in wanted:
        found[None] = marking_to_json(ir, folder.marking)
    for seq in wanted:
        if seq not in found:
            message = f"{run_id} has no event {seq}: its last one is {folder.marking.seq}"
            raise CliError(ExitCode.NOT_FOUND, "event_not_found", message, f"'courante events {run_id}' lists them")
    return [found[seq] for seq in wanted]


async def _ir_of(conn: Connection, env: str, run_id: str) -> Ir:
    """Raises UnknownRun, CliError."""
    run = await get_run(conn, run_id)
    if run.env != env:
        raise UnknownRun(run_id)
    content = await get_ir(conn, env, run.ir_hash)
    if content is None:
        raise CliError(ExitCode.NOT_FOUND, "ir_not_found", f"the IR {run.ir_hash} of {run_id} is not stored")
    return decode_ir(content)
