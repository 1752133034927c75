"""``courante runs``: the runs of an environment, newest first, a page at a time."""

from __future__ import annotations

import click
import msgspec

from ...api.wire.runs import RunPage, run_line
from ...sdk.spending.spent import Spent
from ...sdk.stores import runs as store
from ...sdk.stores.children import ParentRow, parents_of
from ...sdk.stores.runs import RunRow, list_runs
from ...sdk.stores.spending import spending_of_runs
from ..call import Call, service_options, with_call
from ..inputs import read_since
from ..output import status_text
from ..run_view import utc_now
from ..services import Services, database, open_services, run_async
from ..spending_view import cost_text
from ..texts import age_text, duration_text


@click.command()
@click.option("--workflow", metavar="ID", help="Only runs of this workflow.")
@click.option("--status", metavar="STATUS", help="Only runs with this status, for example RUNNING or failed.")
@click.option("--since", metavar="WHEN", help="Only runs accepted since: 30m, 2h, 7d or a time.")
@click.option("--tag", metavar="TAG", help="Only runs with this tag.")
@click.option("--parent", metavar="RUN", help="Only runs that are steps of this run.")
@click.option("--limit", type=int, default=20, show_default=True, metavar="N", help="At most so many, up to 1000.")
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
    limit: int,
    cursor: str | None,
) -> None:
    """List runs, newest first."""
    call.log(default_level="warning")
    moment = read_since(since)

    async def read(services: Services) -> tuple[store.RunPage, dict[str, ParentRow], dict[str, list[Spent]]]:
        wanted = {"workflow": workflow, "status": status, "tag": tag, "parent": parent, "cursor": cursor}
        async with database(services) as conn:
            page = await list_runs(conn, services.settings.env, since=moment, limit=limit, **wanted)
            ids = [run.run_id for run in page.runs]
            return page, await parents_of(conn, ids), await spending_of_runs(conn, ids)

    with open_services(call) as services:
        page, parents, spent = run_async(lambda: read(services))
    shown = [run_line(run, parents.get(run.run_id), spent.get(run.run_id, [])) for run in page.runs]
    call.out.json(msgspec.to_builtins(RunPage(runs=shown, next=page.next)))
    if not page.runs:
        call.out.text("no runs")
        call.out.next("courante run FILE")
        return
    head, lines = ["run", "workflow", "status", "started", "took"], [_row(run) for run in page.runs]
    if spent:
        head.append("cost")
        lines = [[*line, cost_text(spent.get(run.run_id, []))] for run, line in zip(page.runs, lines, strict=True)]
    call.out.table(head, lines)
    if page.next is not None:
        call.out.next(f"courante runs --cursor {page.next}")


def _row(run: RunRow) -> list[str]:
    now = utc_now()
    took = started = ""
    if run.started_at is not None:
        started = age_text((now - run.started_at).total_seconds())
        took = duration_text(((run.finished_at or now) - run.started_at).total_seconds())
    tags = f" [{', '.join(run.tags)}]" if run.tags else ""
    return [run.run_id, f"{run.workflow} v{run.version}{tags}", status_text(str(run.status)), started, took]
