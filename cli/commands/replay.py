"""``courante replay``: the state of a run, made from its log alone: at any event, between two, or to verify it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click import style

from ...api.reading.states import lineage_of, read_states
from ...api.wire.states import StateChanges, state_changes
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..remote.paths import at
from ..texts import count_text
from ..views.replay import show_state

if TYPE_CHECKING:
    from ...replay.verify import Verification
    from ...sdk.stores.connection import Connection as Database
    from ..remote.connection import Connection

LIMIT = 100
"""Runs that filters let through, where nobody says how many."""


@click.command()
@click.argument("run_ids", metavar="RUN...", nargs=-1)
@click.option(
    "--at", "at_seq", type=click.IntRange(min=1), metavar="SEQ", help="The state after this event; left out: the last."
)
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
    at_seq: int | None,
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
    if (at_seq is not None) + (diff is not None) + verify + (what_if is not None) > 1:
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
    if verify:
        return _verify(call, run_ids)
    return _at(call, run_ids[0], at_seq) if diff is None else _diff(call, run_ids[0], *diff)


def _what_if(
    call: Call, wanted: str, run_ids: tuple[str, ...], limit: int | None, filters: Mapping[str, str | None]
) -> int:
    from ..what_if import ask_runs, show

    since = read_since(filters.get("since"))
    show(call.out, ask_runs(call, wanted, run_ids, filters, since=since, limit=limit or LIMIT), wanted)
    return ExitCode.OK


def _verify(call: Call, run_ids: Sequence[str]) -> int:
    """Verify each run; the exit code is that of the worst."""
    from ...replay.verify import Verification, verify_run

    async def each(verify: Callable[[str], Awaitable[Verification]]) -> int:
        found = [_show_verified(call, await verify(run_id), has_name=len(run_ids) > 1) for run_id in run_ids]
        return ExitCode.OK if all(found) else ExitCode.INVALID

    async def here(conn: Database, env: str) -> int:
        async def verify(run_id: str) -> Verification:
            await lineage_of(conn, env, run_id)
            return await verify_run(conn, env, run_id)

        return await each(verify)

    async def over_api(api: Connection) -> int:
        from ..remote.connection import LONG_ANSWER_S

        return await each(lambda run_id: api.get(at("runs", run_id, "verify"), Verification, answer_s=LONG_ANSWER_S))

    return look_up(call, here, over_api)


def _show_verified(call: Call, found: Verification, *, has_name: bool) -> bool:
    """Tell what was found of one run; return whether its log holds together."""
    out, difference = call.out, msgspec.to_builtins(found.first_difference)
    counts = {"events": found.events, "emptied": found.emptied, "unchecked": found.unchecked}
    out.json({"run_id": found.run_id, "ok": found.ok, **counts, "first_difference": difference})
    name = f"{found.run_id}: " if has_name else ""
    verdict = "the log holds together" if found.ok else "the log does not hold together"
    out.text(f"{out.glyph('ok' if found.ok else 'error')} {name}{count_text(found.events, 'event')}: {verdict}")
    if found.emptied:
        unchecked = count_text(found.unchecked, "decision")
        out.text(f"  {count_text(found.emptied, 'payload')} emptied, {unchecked} unchecked")
    if not found.ok:
        out.value(difference)
    return found.ok


def _at(call: Call, run_id: str, at_seq: int | None) -> int:
    async def here(conn: Database, env: str) -> dict[str, Any]:
        return (await read_states(conn, env, run_id, [at_seq]))[0]

    state = look_up(call, here, lambda api: api.get(at("runs", run_id, "state"), dict[str, Any], {"at": at_seq}))
    call.out.json(state)
    if not call.is_json:
        show_state(call.out, run_id, state)
    return ExitCode.OK


def _diff(call: Call, run_id: str, first: int, second: int) -> int:
    async def here(conn: Database, env: str) -> StateChanges:
        from ...replay.changes import diff

        return state_changes(first, second, diff(*await read_states(conn, env, run_id, [first, second])))

    query = {"from": first, "to": second}
    found = look_up(call, here, lambda api: api.get(at("runs", run_id, "diff"), StateChanges, query))
    call.out.json(msgspec.to_builtins(found))
    if not found.changes:
        call.out.text("nothing differs")
    for change in found.changes:
        call.out.text(style(" ".join(change.place), bold=True))
        for value, colour, sign in ((change.before, "red", "-"), (change.after, "green", "+")):
            if value is not None:
                call.out.text(style(f"  {sign} {json.dumps(value, ensure_ascii=False)}", fg=colour))
    return ExitCode.OK
