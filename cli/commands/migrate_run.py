"""``courante migrate-run``: a live run goes on with another version of its workflow."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from click import style
from msgspec import UNSET, to_builtins

from ...api.wire.migrations import migration_shown
from ..actors import by_option
from ..call import Call, service_options, with_call
from ..commanded import reason_option
from ..exits import ExitCode
from ..services import ask_client
from ..texts import count_text

if TYPE_CHECKING:
    from ...sdk.migration.migrations import Migration


@click.command("migrate-run")
@click.argument("run_id", metavar="RUN")
@click.option("--to", "version", required=True, metavar="VERSION", help="A number, the hash of its IR, or 'latest'.")
@click.option("--dry-run", is_flag=True, help="Say whether it can, and what stands in the way; change nothing.")
@reason_option
@by_option
@service_options
@with_call
def migrate_run(call: Call, run_id: str, version: str, dry_run: bool, reason: str, by: str | None) -> int:
    """Let a live run go on with another version of its workflow.

    What is done stays done, and what is still to come is done by that version. The run moves when it is proved that
    every token has its place there; else all that stands in the way is told, and nothing changes. Exits with 1 then.
    """
    from ...sdk.errors import NotMigratable

    def ask_for(dry: bool) -> Migration:
        return ask_client(call, lambda client: client.migrate_run(run_id, version, reason=reason, by=by, dry_run=dry))

    try:
        done = ask_for(dry_run)
    except NotMigratable as error:
        if not error.blockers:
            raise
        done = ask_for(True)
    call.out.json(to_builtins(migration_shown(done, UNSET if dry_run else done.by or by)))
    _tell(call, done, is_dry=dry_run)
    return ExitCode.INVALID if done.blockers else ExitCode.OK


def _tell(call: Call, done: Migration, *, is_dry: bool) -> None:
    out, version = call.out, done.after.version
    if done.blockers:
        count = count_text(len(done.blockers), "thing")
        out.text(f"{out.glyph('error')} {done.run_id} cannot go on with version {version}: {count} in the way")
        for blocker in done.blockers:
            where = f"{blocker.node} {blocker.scope}".strip()
            token = f"  token {blocker.token}" if blocker.token else ""
            out.text(f"  {style(where or 'run', bold=True)} {blocker.code}{token}")
            out.text(f"    {blocker.message}")
            out.text(f"    {blocker.hint}")
        return
    if done.is_moved:
        out.text(f"{out.glyph('ok')} {done.run_id} goes on with version {version} (it had {done.before.version})")
    elif done.before.ir == done.after.ir:
        out.text(f"{out.glyph('idle')} {done.run_id} runs by version {version} already, or by the same")
    else:
        out.text(f"{out.glyph('ok')} {done.run_id} can go on with version {version} (it has {done.before.version})")
    would_move = is_dry and done.before.ir != done.after.ir
    out.next(f"courante migrate-run {done.run_id} --to {version}" if would_move else f"courante status {done.run_id}")
