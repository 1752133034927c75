"""The schema comes from migrations alone: in order, once, whole or not at all, and the log cannot be changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.resources import files

import anyio
import asyncpg
import msgspec
import pytest
from structlog.testing import capture_logs

from courante.sdk.stores import migrate as module
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.errors import MigrationChanged, SchemaTooNew
from courante.sdk.stores.migrate import Migration, ensure_partitions, load_migrations, migrate, pending
from courante.sdk.stores.queries import load_queries
from integration.stage import until

pytestmark = pytest.mark.anyio

TABLES = """
    workflows workflow_versions workflow_nodes workflow_edges irs commands reconciler_marks event_log event_payloads
    payloads recorder_cursors alerts partition_homes rejected_submissions schedules schedule_ticks runs node_executions
    pauses dead_letters dead_letter_drops children worker_registry pending_tokens run_counter_snapshots step_cache
    step_cache_counts step_cache_floors
    step_logs attempt_spending run_spending api_keys api_sessions operator_log schema_migrations
    webhooks webhook_deliveries
    anchors anchor_heads anchor_drafts anchor_draft_heads
    forgotten_runs log_archives salts dropped_artifacts retention_marks database_roles
""".split()
VIEWS = """
    events run_list run_statistics workflow_statistics tasks dependencies run_steps task_runs artifacts applied_keys
    loop_state pending_approvals
""".split()
SCHEMA = """
    SELECT c.table_name || '.' || c.column_name || ' ' || c.data_type || ' ' || c.is_nullable || ' ' ||
           coalesce(c.column_default, '') FROM information_schema.columns c WHERE c.table_schema = 'public'
    UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT conname || ' ' || pg_get_constraintdef(oid) FROM pg_constraint
               WHERE connamespace = 'public'::regnamespace
    UNION ALL SELECT tgname || ' ' || pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
    ORDER BY 1
"""


@pytest.fixture
async def conn(database: str) -> AsyncIterator[Connection]:
    made = await asyncpg.connect(database)
    yield made
    await made.close()


async def schema(conn: Connection) -> list[str]:
    return [row[0] for row in await conn.fetch(SCHEMA)]


def with_file(monkeypatch: pytest.MonkeyPatch, *migrations: Migration) -> None:
    monkeypatch.setattr(module, "load_migrations", lambda: list(migrations))


async def test_migrating_is_idempotent(conn: Connection) -> None:
    """The first call applies every file in order, the second none; nothing is pending in between."""
    names = [migration.name for migration in load_migrations()]
    assert await pending(conn) == names
    assert await migrate(conn) == names
    assert await pending(conn) == []
    assert await migrate(conn) == []


async def test_a_new_database_is_said_in_one_line_and_news_file_by_file(
    conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations = load_migrations()
    with_file(monkeypatch, *migrations[:-2])
    with capture_logs() as lines:
        await migrate(conn)
    assert [(line["event"], line["version"]) for line in lines] == [("schema_made", migrations[-3].name[:4])]
    with_file(monkeypatch, *migrations)
    with capture_logs() as lines:
        await migrate(conn)
    assert [line["file"] for line in lines] == [each.name for each in migrations[-2:]]


async def test_all_tables_and_views_come_from_migrations(conn: Connection) -> None:
    """Every table and view that is documented exists, and each can be read while it is empty."""
    await migrate(conn)
    for name in [*TABLES, *VIEWS]:
        await conn.fetch(f"SELECT * FROM {name} LIMIT 1")


async def test_step_by_step_is_the_same_as_at_once(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that was migrated release by release has the schema of a new one."""
    migrations = load_migrations()
    await migrate(conn)
    at_once = await schema(conn)
    await conn.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    for count in range(3, len(migrations) + 1):
        with_file(monkeypatch, *migrations[:count])
        await migrate(conn)
    assert await schema(conn) == at_once


async def test_every_column_has_a_comment(conn: Connection) -> None:
    """What a column means, and its unit, stands in the database itself."""
    await migrate(conn)
    rows = await conn.fetch(
        """SELECT c.relname || '.' || a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND a.attnum > 0 AND NOT a.attisdropped AND col_description(c.oid, a.attnum) IS NULL"""
    )
    assert [row[0] for row in rows] == []


async def test_every_table_is_documented(conn: Connection) -> None:
    """The reference names each table and view, and each column with the words that stand in the database."""
    await migrate(conn)
    text = (files("courante") / "docs" / "reference" / "tables.md").read_text("utf-8")
    assert [name for name in TABLES if f"### {name}\n" not in text] == []
    assert [name for name in VIEWS if f"| `{name}` |" not in text] == []
    rows = await conn.fetch(
        """SELECT a.attname, col_description(a.attrelid, a.attnum) FROM pg_attribute a
            WHERE a.attrelid = ANY($1::text[]::regclass[]) AND a.attnum > 0 AND NOT a.attisdropped""",
        TABLES,
    )
    missing = [tuple(row) for row in rows if not any(line.endswith(f"| {row[1]} |") for line in _lines(text, row[0]))]
    assert missing == []


def _lines(text: str, column: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(f"| `{column}` |")]


async def test_every_named_query_fits_the_schema(conn: Connection) -> None:
    """Each block in sql/ can be prepared."""
    await migrate(conn)
    count = 0
    folder = files("courante") / "sdk" / "stores" / "sql"
    for noun in sorted(entry.name.removesuffix(".sql") for entry in folder.iterdir()):
        for sql in load_queries(noun).values():
            await conn.prepare(sql)
            count += 1
    assert count > 40


async def test_many_processes_may_migrate_at_once(database: str, conn: Connection) -> None:
    """F53: each file is applied by exactly one of them, and all of them return with the schema in place."""
    applied: list[str] = []

    async def run() -> None:
        own = await asyncpg.connect(database)
        applied.extend(await migrate(own))
        await own.close()

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(run)
    assert sorted(applied) == [migration.name for migration in load_migrations()]
    assert await pending(conn) == []


async def test_a_changed_file_is_named(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that was edited after it had been applied is refused, and nothing is applied."""
    await migrate(conn)
    first, *others = load_migrations()
    with_file(monkeypatch, msgspec.structs.replace(first, checksum=b"other"), *others)
    with pytest.raises(MigrationChanged, match=first.name):
        await migrate(conn)


async def test_a_newer_schema_is_refused(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """F53: old code does not touch a database of newer code, and says what it does not know."""
    await migrate(conn)
    *known, newest = load_migrations()
    with_file(monkeypatch, *known)
    for call in (migrate, pending):
        with pytest.raises(SchemaTooNew, match=newest.name):
            await call(conn)


async def test_a_migration_that_fails_leaves_nothing(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """F53: half a migration does not exist; once mended it is applied as a whole."""
    known = load_migrations()
    sql = "CREATE TABLE half (n bigint); SELECT 1 / 0;"
    bad = Migration(name="0099_break.sql", sql=sql, checksum=b"1", deploy="before", is_transaction=True)
    with_file(monkeypatch, *known, bad)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await migrate(conn)
    assert await conn.fetchval("SELECT to_regclass('half')") is None
    assert await pending(conn) == ["0099_break.sql"]
    with_file(monkeypatch, *known, msgspec.structs.replace(bad, sql="CREATE TABLE half (n bigint)"))
    assert await migrate(conn) == ["0099_break.sql"]


async def test_a_statement_that_bears_no_transaction(conn: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """CREATE INDEX CONCURRENTLY runs outside of a transaction, and is noted."""
    known = load_migrations()
    sql = "CREATE INDEX CONCURRENTLY IF NOT EXISTS runs_extra_idx ON runs (version)"
    alone = Migration(name="0099_index.sql", sql=sql, checksum=b"1", deploy="after", is_transaction=False)
    with_file(monkeypatch, *known, alone)
    await migrate(conn)
    assert await conn.fetchval("SELECT to_regclass('runs_extra_idx')") is not None
    assert await pending(conn) == []


WAITS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event_type = 'Lock')"


async def test_an_index_of_the_log_is_built_beside_who_writes(
    database: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F53: its partitions get theirs one by one while others write, however long that takes; the log takes them up."""
    migrations = load_migrations()
    at = next(number for number, one in enumerate(migrations) if "event_log_results" in one.sql)
    with_file(monkeypatch, *migrations[: at - 1])
    await migrate(conn)
    with_file(monkeypatch, *migrations)
    insert = INSERT.replace("$2", quote("2001-01-01"))
    await conn.execute(insert, 1)
    first, second = await asyncpg.connect(database), await asyncpg.connect(database)
    writing = first.transaction()
    await writing.start()
    await first.execute(insert, 2)  # the builder waits for all who write
    async with anyio.create_task_group() as group:
        group.start_soon(migrate, conn)
        await until(lambda: second.fetchval(WAITS, conn.get_server_pid()), bool)
        await second.execute("SET lock_timeout = 1000")
        await second.execute(insert, 3)
        await writing.rollback()
    built = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = $1::text::regclass"
    for index in ("event_log_at", "event_log_results"):
        assert f"event_log_default_{index}" in {row[0] for row in await conn.fetch(built, index)}
    assert await conn.fetchval("SELECT bool_and(indisvalid) FROM pg_index")
    await first.close()
    await second.close()


async def test_an_index_is_dropped_beside_who_reads(
    database: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F53: whoever has the table in hand for long, a backup for instance, holds up the migration and no writer."""
    migrations = load_migrations()
    at = next(number for number, one in enumerate(migrations) if one.name == "0035_drop_an_index_of_webhooks.sql")
    with_file(monkeypatch, *migrations[:at])
    await migrate(conn)
    with_file(monkeypatch, *migrations[: at + 1])
    reader, writer = await asyncpg.connect(database), await asyncpg.connect(database)
    reading = reader.transaction()
    await reading.start()
    await reader.execute("LOCK TABLE webhook_deliveries IN ACCESS SHARE MODE")
    async with anyio.create_task_group() as group:
        group.start_soon(migrate, conn)
        await until(lambda: writer.fetchval(WAITS, conn.get_server_pid()), bool)
        await writer.execute("SET lock_timeout = 1000")
        await writer.execute("INSERT INTO webhook_deliveries (env, webhook, event_id, body) VALUES ('e', 'w', '1', '')")
        await reading.rollback()
    assert await conn.fetchval("SELECT to_regclass('webhook_deliveries_due_idx')") is None
    await reader.close()
    await writer.close()


def test_files_say_why_and_when() -> None:
    """Numbers have no gap; the first line says why, the second when to deploy."""
    migrations = load_migrations()
    assert [int(migration.name[:4]) for migration in migrations] == list(range(1, len(migrations) + 1))
    for migration in migrations:
        why, deploy = migration.sql.splitlines()[:2]
        assert why.startswith("-- ")
        assert deploy == f"-- deploy: {migration.deploy}"


INSERT = """
    INSERT INTO event_log (env, partition, run_id, seq, type, at, node, scope, attempt, worker, facts, prev_hash, hash)
    VALUES ('e', 0, 'r', $1, 't', $2::timestamptz, '', '', 0, '', '{}', '', '')
"""


@pytest.mark.parametrize("change", ["UPDATE {} SET type = 'x'", "DELETE FROM {}", "TRUNCATE {}"])
async def test_the_log_is_append_only(conn: Connection, change: str) -> None:
    """Neither the log nor any of its partitions, also those made later, lets a row be changed or taken away."""
    await migrate(conn)
    await ensure_partitions(conn, 5)
    await conn.execute(f"{INSERT.replace('$1', '1').replace('$2', 'now()')}")
    await conn.execute(f"{INSERT.replace('$1', '2').replace('$2', quote('2001-01-01'))}")
    partitions = await conn.fetch(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event_log'::regclass"
    )
    assert len(partitions) == 7
    for table in ["event_log", *(row[0] for row in partitions)]:
        if change.startswith("TRUNCATE") or await conn.fetchval(f"SELECT count(*) FROM {table}"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="append-only"):
                await conn.execute(change.format(table))
    assert await conn.fetchval("SELECT count(*) FROM event_log") == 2


async def test_months_to_come_keep_their_times_summarised(conn: Connection) -> None:
    """Else whoever asks for the newest events would read all that were added since the last vacuum."""
    await migrate(conn)
    await ensure_partitions(conn, 7)
    rows = await conn.fetch("SELECT reloptions FROM pg_class WHERE relname LIKE 'event\\_log\\_%at\\_idx'")
    assert len(rows) > 7
    assert [row["reloptions"] for row in rows] == [["autosummarize=on"]] * len(rows)


def quote(text: str) -> str:
    return f"'{text}'"


async def test_partitions_are_made_ahead(conn: Connection) -> None:
    """Months to come have partitions of their own; asking again makes none; a month in the default one stays there."""
    await migrate(conn)
    assert await ensure_partitions(conn) == []
    month = await conn.fetchval("SELECT date_trunc('month', now() AT TIME ZONE 'UTC') + interval '4 months 3 days'")
    await conn.execute(INSERT.replace("$1", "1").replace("$2", quote(month.isoformat())))
    made = await ensure_partitions(conn, 4)
    assert len([name for name in made if name.startswith("event_log_")]) == 1
    assert len([name for name in made if name.startswith("event_payloads_")]) == 2
    placed = await conn.fetchval("SELECT tableoid::regclass::text FROM event_log WHERE run_id = 'r'")
    assert placed == "event_log_default"


async def test_an_event_stands_once(conn: Connection) -> None:
    """The same event of a run cannot be appended twice."""
    await migrate(conn)
    statement = INSERT.replace("$1", "1").replace("$2", quote("2026-05-05"))
    await conn.execute(statement)
    with pytest.raises(asyncpg.UniqueViolationError):
        await conn.execute(statement)


@pytest.mark.parametrize("facts", [b"", b"{", b"\xff", b'{"a":"\\u0000"}', b'{"a":"\\ud800"}', b"[" * 50_000])
async def test_one_bad_row_does_not_blind_the_view(conn: Connection, facts: bytes) -> None:
    """The view of events shows something for every row, whatever its bytes are."""
    await migrate(conn)
    await conn.execute(INSERT.replace("$1", "1").replace("$2", "now()").replace("'{}'", "$1"), facts)
    assert await conn.fetchval("SELECT facts IS NOT NULL FROM events")


async def test_an_index_that_was_not_built_to_its_end_is_built_anew(
    database: str, conn: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F53: whoever builds it holds up no writer; one that was interrupted leaves an index that nothing uses."""
    migrations = load_migrations()
    at = next(number for number, one in enumerate(migrations) if "runs_finished_idx" in one.sql)
    with_file(monkeypatch, *migrations[:at])
    await migrate(conn)
    with_file(monkeypatch, *migrations)
    writer, builder = await asyncpg.connect(database), await asyncpg.connect(database)
    writing = writer.transaction()
    await writing.start()
    await writer.execute("LOCK TABLE runs IN ROW EXCLUSIVE MODE")  # the builder waits for all who write

    async def build() -> None:
        with pytest.raises(asyncpg.ConnectionDoesNotExistError):
            await migrate(builder)

    async with anyio.create_task_group() as group:
        group.start_soon(build)
        begun = "SELECT to_regclass('runs_finished_idx') IS NOT NULL"
        await until(lambda: conn.fetchval(begun), bool)
        await conn.execute("SELECT pg_terminate_backend($1)", builder.get_server_pid())
    await writing.rollback()
    await writer.close()
    is_valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'runs_finished_idx'::regclass"
    assert await conn.fetchval(is_valid) is False
    assert await migrate(conn) == [one.name for one in migrations[at:]]
    assert await conn.fetchval(is_valid) is True
