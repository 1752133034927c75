"""Roles: who may do what to the tables. Whoever migrates owns them; the others are granted what they need, and no more.

append: of daemons, and of whoever gives commands beside the servers. Rows of the log are added and read; nothing of it
can be changed, emptied, dropped, or freed from its triggers. Months to come are made in the name of the owner; months
that go are taken out by the owner alone. read: of auditors. Whatever can be read but what proves or opens something.

Who was granted once is granted again with every migration, so that new tables are not missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec
import structlog

from .connection import Connection
from .errors import RoleUnusable
from .queries import load_queries

_sql = load_queries("roles")
_log = structlog.get_logger()
_WHOLE = re.compile(r"[A-Z]+(?=,|$)")
"""Rights to whole rows, not to columns alone."""


class RoleKind(StrEnum):
    APPEND = "append"
    READ = "read"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role of Postgres that was granted the rights of its kind."""

    name: str
    kind: RoleKind


APPENDED = frozenset(
    """anchor_heads anchors event_log irs operator_log rejected_submissions workflow_edges workflow_nodes
    workflow_versions""".split()
)
"""Tables whose rows are added and never change."""
OWNED = frozenset({"database_roles", "log_archives", "schema_migrations"})
"""Tables that only their owner writes to."""
PARTLY = {
    "commands": "SELECT, INSERT, UPDATE (body, base_terms)",
    "event_payloads": "SELECT, INSERT, DELETE",
}
"""Tables of which something can be forgotten: what commands brought, not who gave them; what events carried."""
CHANGED = frozenset(
    """alerts anchor_draft_heads anchor_drafts api_keys api_sessions attempt_spending children dead_letter_drops
    dead_letters dropped_artifacts forgotten_runs node_executions partition_homes pauses payloads pending_tokens
    reconciler_marks recorder_cursors retention_marks run_counter_snapshots run_spending runs salts schedule_ticks
    schedules step_cache step_cache_counts step_cache_floors step_logs webhook_deliveries webhooks worker_registry
    workflows""".split()
)
"""Tables whose rows come, change and go."""
SECRET = frozenset({"api_keys", "api_sessions", "salts", "webhook_deliveries", "webhooks"})
"""Tables that auditors do not read: digests of keys, what signs webhooks, where these lead."""


VIEWS = frozenset(
    """applied_keys artifacts dependencies events loop_state pending_approvals run_list run_statistics run_steps
    task_runs tasks workflow_statistics""".split()
)
OURS = APPENDED | CHANGED | OWNED | VIEWS | PARTLY.keys()
"""What is granted, and taken away: the schema may have tables of others."""
FUNCTIONS = {
    RoleKind.APPEND: ("make_event_partitions", "announce_worker", "bytes_to_json"),
    RoleKind.READ: ("bytes_to_json",),
}
"""What is called by name, and by views."""


def rights(table: str, kind: RoleKind) -> str:
    """Return what is granted on a table or view of ours, or nothing; on what is not ours nothing is."""
    if table not in OURS:
        return ""
    if kind is RoleKind.READ:
        return "" if table in SECRET else "SELECT"
    if table in PARTLY:
        return PARTLY[table]
    if table in CHANGED:
        return "SELECT, INSERT, UPDATE, DELETE"
    return "SELECT, INSERT" if table in APPENDED else "SELECT"


async def list_roles(conn: Connection) -> list[Role]:
    """Return the roles that are granted their rights with every migration, by name."""
    return [Role(name=row["name"], kind=RoleKind(row["kind"])) for row in await conn.fetch(_sql["list_roles"])]


async def grant_roles(conn: Connection, named: Mapping[str, RoleKind]) -> None:
    """Grant roles their rights, those that were named before too. In a transaction of its own.

    A role that is there no more is forgotten; one that has come to more than its kind is left as it is, and that is
    logged. Nothing where the schema is of before roles, or who asks does not own it. Raises RoleUnusable where one that
    is named is not there, or may do more than its kind whatever is granted.
    """
    if not await conn.fetchval(_sql["has_roles"]):
        return
    if not await owns_log(conn):
        for name in named:
            raise RoleUnusable(name, "who grants it something does not own the tables", "migrate as their owner")
        return
    async with conn.transaction():
        for name, kind in named.items():
            await _check(conn, name)
            await conn.execute(_sql["name_role"], name, kind)
        await conn.execute(_sql["forget_roles"])
        roles = await list_roles(conn)
        found = await conn.fetch(_sql["list_tables"], sorted(OURS)) if roles else ()
        tables = {row["name"]: bool(row["is_month"]) for row in found}
        for role in roles:
            try:
                await _check(conn, role.name)
                await _grant(conn, role, tables)
                await _check_surplus(conn, role, tables)
            except RoleUnusable as error:
                if role.name in named:
                    raise
                _log.warning("role_unusable", role=role.name, kind=role.kind, error=str(error), hint=error.hint)


async def owns_log(conn: Connection) -> bool:
    """Whether this connection may do to the log what its owner may."""
    return bool(await conn.fetchval(_sql["owns_log"]))


async def _check(conn: Connection, name: str) -> None:
    found = await conn.fetchrow(_sql["find_role"], name)
    if found is None:
        raise RoleUnusable(name, "there is no such role", f"CREATE ROLE {name} LOGIN PASSWORD '...'")
    if found["rules"]:
        raise RoleUnusable(name, "it is a superuser", "name a role that is none")
    if found["owns"]:
        raise RoleUnusable(name, "it owns the tables, or may act as their owner", "migrate as another role")
    if found["houses"]:
        raise RoleUnusable(
            name, "it owns the database or the schema, or may act as who does", "let another one own them"
        )
    if found["outranks"]:
        raise RoleUnusable(
            name, "it may act as a role that rules the server or makes roles", "name a role that may not"
        )


async def _grant(conn: Connection, role: Role, tables: Mapping[str, bool]) -> None:
    """Take everything away and give what its kind has: nobody sees anything in between.

    tables: whether each is a month of another one, of which nothing is granted.
    """
    name: str = await conn.fetchval("SELECT quote_ident($1)", role.name)
    schema: str = await conn.fetchval("SELECT quote_ident(current_schema())")
    await conn.execute(f"REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC")
    await conn.execute(f"REVOKE ALL ON TABLE {', '.join(tables)} FROM {name}")
    await conn.execute(f"REVOKE ALL ON FUNCTION make_event_partitions(bigint) FROM {name}")
    await conn.execute(f"REVOKE ALL ON SCHEMA {schema} FROM {name}")
    await conn.execute(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    for table, is_month in tables.items():
        granted = "" if is_month else rights(table, role.kind)
        if granted:
            await conn.execute(f"GRANT {granted} ON {table} TO {name}")
    for function in FUNCTIONS[role.kind]:
        await conn.execute(f"GRANT EXECUTE ON FUNCTION {function} TO {name}")


async def _check_surplus(conn: Connection, role: Role, tables: Mapping[str, bool]) -> None:
    """Raise RoleUnusable for what the role may besides: as a member of another one, or as everybody may."""
    for row in await conn.fetch(_sql["list_rights"], role.name, list(tables)):
        table: str = row["name"]
        granted: list[str] = [] if tables[table] else _WHOLE.findall(rights(table, role.kind))
        surplus = sorted(set(row["rights"]).difference(granted))
        if surplus:
            told = f"it may also {surplus[0]} {table}, by what another role or everybody was granted"
            raise RoleUnusable(role.name, told, "take it out of that role, or the right away from there")
