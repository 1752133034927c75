"""``courante retry``: a new run goes on from where another one was before it came to a bad end; or many of them do."""

from __future__ import annotations

from typing import Any

import click

from ..actors import by_option
from ..bulk import read_selection, selection_options, tell_each
from ..call import Call, service_options, with_call
from ..services import ask_client
from ..views.dead_letters import reason_lines, restarted_json, restarted_line


@click.command()
@click.argument("run_id", metavar="[RUN]", required=False)
@selection_options
@click.option(
    "--version", default="base", metavar="VERSION", help="Do the rest by another version: a number, or 'latest'."
)
@click.option("--dry-run", is_flag=True, help="Say what would be executed, and start nothing.")
@click.option("--again", is_flag=True, help="Also where that was done before: yet another run.")
@by_option
@service_options
@with_call
def retry(
    call: Call, /, run_id: str | None, version: str, dry_run: bool, again: bool, by: str | None, **said: Any
) -> int:
    """Start a run again from where it was before it came to a bad end.

    That of a run that failed, was cancelled, or whose time was up. What was done is taken over; what failed, and what
    follows, is executed in a new run, which names this one as its base. Asked twice it is the same run.

    With --version the rest is done by another version of the workflow. Where something was done that this one would do
    otherwise, or where what is left has no place in it, the run is enacted again: what is the same and gets the same is
    taken over, and everything else is executed. --dry-run says which of the two it is, and why a step is executed.

    With filters in place of RUN: every run that failed, or with --status CANCELLED or TIMED_OUT of those, and to which
    all of them apply.
    """
    out, wanted = call.out, read_selection(run_id, said)
    other = int(version) if version.isdecimal() and len(version) < 10 else version
    if wanted is not None:
        return tell_each(
            call,
            lambda client: client.bulk.retry(wanted, version=other, by=by, again=again, dry_run=dry_run),
            is_dry=dry_run,
        )
    assert run_id is not None
    done = ask_client(call, lambda client: client.retry(run_id, version=other, by=by, again=again, dry_run=dry_run))
    out.json(restarted_json(done, is_dry=dry_run, by=done.by))
    out.text(f"{out.glyph('ok' if done.is_new else 'idle')} {restarted_line(done, is_dry=dry_run)}")
    if dry_run and done.is_new:
        for line in reason_lines(done):
            out.text(line)
    same = "" if version == "base" else f" --version {version}"
    out.next(f"courante retry {run_id}{same}" if dry_run and done.is_new else f"courante status {done.run_id} --watch")
    return 0
