"""``courante forget``: empties what ended runs have said and made, and keeps that they were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeAlias

import click
from msgspec import to_builtins
from msgspec.structs import replace

from ...api.wire.forgetting import ForgetDone, ForgetMany
from ..actors import by_option
from ..asking import ask
from ..call import Call, service_options, with_call
from ..confirming import confirm_for_good
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..remote.paths import at
from ..services import Services, check_redis, database
from ..texts import count_text

if TYPE_CHECKING:
    from ..remote.connection import Connection

Forget: TypeAlias = Callable[[ForgetMany], Awaitable[ForgetDone]]
RELATIONS = {"goes_on_from_it": "goes on from it", "parent": "has it as a step"}


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--workflow", metavar="ID", help="Runs of this workflow.")
@click.option("--tag", metavar="TAG", help="Runs with this tag.")
@click.option("--before", metavar="WHEN", help="Runs that ended before: 30d, 12h or a time.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N", help="At most so many."
)
@click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked: in a pipe, with --json.")
@click.option("--dry-run", is_flag=True, help="Say what would be emptied, and change nothing.")
@click.option("--reason", metavar="TEXT", default="", help="Why; it is kept, as who did it.")
@by_option
@service_options
@with_call
def forget(
    call: Call,
    runs: tuple[str, ...],
    workflow: str | None,
    tag: str | None,
    before: str | None,
    limit: int,
    yes: bool,
    dry_run: bool,
    reason: str,
    by: str | None,
) -> None:
    """Empty what ended runs have said and made, for good.

    Inputs, outputs, artifacts, signals, comments, step logs, cached outputs, texts of errors; child runs included.
    The events and their chain stay, and that it was done, by whom and why. Give runs, or --before and what narrows it.
    """
    if bool(runs) == (before is not None):
        hint = "courante forget RUN, or courante forget --workflow ID --before 30d"
        raise CliError(ExitCode.USAGE, "usage", "give runs, or --before", hint)
    if runs and (workflow or tag):
        raise CliError(ExitCode.USAGE, "usage", "--workflow and --tag narrow --before down, not runs by name")
    wanted = ForgetMany(
        runs=list(runs),
        before=read_since(before, "--before"),
        workflow=workflow,
        tag=tag,
        limit=limit,
        reason=reason,
        by=by,
        dry_run=True,
    )

    async def carry_out(forget: Forget) -> ForgetDone:
        planned = await forget(wanted)
        if not planned.forgotten or dry_run:
            return planned
        count = count_text(len(planned.forgotten), "run")
        confirm_for_good(call, f"empty {count}, which cannot be undone?", is_sure=yes)
        return await forget(ForgetMany(runs=planned.forgotten, reason=reason, by=by))

    async def here(services: Services) -> ForgetDone:
        from ...api.forgetting import forget_runs

        async with database(services):
            pass
        await check_redis(services)
        async with services.client() as client:
            return await carry_out(lambda asked: forget_runs(client, asked, by))

    async def over_api(api: Connection) -> ForgetDone:
        from ..remote.connection import LONG_ANSWER_S

        return await carry_out(
            lambda asked: api.post(at("runs", "forget"), asked, ForgetDone, may_repeat=True, answer_s=LONG_ANSWER_S)
        )

    done = ask(call, here, over_api)
    _show(call, done, is_dry=dry_run)
    call.out.json(to_builtins(replace(done, dry_run=dry_run)))


def _show(call: Call, done: ForgetDone, *, is_dry: bool) -> None:
    out = call.out
    if not done.forgotten:
        out.text(f"{out.glyph('idle')} no runs to forget")
        return
    verb = "would be" if is_dry else "was" if len(done.forgotten) == 1 else "were"
    events = f"{count_text(done.events, 'event')} with a payload"
    counts = f"{count_text(len(done.forgotten), 'run')} {verb} emptied: {events}"
    deleted = "" if is_dry else f", {count_text(done.payloads, 'stored payload')} deleted"
    out.text(f"{out.glyph('idle' if is_dry else 'ok')} {counts}{deleted}")
    for each in done.before:
        who = f" by {each.by}" if each.by else ""
        out.text(f"  {each.run_id} was forgotten before, {each.at}{who}")
    if done.left:
        left = count_text(done.left, "stored payload")
        out.text(f"{out.glyph('warning')} {left} left to the next sweep of a supervisor")
    for run_id in done.not_ended:
        out.text(f"{out.glyph('warning')} {run_id} is a child run that has not ended: it was left as it is")
    for relative in done.related:
        words = RELATIONS[relative.relation]
        out.text(f"{out.glyph('warning')} {relative.run_id} {words}, and may hold copies of what it has made")
    if done.related:
        out.next(f"courante forget {' '.join(relative.run_id for relative in done.related)}")
