"""``courante retry``: a new run goes on from where another one was before it came to a bad end."""

from __future__ import annotations

import click

from ..actors import by_option
from ..call import Call, service_options, with_call
from ..dead_letters_view import restarted_json, restarted_line
from ..services import ask_client


@click.command()
@click.argument("run_id", metavar="RUN")
@click.option("--dry-run", is_flag=True, help="Say what would be executed, and start nothing.")
@click.option("--again", is_flag=True, help="Also where that was done before: yet another run.")
@by_option
@service_options
@with_call
def retry(call: Call, run_id: str, dry_run: bool, again: bool, by: str | None) -> None:
    """Start a run again from where it was before it came to a bad end.

    That of a run that failed, was cancelled, or whose time was up. What was done is taken over; what failed, and what
    follows, is executed in a new run, which names this one as its base. Asked twice it is the same run.
    """
    out = call.out
    done = ask_client(call, lambda client: client.retry(run_id, by=by, again=again, dry_run=dry_run))
    out.json(restarted_json(done, is_dry=dry_run) | ({} if dry_run else {"by": by}))
    out.text(f"{out.glyph('ok' if done.is_new else 'idle')} {restarted_line(done, is_dry=dry_run)}")
    out.next(f"courante retry {run_id}" if dry_run and done.is_new else f"courante status {done.run_id} --watch")
