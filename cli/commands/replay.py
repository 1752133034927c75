"""``courante replay``: the state of a run, made from its log alone: at any event, between two, or to verify it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click import style

from ...sdk.corrupt import Corrupt
from ...sdk.errors import WorkflowNotFound
from ...sdk.lineage import Lineage, read_lineage
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun
from ...sdk.stores.log import stream_events
from ...sdk.stores.runs import get_run
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..replay_view import show_state
from ..services import Services, database, open_services, run_async
from ..texts import count_text

if TYPE_CHECKING:
    from ...replay.changes import Change
    from ...replay.what_if import WhatIf

LIMIT = 100
"""Runs that filters let through, where nobody says how many."""


@click.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1)
@click.option("--at", type=click.IntRange(min=1), metavar="SEQ", help="The state after this event; left out: the last.")
@click.option(
    "--diff", type=(click.IntRange(min=1), click.IntRange(min=1)), metavar="A B", help="What changed between two."
)
@click.option(
    "--verify", is_flag=True, help="Check chain, sequence, and that the rules give what was logged; takes several runs."
)
@click.option(
    "--what-if", metavar="VERSION|FILE", help="How runs would be routed by another version; takes several, or filters."
)
@click.option("--workflow", metavar="ID", help="With --what-if: runs of this workflow.")
@click.option("--status", metavar="STATUS", help="With --what-if: runs with this status, for example COMPLETED.")
@click.option("--since", metavar="WHEN", help="With --what-if: runs accepted since: 30m, 2h, 7d or a time.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), metavar="N", help="With filters: at most so many; left out: 100."
)
@service_options
@with_call
def replay(
    call: Call,
    /,
    run_ids: tuple[str, ...],
    at: int | None,
    diff: tuple[int, int] | None,
    verify: bool,
    what_if: str | None,
    limit: int | None,
    **filters: str | None,
) -> int:
    """Rebuild a run's state from its log alone, or verify it.

    No handler is called and nothing is written. Exits with 1 where the log does not hold together. With --what-if the
    steps that the log knows answer with what they gave then, and every decision is made again.
    """
    if (at is not None) + (diff is not None) + verify + (what_if is not None) > 1:
        message = "--at, --diff, --verify and --what-if exclude each other"
        raise CliError(ExitCode.USAGE, "usage", message, "give one of them")
    is_filtered = any(value is not None for value in (limit, *filters.values()))
    if is_filtered and (what_if is None or run_ids):
        hint = "leave them out, or name no RUN" if what_if is not None else "'courante runs' lists runs"
        raise CliError(ExitCode.USAGE, "usage", "filters are for --what-if without any RUN", hint)
    if len(run_ids) != 1 and not verify and not (what_if is not None and (run_ids or is_filtered)):
        hint = "give one RUN; --verify takes several, --what-if several or filters"
        raise CliError(ExitCode.USAGE, "usage", "a state is that of one run" if run_ids else "which run?", hint)
    call.log(default_level="warning")
    if what_if is not None:
        return _what_if(call, what_if, run_ids, limit, filters)
    with open_services(call) as services:
        if verify:
            return run_async(lambda: _verify(call, services, run_ids))
        run_id = run_ids[0]
        if diff is not None:
            return run_async(lambda: _diff(call, services, run_id, *diff))
        return run_async(lambda: _at(call, services, run_id, at))


def _what_if(
    call: Call, wanted: str, run_ids: tuple[str, ...], limit: int | None, filters: Mapping[str, str | None]
) -> int:
    from ..what_if import OtherVersion, ask_run, chosen, show

    other, since = OtherVersion(call, wanted), read_since(filters.get("since"))

    async def go(services: Services) -> list[WhatIf]:
        env = services.settings.env
        async with database(services) as conn:
            return [
                await ask_run(conn, env, run_id, await _lineage_of(conn, env, run_id), other)
                async for run_id in chosen(conn, env, run_ids, since, limit or LIMIT, filters)
            ]

    with open_services(call) as services:
        show(call.out, run_async(lambda: go(services)), wanted)
    return ExitCode.OK


async def _verify(call: Call, services: Services, run_ids: Sequence[str]) -> int:
    """Verify each run; the exit code is that of the worst."""
    from ...replay.verify import verify_run

    env = services.settings.env
    code = ExitCode.OK
    async with database(services) as conn:
        for run_id in run_ids:
            await _lineage_of(conn, env, run_id)
            found = await verify_run(conn, env, run_id)
            difference = msgspec.to_builtins(found.first_difference)
            counts = {"events": found.events, "emptied": found.emptied, "unchecked": found.unchecked}
            call.out.json({"run_id": run_id, "ok": found.ok, **counts, "first_difference": difference})
            name = f"{run_id}: " if len(run_ids) > 1 else ""
            verdict = "the log holds together" if found.ok else "the log does not hold together"
            call.out.text(
                f"{call.out.glyph('ok' if found.ok else 'error')} {name}{count_text(found.events, 'event')}: {verdict}"
            )
            if found.emptied:
                unchecked = count_text(found.unchecked, "decision")
                call.out.text(f"  {count_text(found.emptied, 'payload')} emptied, {unchecked} unchecked")
            if not found.ok:
                call.out.value(difference)
                code = ExitCode.INVALID
    return code


async def _at(call: Call, services: Services, run_id: str, at: int | None) -> int:
    async with database(services) as conn:
        (state,) = await _states(conn, services.settings.env, run_id, [at])
    call.out.json(state)
    if not call.is_json:
        show_state(call.out, run_id, state)
    return ExitCode.OK


async def _diff(call: Call, services: Services, run_id: str, first: int, second: int) -> int:
    from ...replay.changes import diff

    async with database(services) as conn:
        before, after = await _states(conn, services.settings.env, run_id, [first, second])
    changes = diff(before, after)
    call.out.json({"from": first, "to": second, "changes": [_change_json(change) for change in changes]})
    if not changes:
        call.out.text("nothing differs")
    for change in changes:
        call.out.text(style(" ".join(change.place), bold=True))
        for value, colour, sign in ((change.before, "red", "-"), (change.after, "green", "+")):
            if value is not None:
                call.out.text(style(f"  {sign} {json.dumps(value, ensure_ascii=False)}", fg=colour))
    return ExitCode.OK


def _change_json(change: Change) -> dict[str, object]:
    return {"place": list(change.place), "before": change.before, "after": change.after}


async def _states(conn: Connection, env: str, run_id: str, wanted: list[int | None]) -> list[dict[str, Any]]:
    """The state after each of the events, in the order asked for; None: after the last one. Reads the log once.

    Raises CliError where there is no such event, or where the log contradicts the rules.
    """
    from ...replay.state import NoSuchEvent, StateReader

    lineage = await _lineage_of(conn, env, run_id)
    reader = StateReader(lineage.first.ir, lineage.irs)
    found: dict[int | None, dict[str, Any]] = {}
    end = None if None in wanted else max(seq for seq in wanted if seq is not None)
    try:
        async for event in stream_events(conn, run_id):
            reader.add(event)
            if event.seq in wanted:
                found[event.seq] = reader.state()
            if event.seq == end:
                break
        for seq in wanted:
            if seq is not None and seq not in found:
                raise NoSuchEvent(seq, reader.seq)
        return [reader.state() if seq is None else found[seq] for seq in wanted]
    except NoSuchEvent as cause:
        hint = f"'courante events {run_id}' lists them"
        raise CliError(ExitCode.NOT_FOUND, "event_not_found", str(cause), hint) from cause
    except Corrupt as cause:
        hint = f"'courante replay {run_id} --verify' says more"
        raise CliError(ExitCode.INVALID, "log_corrupt", f"the log contradicts the rules: {cause}", hint) from cause


async def _lineage_of(conn: Connection, env: str, run_id: str) -> Lineage:
    """Raises UnknownRun, CliError."""
    run = await get_run(conn, run_id)
    if run.env != env:
        raise UnknownRun(run_id)
    try:
        return await read_lineage(conn, env, run_id, accepted=run.ir_hash)
    except WorkflowNotFound as cause:
        raise CliError(ExitCode.NOT_FOUND, "ir_not_found", f"of {run_id}: {cause}") from cause
