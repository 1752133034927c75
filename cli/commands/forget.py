"""``courante forget``: empties what ended runs have said and made, and keeps that they were."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import anyio
import click

from ...sdk.stores.forgetting import Forgotten, Relative, read_forgotten, relatives_of, runs_to_forget
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..exits import CliError, ExitCode
from ..inputs import read_since
from ..services import Services, check_redis, database, open_services, run_async
from ..texts import count_text, iso

if TYPE_CHECKING:
    from ...supervisor.forgetting import Emptied

RELATIONS = {"goes_on_from_it": "goes on from it", "parent": "has it as a step"}


@click.command()
@click.argument("runs", metavar="[RUN]...", nargs=-1)
@click.option("--workflow", metavar="ID", help="Runs of this workflow.")
@click.option("--tag", metavar="TAG", help="Runs with this tag.")
@click.option("--before", metavar="WHEN", help="Runs that ended before: 30d, 12h or a time.")
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=1000, show_default=True, metavar="N", help="At most so many."
)
@click.option("--yes", is_flag=True, help="Do not ask; a pipe and --json are never asked.")
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
    call.log(default_level="warning")
    with open_services(call) as services:
        told = run_async(
            lambda: _Asked(call, services, limit=limit, is_sure=yes, is_dry=dry_run).run(
                list(runs), before=before, workflow=workflow, tag=tag, reason=reason, by=by
            )
        )
    call.out.json({"dry_run": dry_run, "by": by, "reason": reason, **told})


class _Asked:
    """One use of the command."""

    def __init__(self, call: Call, services: Services, *, limit: int, is_sure: bool, is_dry: bool) -> None:
        self._call = call
        self._services = services
        self._limit = limit
        self._is_sure = is_sure
        self._is_dry = is_dry

    async def run(
        self,
        run_ids: list[str],
        *,
        before: str | None,
        workflow: str | None,
        tag: str | None,
        reason: str,
        by: str | None,
    ) -> dict[str, Any]:
        from ...sdk.connections import connect_redis
        from ...supervisor.forgetting import Forgetting

        settings = self._services.settings
        until = read_since(before, "--before")
        async with database(self._services) as conn:
            if until is not None:
                narrowed: dict[str, Any] = {"workflow": workflow, "tag": tag, "limit": self._limit}
                run_ids = await runs_to_forget(conn, settings.env, until, **narrowed)
            known = await read_forgotten(conn, run_ids)
        await check_redis(self._services)
        redis = connect_redis(self._services.redis_url)
        try:
            async with self._services.client() as client:
                forgetting = Forgetting(redis, client.pool, client.keys, partitions=settings.partitions)
                planned = await forgetting.preview(run_ids)
                if planned.run_ids and not self._is_dry:
                    self._confirm(planned)
                    planned = await forgetting.forget(run_ids, by=by, reason=reason)
                async with client.pool.acquire() as conn:
                    relatives = await relatives_of(conn, list(planned.run_ids))
        finally:
            with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                await redis.aclose()
        self._show(planned, known, relatives)
        return _to_json(planned, relatives)

    def _confirm(self, planned: Emptied) -> None:
        """Ask the person at the terminal. Raises CliError for a no."""
        question = f"empty {count_text(len(planned.run_ids), 'run')}, which cannot be undone?"
        if self._is_sure or self._call.is_json or not sys.stdin.isatty() or click.confirm(question, err=True):
            return
        raise CliError(ExitCode.CANCELLED, "not_confirmed", "nothing was changed", "--yes does it without asking")

    def _show(self, done: Emptied, known: dict[str, Forgotten], relatives: list[Relative]) -> None:
        out = self._call.out
        if not done.run_ids:
            out.text(f"{out.glyph('idle')} no runs to forget")
            return
        verb = "would be" if self._is_dry else "was" if len(done.run_ids) == 1 else "were"
        events = f"{count_text(done.events, 'event')} with a payload"
        counts = f"{count_text(len(done.run_ids), 'run')} {verb} emptied: {events}"
        deleted = "" if self._is_dry else f", {count_text(done.payloads, 'stored payload')} deleted"
        out.text(f"{out.glyph('idle' if self._is_dry else 'ok')} {counts}{deleted}")
        for each in known.values():
            who = f" by {each.by}" if each.by else ""
            out.text(f"  {each.run_id} was forgotten before, {iso(each.forgotten_at)}{who}")
        if done.left:
            left = count_text(done.left, "stored payload")
            out.text(f"{out.glyph('warning')} {left} left to the next sweep of a supervisor")
        for run_id in done.kept_alive:
            out.text(f"{out.glyph('warning')} {run_id} is a child run that has not ended: it was left as it is")
        for relative in relatives:
            words = RELATIONS[relative.relation]
            out.text(f"{out.glyph('warning')} {relative.run_id} {words}, and may hold copies of what it has made")
        if relatives:
            out.next(f"courante forget {' '.join(relative.run_id for relative in relatives)}")


def _to_json(done: Emptied, relatives: list[Relative]) -> dict[str, Any]:
    return {
        "forgotten": list(done.run_ids),
        "events": done.events,
        "payloads": done.payloads,
        "left": done.left,
        "not_ended": list(done.kept_alive),
        "related": [{"run_id": one.run_id, "relation": one.relation} for one in relatives],
    }
