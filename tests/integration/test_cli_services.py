"""``up`` and ``down``, the daemons, ``doctor`` and ``migrate``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from command_line import Said, call, clean_environ, spawn
from courante.cli import uplock
from courante.cli.api_socket import answers, listen
from courante.cli.commands import up
from courante.cli.uplock import running_ups
from courante.sdk.embedded import Servers, status

DIAMOND = Path(__file__).parents[2] / "test_data" / "diamond.yaml"
MIGRATIONS = sorted(path.name for path in (Path(__file__).parents[2] / "migrations").glob("*.sql"))
DEADLINE_S = 30.0

Courante = Callable[..., Said]


@pytest.fixture
def environ(redis_url: str, database: str, env_name: str, tmp_path: Path) -> dict[str, str]:
    return {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": database,
        "COURANTE_ENV": env_name,
        "COURANTE_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def courante(environ: dict[str, str], tmp_path: Path) -> Courante:
    """Call a command in a fresh environment on a fresh database."""
    return lambda *argv, **more: spawn(*argv, cwd=tmp_path, environ=environ, **more)


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[Courante]:
    """Call a command with embedded servers in a home of its own; nothing is left running."""
    home = {"COURANTE_HOME": str(tmp_path / "h"), "COURANTE_KEEPER_LINGER_S": "0"}
    try:
        yield lambda *argv, **more: spawn(*argv, cwd=tmp_path, environ=home, **more)
    finally:
        spawn("down", cwd=tmp_path, environ=home)


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline, "never"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process lives; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_of(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_up_runs_everything_and_down_ends_it(at_home: Courante, tmp_path: Path) -> None:
    """``up --detach`` returns when all is ready; a second one finds it; ``down`` leaves no process.

    The embedded servers are those of this machine: its API asks for no key, although there is one.
    """
    assert at_home("keys", "create", "ci", "--scope", "read").code == 0
    said = at_home("up", "--detach", "--json")
    assert said.code == 0, said.err
    assert set(said.json) == {"redis", "postgres", "api"}
    assert said.json["redis"]["durability"] == "append-only file, fsync everysec; noeviction"
    (up,) = running_ups(tmp_path / "h")
    children = children_of(up.pid)
    assert len(children) == 3
    assert answers(said.json["api"]["url"])
    assert httpx.get(f"{said.json['api']['url']}/v1/runs").status_code == 200
    assert at_home("doctor", "--json").json["api"] == said.json["api"]
    again, detached = at_home("up"), at_home("up", "--detach")
    lines = [f"✓ already up (pid {up.pid}); 'courante down' stops it", f"  page {said.json['api']['url']}"]
    assert (again.code, again.out.splitlines()) == (0, lines)
    assert (detached.code, detached.out.splitlines(), detached.err) == (0, lines, "")
    with_app = at_home("up", "--app", "courante", "--detach")
    assert (with_app.code, with_app.out.splitlines()) == (0, lines)
    assert with_app.err == "! --app courante changes nothing of what is up: 'courante down' first\n"
    ran = at_home("run", str(DIAMOND), "--json")
    assert (ran.code, ran.json.get("status")) == (0, "COMPLETED"), ran.out + ran.err
    down = at_home("down", "--json")
    assert (down.code, down.json["stopped"], down.json["redis"]["url"]) == (0, ["default"], said.json["redis"]["url"])
    assert not any(is_alive(pid) for pid in (up.pid, *children))
    assert status(tmp_path / "h") is None
    assert at_home("down").out == f"nothing runs in {tmp_path / 'h'}\n"


def test_up_fails_where_its_api_never_answers(environ: dict[str, str], courante: Courante, tmp_path: Path) -> None:
    """Here because the port of its metrics is taken. Nothing is left of the others, and nobody is told it is up."""
    assert courante("migrate").code == 0
    script = f"import sys; from {up.__name__} import up as command; module = sys.modules['{up.__name__}'];"
    script += "module.READY_S = 1.0; from courante.cli.main import run_cli; sys.exit(run_cli(sys.argv[1:]))"
    with listen("127.0.0.1", 0) as taken:
        port = int(taken.getsockname()[1]) - 1
        done = subprocess.run(
            [sys.executable, "-c", script, "up", "--workers", "0", "--json"],
            cwd=tmp_path,
            env=clean_environ() | environ | {"COURANTE_METRICS_PORT": str(port)},
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
    said = Said(done.returncode, done.stdout, done.stderr)
    assert (said.code, said.out.count("\n"), said.json["error"]["code"]) == (2, 1, "api_unreachable"), said
    assert "'courante api'" in said.json["error"]["hint"]
    assert running_ups(tmp_path / "home") == []


@contextmanager
def started_up(environ: dict[str, str], cwd: Path) -> Generator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """``courante up`` of one worker, and what it says when all is ready; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "courante", "up", "--json", "--workers", "1"],
        cwd=cwd,
        env=clean_environ() | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_what_up_started_does_not_outlive_it(environ: dict[str, str], tmp_path: Path) -> None:
    """A killed ``up`` takes its worker, supervisor and API with it; one of them that dies is started again."""
    with started_up(environ, tmp_path) as (process, facts):
        assert set(facts) == {"redis", "postgres", "api"}
        first = children_of(process.pid)
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len(set(children_of(process.pid)) - set(first)) == 3)
        children = children_of(process.pid)
    wait_until(lambda: not any(is_alive(pid) for pid in children))


def test_down_ends_a_worker_that_hears_of_nothing(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one whose loop a step holds up for ever; what it had is taken over when its lease has passed."""
    monkeypatch.setattr(uplock, "STOP_S", 1.0)
    monkeypatch.setattr(uplock, "KILL_S", 1.0)
    with started_up(environ, tmp_path) as (process, _):
        children = children_of(process.pid)
        (worker,) = [pid for pid in children if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]
        os.kill(worker, signal.SIGSTOP)
        (running,) = running_ups(tmp_path / "home")
        uplock.stop_up(running)
        process.wait(DEADLINE_S)
        assert not any(is_alive(pid) for pid in children)


def test_up_that_cannot_start_says_why(courante: Courante, environ: dict[str, str]) -> None:
    """Also from the background: the error of the one that was started is the error of the command."""
    said = courante("up", "--detach", "--redis-url", "redis://127.0.0.1:1", "--json")
    assert (said.code, said.json["error"]["code"]) == (2, "redis_unreachable")
    for variable, code in (("COURANTE_TOOLS", "tools_unusable"), ("COURANTE_PRICES", "prices_unusable")):
        environ[variable] = "/nowhere/at-all"
        for more in ((), ("--detach",)):
            said = courante("up", *more, "--json")
            assert (said.code, said.json["error"]["code"]) == (2, code)
        del environ[variable]
    said = courante("up", "--app", "nothere", "--json")
    assert (said.code, said.json["error"]["code"]) == (64, "app_not_found")
    assert courante("worker", "--queues", ",", "--json").json["error"]["code"] == "bad_queues"


def test_up_says_at_once_that_the_package_for_metrics_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its children would only say so in the log, again and again."""
    monkeypatch.setattr("courante.cli.endpoint.is_installed", lambda: False)
    monkeypatch.setenv("COURANTE_METRICS_PORT", "9464")
    said = call(capsys, "up", "--home", str(tmp_path / "h"), "--detach", "--json")
    assert (said.code, said.json["error"]["code"]) == (2, "metrics_missing")
    assert not (tmp_path / "h").exists()


def test_a_worker_of_a_redis_elsewhere_makes_no_postgres_of_its_own(environ: dict[str, str], tmp_path: Path) -> None:
    """That would know nothing of the runs; it says that it has none."""
    del environ["COURANTE_DATABASE_URL"]
    said = spawn("worker", "--stop-on-eof", "--json", cwd=tmp_path, environ=environ)
    assert (said.code, said.json["applied"]) == (0, 0)
    assert "postgres_not_named" in said.err
    assert not (tmp_path / "home").exists()


def test_the_doctor_finds_embedded_servers_safe(at_home: Courante, embedded_servers: Servers) -> None:
    """Versions, durability and no problem."""
    said = at_home("doctor", "--json")
    assert said.code == 0, said.out
    assert (said.json["ok"], said.json["problems"]) == (True, [])
    assert set(said.json["redis"]) == {"url", "version", "durability"}
    assert said.json["redis"]["version"] == embedded_servers.redis_version
    assert said.json["postgres"]["version"] == embedded_servers.postgres_version
    plain = at_home("doctor").out.splitlines()
    assert plain[-1] == "✓ safe"
    assert plain[0].startswith("courante  ")


def test_the_doctor_refuses_an_unsafe_redis(courante: Courante, unsafe_redis: tuple[str, int]) -> None:
    """Exit code 2, and services do not start on it."""
    url = f"redis://{unsafe_redis[0]}:{unsafe_redis[1]}"
    said = courante("doctor", "--redis-url", url, "--json")
    assert (said.code, said.json["ok"]) == (2, False)
    assert {p["code"] for p in said.json["problems"]} >= {"redis_evicts", "redis_no_aof"}
    assert all(set(p) == {"code", "severity", "message", "hint"} for p in said.json["problems"])
    assert "refused: services do not start on this" in courante("doctor", "--redis-url", url).out
    for daemon in ("worker", "supervisor", "up"):
        refused = courante(daemon, "--redis-url", url, "--json")
        assert (refused.code, refused.json["error"]["code"]) == (2, "redis_evicts")


def test_the_doctor_tells_of_servers_that_do_not_answer(courante: Courante) -> None:
    """Both are looked at; what is missing is a problem, and the object is whole."""
    said = courante("doctor", "--redis-url", "redis://:geheim@127.0.0.1:1", "--json")
    assert (said.code, said.json["redis"]["version"]) == (2, None)
    assert said.json["postgres"]["version"] is not None
    assert [p["code"] for p in said.json["problems"] if p["severity"] == "error"] == ["redis_unreachable"]
    assert "geheim" not in said.out + said.err


def test_migrations_are_applied_once(courante: Courante) -> None:
    """``--dry-run`` tells what would be applied; the second time there is nothing."""
    pending = courante("migrate", "--dry-run", "--json").json["pending"]
    assert pending == MIGRATIONS
    assert courante("migrate", "--json").json == {"applied": MIGRATIONS, "roles": []}
    assert courante("migrate", "--json").json == {"applied": [], "roles": []}
    assert courante("migrate").out == "✓ the schema is up to date\n"


def test_a_database_that_is_behind_is_left_alone(courante: Courante, database: str) -> None:
    """Only ``migrate`` touches a database of someone else's that is in use; other commands say so with 2."""
    courante("migrate")
    asyncio.run(_forget_last(database))
    said = courante("runs", "--json")
    assert (said.code, said.json["error"]["code"]) == (2, "schema_behind")
    assert MIGRATIONS[-1] in said.json["error"]["message"]
    assert said.json["error"]["hint"] == "run 'courante migrate'"
    assert [p["code"] for p in courante("doctor", "--json").json["problems"]] == ["schema_behind"]


async def _forget_last(database: str) -> None:
    connection = await asyncpg.connect(database)
    try:
        await connection.execute("DELETE FROM schema_migrations WHERE name = $1", MIGRATIONS[-1])
    finally:
        await connection.close()
