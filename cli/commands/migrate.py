"""``courante migrate``: bring the database schema up to date, forward only."""

from __future__ import annotations

import anyio
import asyncpg
import click

from ...sdk.stores import migrate as store
from ..call import Call, service_options, with_call
from ..services import CONNECT_S, Services, open_services, run_async, unreachable
from ..texts import count_text


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@service_options
@with_call
def migrate(call: Call, dry_run: bool) -> None:
    """Bring the database schema up to date.

    Several may run at once: one applies, the others wait. A migration is applied whole or not at all.
    """
    call.log(default_level="warning")
    with open_services(call) as services:
        names = run_async(lambda: _migrate(services, is_dry=dry_run))
    call.out.json({"pending" if dry_run else "applied": names})
    for name in names:
        call.out.text(f"  {name}")
    if dry_run:
        call.out.text(f"{count_text(len(names), 'migration')} to apply" if names else "nothing to apply")
    elif names:
        call.out.text(f"{call.out.glyph('ok')} {count_text(len(names), 'migration')} applied")
    else:
        call.out.text(f"{call.out.glyph('ok')} the schema is up to date")


async def _migrate(services: Services, *, is_dry: bool) -> list[str]:
    try:
        with anyio.fail_after(CONNECT_S):
            connection = await asyncpg.connect(services.database_url)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as cause:
        raise unreachable("Postgres", services.database_url, cause) from cause
    try:
        return await store.pending(connection) if is_dry else await store.migrate(connection)
    finally:
        await connection.close()
