"""``courante migrate``: bring the database schema up to date, forward only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import asyncpg
import click

from ...sdk.stores import migrate as store
from ...sdk.stores.roles import Role, RoleKind, list_roles
from ..call import Call, service_options, with_call
from ..event_loop import run_async
from ..services import CONNECT_S, Services, open_services, unreachable
from ..texts import count_text


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be applied.")
@click.option("--append-role", multiple=True, metavar="ROLE", help="Grant this role of Postgres what daemons need.")
@click.option("--read-role", multiple=True, metavar="ROLE", help="Grant this role of Postgres what auditors need.")
@service_options
@with_call
def migrate(call: Call, dry_run: bool, append_role: tuple[str, ...], read_role: tuple[str, ...]) -> None:
    """Bring the database schema up to date.

    Several may run at once: one applies, the others wait. A migration is applied whole or not at all. Roles that were
    named once are granted their rights again every time.
    """
    call.log(default_level="warning")
    roles = dict.fromkeys(append_role, RoleKind.APPEND) | dict.fromkeys(read_role, RoleKind.READ)
    with open_services(call) as services:
        names, granted = run_async(lambda: _migrate(services, roles, is_dry=dry_run))
    told = [{"name": role.name, "kind": str(role.kind)} for role in granted]
    call.out.json({"pending": names} if dry_run else {"applied": names, "roles": told})
    for name in names:
        call.out.text(f"  {name}")
    if dry_run:
        call.out.text(f"{count_text(len(names), 'migration')} to apply" if names else "nothing to apply")
    elif names:
        call.out.text(f"{call.out.glyph('ok')} {count_text(len(names), 'migration')} applied")
    else:
        call.out.text(f"{call.out.glyph('ok')} the schema is up to date")
    for role in granted:
        call.out.text(f"{call.out.glyph('ok')} {role.name} may {role.kind}")


async def _migrate(
    services: Services, roles: Mapping[str, RoleKind], *, is_dry: bool
) -> tuple[Sequence[str], Sequence[Role]]:
    try:
        with anyio.fail_after(CONNECT_S):
            connection = await asyncpg.connect(services.database_url)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as cause:
        raise unreachable("Postgres", services.database_url, cause) from cause
    try:
        if is_dry:
            return await store.pending(connection), []
        return await store.migrate(connection, roles), await list_roles(connection)
    finally:
        await connection.close()
