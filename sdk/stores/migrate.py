"""Migrations: ``migrations/NNNN_what.sql``, applied in order, forward only.

Each file is one transaction, together with its row in ``schema_migrations``; a killed migration leaves nothing.
A file whose third line is ``-- transaction: none`` holds one statement that cannot run in a transaction, and that bears
being repeated: ``CREATE INDEX CONCURRENTLY IF NOT EXISTS``, ``DROP INDEX CONCURRENTLY IF EXISTS``. What an interrupted
one has left of an index is built anew, or dropped.
Postgres builds no index of a partitioned table so: those of its partitions are built beforehand, beside all who write,
and the file's ``CREATE INDEX`` finds them there and takes them up.
Several processes may migrate at once: an advisory lock lets one through, the others then find nothing to do.
Every migration also sees to the partitions of the event log for the months to come, and to the rights of ``roles``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from importlib.resources import files

import anyio
import asyncpg
import msgspec
import structlog

from .connection import Connection
from .errors import MigrationChanged, SchemaError, SchemaTooNew
from .roles import RoleKind, grant_roles

MONTHS_AHEAD = 2
FIRST = "0001"
LOCK = 0x636F7572616E7465  # "courante"
TURN_S = 0.05
_NAME = re.compile(r"[0-9]{4}_[a-z0-9_]+\.sql")
_WORD = re.compile(r"\w+")
_INDEX = re.compile(r"^CREATE INDEX (\w+) ON (\w+) ([^;]+);", re.MULTILINE)
_NO_TRANSACTION = "-- transaction: none"

_log = structlog.get_logger()


class Migration(msgspec.Struct, frozen=True, kw_only=True):
    """``deploy``: before or after the code that needs it."""

    name: str
    sql: str
    checksum: bytes
    deploy: str
    is_transaction: bool


async def migrate(conn: Connection, roles: Mapping[str, RoleKind] | None = None) -> list[str]:
    """Bring the schema up to date and return the names of what was applied now.

    roles: that are granted the rights of their kind from now on. Raises MigrationChanged, SchemaTooNew, RoleUnusable.
    Waits while another process migrates.
    """
    async with _turn(conn):
        missing = await _missing(conn)
        is_new = bool(missing) and missing[0].name.startswith(FIRST)
        for migration in missing:
            await _apply(conn, migration)
            if not is_new:
                _log.info("migration_applied", file=migration.name)
        await ensure_partitions(conn)
        await grant_roles(conn, roles or {})
        if is_new:
            _log.info("schema_made", version=missing[-1].name[:4])
        return [migration.name for migration in missing]


@asynccontextmanager
async def _turn(conn: Connection) -> AsyncGenerator[None]:
    """Wait for it by asking again: an index that is built concurrently would wait for a statement that waits for it."""
    while not await conn.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):  # noqa: ASYNC110 - other processes
        await anyio.sleep(TURN_S)
    try:
        yield
    finally:
        if not conn.is_closed():
            await conn.execute("SELECT pg_advisory_unlock($1)", LOCK)


async def pending(conn: Connection) -> list[str]:
    """Return the names of the migrations that are still to be applied. Writes nothing. Raises as ``migrate`` does."""
    return [migration.name for migration in await _missing(conn)]


async def ensure_partitions(conn: Connection, months_ahead: int = MONTHS_AHEAD) -> list[str]:
    """Make the log's partitions of this month and the next ones; return those that are new. Idempotent."""
    rows = await conn.fetch("SELECT make_event_partitions($1)", months_ahead)
    return [row[0] for row in rows]


def load_migrations() -> list[Migration]:
    """Read all migrations in order. Raises SchemaError where a name, a number or a head line is wrong."""
    folder = files("courante") / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    migrations = [_read(name, (folder / name).read_text("utf-8")) for name in names]
    for number, migration in enumerate(migrations, start=1):
        if int(migration.name[:4]) != number:
            raise SchemaError(f"{migration.name}: number {number:04} is missing or stands twice")
    return migrations


def _read(name: str, text: str) -> Migration:
    lines = text.splitlines()
    deploy = lines[1].removeprefix("-- deploy: ") if len(lines) > 1 else ""
    if not _NAME.fullmatch(name) or not lines[0].startswith("-- ") or deploy not in ("before", "after"):
        raise SchemaError(f"{name}: wanted NNNN_what.sql, first line why, second line '-- deploy: before' or 'after'")
    return Migration(
        name=name,
        sql=text,
        checksum=hashlib.sha256(text.encode()).digest(),
        deploy=deploy,
        is_transaction=not (len(lines) > 2 and lines[2] == _NO_TRANSACTION),
    )


async def _missing(conn: Connection) -> list[Migration]:
    applied = await _applied(conn)
    migrations = load_migrations()
    known = {migration.name for migration in migrations}
    if unknown := sorted(set(applied) - known):
        raise SchemaTooNew(unknown)
    for migration in migrations:
        if applied.get(migration.name, migration.checksum) != migration.checksum:
            raise MigrationChanged(migration.name)
    return [migration for migration in migrations if migration.name not in applied]


async def _applied(conn: Connection) -> dict[str, bytes]:
    try:
        rows = await conn.fetch("SELECT name, checksum FROM schema_migrations")
    except asyncpg.UndefinedTableError:
        return {}
    return {row["name"]: row["checksum"] for row in rows}


async def _apply(conn: Connection, migration: Migration) -> None:
    """One transaction; where the file forbids one, its statement comes first, so it must bear being repeated."""
    if migration.is_transaction:
        await _build_beforehand(conn, migration)
        async with conn.transaction():
            await conn.execute(migration.sql)
            await _note(conn, migration)
    else:
        await _drop_invalid(conn, migration.sql, migration)
        await conn.execute(migration.sql)
        async with conn.transaction():
            await _note(conn, migration)


async def _build_beforehand(conn: Connection, migration: Migration) -> None:
    """Build the indexes of partitioned tables in the partitions that have rows."""
    for index, table, terms in _INDEX.findall(migration.sql):
        for (partition,) in await conn.fetch(_PARTITIONS, table):
            if await conn.fetchval(f"SELECT EXISTS (SELECT FROM {partition})"):  # noqa: S608 - a table of ours
                sql = f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {partition}_{index} ON {partition} {terms}"
                await _drop_invalid(conn, sql, migration)
                await conn.execute(sql)


async def _drop_invalid(conn: Connection, sql: str, migration: Migration) -> None:
    """Drop what is left of an index that was not built to its end: it is named there, and costs, but is never used."""
    rows = await conn.fetch(_INVALID)
    for name in {row[0] for row in rows} & set(_WORD.findall(sql)):
        await conn.execute(f"DROP INDEX CONCURRENTLY {name}")
        _log.info("invalid_index_dropped", index=name, file=migration.name)


async def _note(conn: Connection, migration: Migration) -> None:
    await conn.execute(_TABLE)
    insert = "INSERT INTO schema_migrations (name, checksum) VALUES ($1, $2)"
    await conn.execute(insert, migration.name, migration.checksum)


_INVALID = """
SELECT c.relname FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
 WHERE NOT i.indisvalid AND pg_table_is_visible(c.oid)
"""
_PARTITIONS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = to_regclass($1) AND c.relkind = 'r' ORDER BY 1
"""
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
  name text NOT NULL,
  checksum bytea NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  CONSTRAINT schema_migrations_pkey PRIMARY KEY (name)
);
COMMENT ON TABLE schema_migrations IS 'Migrations that were applied.';
COMMENT ON COLUMN schema_migrations.name IS 'file name';
COMMENT ON COLUMN schema_migrations.checksum IS 'SHA-256 of the file, 32 bytes';
COMMENT ON COLUMN schema_migrations.applied_at IS 'when it was applied, UTC';
"""
