"""``courante runs``: the runs of an environment, newest first, a page at a time."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ...api.reading.runs import read_page
from ...api.wire.moments import at_of
from ...api.wire.runs import RunLine, RunPage
from ..asking import look_up
from ..call import Call, service_options, with_call
from ..inputs import read_since
from ..output import status_text
from ..remote.paths import at
from ..texts import age_text
from ..views.run import took_text, utc_now
from ..views.spending import cost_text


@click.command()
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--status", metavar="STATUS", help="Only runs with this status, for example RUNNING or failed.")
@click.option("--since", metavar="WHEN", help="Only runs accepted since: 30m, 2h, 7d or a time.")
@click.option("--tag", metavar="TAG", help="Only runs with this tag.")
@click.option("--parent", metavar="RUN", help="Only runs that are steps of this run.")
@click.option("--search", metavar="TEXT", help="Only runs whose id begins so, or with this key, tag or workflow.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=20, show_default=True, metavar="N", help="At most so many."
)
@click.option("--cursor", metavar="CURSOR", help="Go on where a page before ended: its 'next'.")
@service_options
@with_call
def runs(
    call: Call,
    workflow: str | None,
    status: str | None,
    since: str | None,
    tag: str | None,
    parent: str | None,
    search: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List runs, newest first."""
    wanted: dict[str, Any] = {"workflow": workflow, "status": status, "tag": tag, "parent": parent, "search": search}
    wanted |= {"since": read_since(since), "limit": limit, "cursor": cursor}
    page = look_up(
        call,
        lambda conn, env: read_page(conn, env, **wanted),
        lambda api: api.get(at("runs"), RunPage, wanted),
    )
    call.out.json(msgspec.to_builtins(page))
    if not page.runs:
        call.out.text("no runs")
        call.out.next("courante run FILE")
        return
    head, lines = ["run", "status", "workflow", "started", "took"], [_row(run) for run in page.runs]
    if any(run.usage.calls for run in page.runs):
        head.append("cost")
        lines = [[*line, cost_text(run.usage, run.cost)] for run, line in zip(page.runs, lines, strict=True)]
    call.out.table(head, lines)
    if page.next is not None:
        call.out.next(f"courante runs --cursor {page.next}")


def _row(run: RunLine) -> list[str]:
    now = utc_now()
    took = started = ""
    if run.started_at is not None:
        started = age_text((now - at_of(run.started_at)).total_seconds())
        took = took_text(run.started_at, run.finished_at, now)
    tags = f" [{', '.join(run.tags)}]" if run.tags else ""
    return [run.run_id, status_text(str(run.status)), f"{run.workflow} v{run.version}{tags}", started, took]
