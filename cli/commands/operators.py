"""``courante audit operators``: who did what that is in the log of no run."""

from __future__ import annotations

import click

from ..call import Call, service_options, with_call
from ..inputs import read_since
from ..services import ask_client
from ..texts import iso, printable


@click.command()
@click.option("--by", metavar="NAME", help="Only what this one did.")
@click.option("--since", metavar="WHEN", help="Only since: 30m, 2h, 7d or a time.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, metavar="N", help="At most so many."
)
@click.option("--cursor", metavar="CURSOR", help="Go on where a page before ended: its 'next'.")
@service_options
@with_call
def operators(call: Call, by: str | None, since: str | None, limit: int, cursor: str | None) -> None:
    """List who did what over HTTP and to keys, the last one first.

    What was done to a run stands in the log of the run: 'courante events RUN'.
    """
    import msgspec

    from ...api.wire.operators import operations_shown

    begin = read_since(since)
    page = ask_client(call, lambda client: client.operators.list(limit=limit, cursor=cursor, by=by, since=begin))
    call.out.json(msgspec.to_builtins(operations_shown(page)))
    if not page.operations:
        call.out.text("nothing")
        return
    rows = [
        [str(iso(each.at)), printable(each.by), f"{each.action} {each.target}".strip(), each.result, each.address]
        for each in page.operations
    ]
    call.out.table(["at", "by", "action", "result", "from"], rows)
    if page.next is not None:
        call.out.next(f"courante audit operators --cursor {page.next}")
