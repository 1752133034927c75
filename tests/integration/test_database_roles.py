"""Roles of Postgres: daemons append to a log that they cannot change, and auditors read it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import asyncpg
import pytest
from asyncpg import InsufficientPrivilegeError

from courante.replay import verify_run
from courante.sdk.access.scopes import Scope
from courante.sdk.stores.connection import Connection
from courante.sdk.stores.errors import RoleUnusable
from courante.sdk.stores.log import read_events
from courante.sdk.stores.migrate import ensure_partitions, migrate
from courante.sdk.stores.roles import APPENDED, CHANGED, OWNED, PARTLY, SECRET, VIEWS, RoleKind, rights
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from courante.supervisor.retention.forgetting import Forgetting
from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.retention import OWNERS, Retention
from integration.api_asking import asking
from integration.cli_process import open_cli
from integration.stage import Place, open_stage
from integration.whole_life import live

DIAMOND = Path(__file__).parents[2] / "test_data" / "diamond.yaml"
pytestmark = pytest.mark.anyio
YEAR = timedelta(days=365)
LOG = ("event_log", "event_log_default", "operator_log", "anchors", "anchor_heads")
OPENS = (
    "ALTER TABLE event_log DISABLE TRIGGER event_log_refuse_change",
    "ALTER TABLE event_log DISABLE TRIGGER ALL",
    "DROP TRIGGER event_log_refuse_change ON event_log",
    "ALTER TABLE event_log DETACH PARTITION event_log_default",
    "ALTER TABLE event_log OWNER TO CURRENT_USER",
    "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$",
    "CREATE OR REPLACE FUNCTION make_event_partitions(bigint) RETURNS SETOF text LANGUAGE sql AS ''",
    "ALTER FUNCTION make_event_partitions(bigint) RESET search_path",
    "CREATE RULE quiet AS ON INSERT TO event_log DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "CREATE TABLE events_of_mine (n bigint)",
    "DELETE FROM commands",
    "UPDATE commands SET by = 'somebody else'",
    "UPDATE event_payloads SET payload = ''",
    "UPDATE workflow_versions SET document = ''",
    "DELETE FROM irs",
    "DELETE FROM schema_migrations",
    "INSERT INTO database_roles (name, kind) VALUES ('me', 'append')",
)
"""What would open the log to changes, or change what stands for good beside it."""


class Urls(NamedTuple):
    """Of one database, by who connects."""

    owner: str
    append: str
    read: str


@pytest.fixture
async def urls(own_migrated_database: str) -> AsyncIterator[Urls]:
    """A database with a role for daemons and one for auditors."""
    owner = await asyncpg.connect(own_migrated_database)
    append, read = (f"t_{kind}_{secrets.token_hex(6)}" for kind in RoleKind)
    for name in (append, read):
        await owner.execute(f"CREATE ROLE {name} LOGIN")
    await migrate(owner, {append: RoleKind.APPEND, read: RoleKind.READ})
    yield Urls(own_migrated_database, as_role(own_migrated_database, append), as_role(own_migrated_database, read))
    for name in (append, read):
        await owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
    await owner.close()


def as_role(url: str, name: str) -> str:
    return urlsplit(url)._replace(netloc=f"{name}@").geturl()


async def refused(url: str, *statements: str) -> None:
    """Each statement lacks the right."""
    conn = await asyncpg.connect(url)
    try:
        assert [statement for statement in statements if not await lacks_right(conn, statement)] == []
    finally:
        await conn.close()


async def lacks_right(conn: Connection, statement: str) -> bool:
    """False also where it is a trigger that refuses."""
    try:
        await conn.execute(statement)
    except InsufficientPrivilegeError as error:
        return "append-only" not in str(error)
    return False


async def test_daemons_need_only_append(urls: Urls, redis_url: str, env_name: str) -> None:
    """Worker, supervisor, API, clock, months to come, forgetting and rebuilding: nothing of it is refused."""
    async with open_stage(Place(redis_url, urls.append, env_name)) as stage:
        await live(stage)
        async with asking(stage.client, Scope.ADMIN) as api:
            document = {"courante": 1, "id": "v", "nodes": [{"id": "a", "type": "noop"}]}
            assert (await api.post("/v1/workflows", json=document)).status_code == 201
            run_id = (await api.post("/v1/runs", json={"workflow": "v", "input": {"name": "ann"}})).json()["run_id"]
            assert (await stage.result(run_id)).status == "COMPLETED"
            assert (await api.get(f"/v1/runs/{run_id}")).status_code == 200
            assert (await api.get("/v1/operators")).json()["operations"]
        keys = stage.client.keys
        await Forgetting(stage.redis, stage.client.pool, keys, partitions=1).forget([run_id])
        async with stage.client.pool.acquire() as conn:
            assert [name[:-6] for name in await ensure_partitions(conn, 3)] == ["event_log_", "event_payloads_"]
            assert (await verify_run(conn, env_name, run_id)).ok
            await rebuild_projections(conn, env_name)
        policy = Policy(log=timedelta(days=30), runs=YEAR, payloads=YEAR, cache=YEAR)
        done = await Retention(stage.redis, stage.client.pool, keys, policy, now=datetime.now(UTC) + YEAR).carry_out()
        assert done.failed == {"log": OWNERS}
        assert len(await stage.events(run_id)) > 2


async def test_daemons_cannot_change_the_log(urls: Urls) -> None:
    """It is the right that they lack: no trigger is asked, and none can be taken away."""
    changes = ("UPDATE {} SET env = 'x'", "DELETE FROM {}", "TRUNCATE {}", "DROP TABLE {} CASCADE")
    await refused(urls.append, *(change.format(table) for table in LOG for change in changes), *OPENS)


async def test_months_are_made_in_the_name_of_the_owner_and_nothing_else_is(urls: Urls) -> None:
    """What is made belongs to the owner, also where a table of the same name lies in wait; auditors make none."""
    conn = await asyncpg.connect(urls.append)
    await conn.execute("CREATE TEMP TABLE event_log_default (at timestamptz)")
    await conn.execute("SET search_path = pg_temp, public")
    made = await ensure_partitions(conn, 4)
    assert len(made) == 4
    rows = await conn.fetch(
        "SELECT DISTINCT schemaname || '.' || tableowner FROM pg_tables WHERE tablename = ANY($1)", made
    )
    assert [row[0] for row in rows] == ["public.postgres"]
    await conn.close()
    tables = [name for name in made if name.startswith("event_log_")]
    await refused(urls.append, *(f"DELETE FROM {name}" for name in tables), *(f"DROP TABLE {name}" for name in tables))
    await refused(urls.read, "SELECT make_event_partitions(9)")


async def test_auditors_read_and_write_nothing(urls: Urls, redis_url: str, env_name: str, tmp_path: Path) -> None:
    """Logs are verified, replayed and exported; what proves or opens something stays unread."""
    async with open_stage(Place(redis_url, urls.append, env_name)) as stage:
        stage.worker()
        stage.supervisor()
        await stage.register({"id": "a", "type": "noop"})
        run_id = (await stage.run("w", {"n": 1})).run_id
    conn = await asyncpg.connect(urls.read)
    assert (await verify_run(conn, env_name, run_id)).ok
    assert [event.seq for event in await read_events(conn, run_id)][:2] == [1, 2]
    for name in (*VIEWS, *(APPENDED | CHANGED | OWNED | PARTLY.keys()) - SECRET):
        await conn.fetch(f"SELECT * FROM {name} LIMIT 1")
    await conn.close()
    writes = [f"DELETE FROM {name}" for name in sorted(APPENDED | CHANGED | OWNED | PARTLY.keys())]
    await refused(urls.read, *writes, *(f"SELECT * FROM {name}" for name in SECRET), *OPENS)
    environ = {"COURANTE_REDIS_URL": redis_url, "COURANTE_DATABASE_URL": urls.read, "COURANTE_ENV": env_name}
    with open_cli("auditor", tmp_path, environ) as cli:
        for argv in (
            ["replay", run_id, "--verify"],
            ["events", run_id],
            ["audit", "export", run_id, "--output", str(tmp_path / "bundle")],
        ):
            said = await cli.ask(*argv, "--json")
            assert said.code == 0, said


async def test_every_table_says_who_may_do_what(urls: Urls) -> None:
    """Whoever adds a table or a view says so."""
    conn = await asyncpg.connect(urls.owner)
    rows = await conn.fetch(
        "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
        "AND NOT relispartition"
    )
    views = await conn.fetch("SELECT viewname FROM pg_views WHERE schemaname = 'public'")
    await conn.close()
    assert {row[0] for row in views} == VIEWS
    known = [APPENDED, CHANGED, OWNED, PARTLY.keys()]
    assert {row[0] for row in rows} == {name for some in known for name in some}
    assert sum(map(len, known)) == len(rows), "one table stands in one of them"
    assert (rights("events", RoleKind.APPEND), rights("a_table_of_tomorrow", RoleKind.APPEND)) == ("SELECT", "")


async def test_who_was_named_is_granted_again(urls: Urls, tmp_path: Path) -> None:
    """With every migration, at the command line too; a role that is gone is forgotten."""
    owner = await asyncpg.connect(urls.owner)
    append, read = (str(urlsplit(url).username) for url in (urls.append, urls.read))
    await owner.execute(
        f"REVOKE ALL ON event_log FROM {append}; GRANT DELETE ON event_log, event_log_default TO {read}"
    )
    with open_cli("owner", tmp_path, {"COURANTE_DATABASE_URL": urls.owner}) as cli:
        said = await cli.ask("migrate", "--json")
        assert said.json == {
            "applied": [],
            "roles": [{"name": append, "kind": "append"}, {"name": read, "kind": "read"}],
        }
        unknown = await cli.ask("migrate", "--read-role", "nobody_there", "--json")
        assert (unknown.code, unknown.json["error"]["code"]) == (64, "role_unusable")
        peeking = await cli.ask("init", str(DIAMOND), "--database-url", urls.read, "--json")
        assert (peeking.code, peeking.json["error"]["code"]) == (2, "role_lacks_right"), peeking
        turned = await cli.ask("migrate", "--read-role", append, "--json")
        assert {role["kind"] for role in turned.json["roles"]} == {"read"}
    assert await owner.fetchval("SELECT has_table_privilege($1, 'event_log', 'SELECT')", append)
    assert not await owner.fetchval("SELECT has_table_privilege($1, 'event_log', 'INSERT, DELETE')", append)
    for table in ("event_log", "event_log_default"):
        assert not await owner.fetchval("SELECT has_table_privilege($1, $2, 'DELETE')", read, table)
    other = f"t_other_{secrets.token_hex(6)}"
    await owner.execute(f"CREATE ROLE {other}")
    await migrate(owner, {other: RoleKind.READ})
    await owner.execute(f"DROP OWNED BY {other}; DROP ROLE {other}")
    await migrate(owner)
    assert await owner.fetchval("SELECT count(*) FROM database_roles") == 2
    await owner.close()


async def test_what_others_have_beside_the_tables_is_theirs(urls: Urls) -> None:
    """Roles are granted nothing on it and lose nothing, whatever it is called, and a migration goes through."""
    admin = await asyncpg.connect(urls.owner)
    append, read = (str(urlsplit(url).username) for url in (urls.append, urls.read))
    owner, stranger = (f"t_{kind}_{secrets.token_hex(6)}" for kind in ("owner", "stranger"))
    await admin.execute(
        f"""CREATE ROLE {owner} LOGIN; CREATE ROLE {stranger};
        CREATE TABLE "Their Table" (n bigint); CREATE FUNCTION theirs() RETURNS bigint LANGUAGE sql AS 'SELECT 1';
        REVOKE EXECUTE ON FUNCTION theirs() FROM PUBLIC;
        ALTER TABLE "Their Table" OWNER TO {stranger}; ALTER FUNCTION theirs() OWNER TO {stranger};
        GRANT INSERT ON "Their Table" TO {append}; GRANT EXECUTE ON FUNCTION theirs() TO {append};"""
    )
    for row in await admin.fetch(
        "SELECT 'TABLE ' || tablename FROM pg_tables WHERE schemaname = 'public' AND tableowner = 'postgres'"
        " UNION ALL SELECT 'VIEW ' || viewname FROM pg_views WHERE schemaname = 'public'"
        " UNION ALL SELECT 'FUNCTION ' || p.oid::regprocedure FROM pg_proc p JOIN pg_roles r ON r.oid = p.proowner"
        "  WHERE p.pronamespace = 'public'::regnamespace AND r.rolname = 'postgres'"
        " UNION ALL SELECT 'SCHEMA public'"
    ):
        await admin.execute(f"ALTER {row[0]} OWNER TO {owner}")
    conn = await asyncpg.connect(as_role(urls.owner, owner))
    try:
        await migrate(conn)
    finally:
        await conn.close()
    try:
        for role, right, has in ((append, "INSERT", True), (append, "SELECT", False), (read, "SELECT", False)):
            table = '"Their Table"'
            assert await admin.fetchval("SELECT has_table_privilege($1, $2, $3)", role, table, right) is has
        assert await admin.fetchval("SELECT has_function_privilege($1, 'theirs()', 'EXECUTE')", append)
        assert await admin.fetchval("SELECT has_table_privilege($1, 'event_log', 'INSERT')", append)
    finally:
        await admin.execute(f"REASSIGN OWNED BY {owner} TO postgres; DROP OWNED BY {owner}, {stranger}")
        await admin.execute(f"DROP ROLE {owner}, {stranger}")
        await admin.close()


async def test_functions_need_not_be_for_everybody(urls: Urls, redis_url: str, env_name: str) -> None:
    """Where the database gives nobody a function by itself, daemons have those that they call."""
    owner = await asyncpg.connect(urls.owner)
    await owner.execute("REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC")
    await migrate(owner)
    await owner.close()
    async with open_stage(Place(redis_url, urls.append, env_name)) as stage:
        await live(stage)
    conn = await asyncpg.connect(urls.read)
    assert await conn.fetch("SELECT facts FROM events LIMIT 1")
    await conn.close()


async def test_who_is_not_the_owner_migrates_nothing(urls: Urls) -> None:
    """A daemon's role finds the schema up to date, and can name no roles."""
    conn = await asyncpg.connect(urls.append)
    assert await migrate(conn) == []
    with pytest.raises(RoleUnusable, match="does not own the tables"):
        await migrate(conn, {str(urlsplit(urls.read).username): RoleKind.APPEND})
    await conn.close()


MORE = (
    ("CREATE ROLE {name} CREATEROLE", "append", "may act as a role that rules the server"),
    ("CREATE ROLE {name} IN ROLE pg_execute_server_program", "append", "may act as a role that rules the server"),
    ("CREATE ROLE {name} IN ROLE pg_write_all_data", "append", r"may also \w+ "),
    ("CREATE ROLE {name} NOINHERIT IN ROLE pg_write_all_data", "append", r"may also \w+ "),
    ("CREATE ROLE {name} IN ROLE pg_read_all_data", "read", "may also SELECT api_keys"),
    ("CREATE ROLE {name} IN ROLE {append}", "read", "may also DELETE alerts"),
    ("CREATE ROLE {name}; GRANT DELETE ON event_log_default TO PUBLIC", "append", "may also DELETE event_log_default"),
    ("CREATE ROLE {name}; ALTER DATABASE {database} OWNER TO {name}", "append", "owns the database"),
    ("CREATE ROLE {name}; ALTER SCHEMA public OWNER TO {name}", "append", "owns the database"),
)


@pytest.mark.parametrize(("statement", "kind", "why"), MORE)
async def test_a_role_that_would_have_more_is_refused(urls: Urls, statement: str, kind: str, why: str) -> None:
    """By a membership, by what everybody may, or by owning what the tables stand in; it is not remembered."""
    owner = await asyncpg.connect(urls.owner)
    name, database = f"t_more_{secrets.token_hex(6)}", urlsplit(urls.owner).path[1:]
    await owner.execute(statement.format(name=name, database=database, append=urlsplit(urls.append).username))
    try:
        with pytest.raises(RoleUnusable, match=why):
            await migrate(owner, {name: RoleKind(kind)})
        assert name not in {row[0] for row in await owner.fetch("SELECT name FROM database_roles")}
        await migrate(owner)
    finally:
        await owner.execute(f"REASSIGN OWNED BY {name} TO postgres; ALTER DATABASE {database} OWNER TO postgres")
        await owner.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")
        await owner.close()


async def test_a_remembered_role_that_has_become_the_owner_keeps_its_rights(urls: Urls) -> None:
    """As after a restore under another role: what an owner may is not taken away, and migrating goes on."""
    owner = await asyncpg.connect(urls.owner)
    append = str(urlsplit(urls.append).username)
    await owner.execute(f"ALTER TABLE event_log OWNER TO {append}")
    assert await migrate(owner) == []
    assert await owner.fetchval("SELECT has_table_privilege($1, 'event_log', 'DELETE')", append)
    await owner.execute("ALTER TABLE event_log OWNER TO postgres")
    await owner.close()


async def test_a_role_that_may_more_is_refused(urls: Urls) -> None:
    """One that owns the log, or may act as its owner, would be granted less in vain."""
    owner = await asyncpg.connect(urls.owner)
    name = f"t_member_{secrets.token_hex(6)}"
    await owner.execute(f"CREATE ROLE {name} IN ROLE postgres")
    try:
        for role, why in (("postgres", "superuser"), (name, "may act as their owner")):
            with pytest.raises(RoleUnusable, match=why):
                await migrate(owner, {role: RoleKind.APPEND})
        assert name not in {row[0] for row in await owner.fetch("SELECT name FROM database_roles")}
    finally:
        await owner.execute(f"DROP ROLE {name}")
        await owner.close()
