"""Embedded servers live as long as somebody uses them, survive every kill, and are shared by all commands."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from courante.sdk.embedded import EmbeddedError, Servers, hold, locks, shut_down, status
from courante.sdk.embedded.home import SOCKET_PATH_BYTES_MAX, layout_of
from courante.sdk.embedded.wire import NotReadyError, PostgresWire, ping_redis

USER = """
import dataclasses, json, pathlib, sys
from courante.sdk.embedded import hold
with hold(pathlib.Path(sys.argv[1]), linger_s=float(sys.argv[2])) as held:
    print(json.dumps(dataclasses.asdict(held.servers), default=str), flush=True)
    sys.stdin.read()
"""
NOBODY = 65534


class User:
    """Another process that holds the servers of a home until it is told to leave, or killed."""

    def __init__(self, home: Path, linger_s: float = 0.0, *, before: list[str] | None = None) -> None:
        argv = [*(before or []), sys.executable, "-c", USER, str(home), str(linger_s)]
        self.child = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def servers(self) -> Servers:
        """Wait until it has them."""
        assert self.child.stdout is not None
        fields: dict[str, Any] = json.loads(self.child.stdout.readline())
        fields["home"] = Path(fields["home"])
        return Servers(**fields)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.child.communicate(timeout=60)


@pytest.fixture(scope="session")
def stopped_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that was used once."""
    path = tmp_path_factory.mktemp("seed") / "home"
    with hold(path):
        pass
    assert shut_down(path)
    return path


@pytest.fixture
def home(stopped_home: Path, new_home: Path) -> Path:
    """A home of the test's own that was used before, which saves the time of making a cluster."""
    subprocess.run(["cp", "-a", stopped_home, new_home], check=True)
    (new_home / "logs" / "keeper.log").unlink()
    return new_home


@pytest.fixture
def new_home(tmp_path: Path) -> Iterator[Path]:
    """Where the first ``hold`` makes everything; nothing of it runs or lies about afterwards."""
    path = tmp_path / "home"
    yield path
    shut_down(path)
    shutil.rmtree(path, ignore_errors=True)


def eventually(is_so: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < deadline, "it never became so"
        time.sleep(0.01)


def is_all_gone(home: Path) -> bool:
    """No keeper, and no process of either server."""
    layout = layout_of(home)
    held = (layout.keeper_lock, layout.redis / "lock", layout.postgres / "lock")
    return not any(locks.is_held(path) for path in held)


def leader(home: Path, name: str) -> int:
    return int((home / name / "lock").read_text())


def kill_servers(home: Path, names: list[str]) -> None:
    """kill -9, and wait until the keeper has started the next ones."""
    dead = {name: leader(home, name) for name in names}
    for pid in dead.values():
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(leader(home, name) != pid for name, pid in dead.items()) and status(home) is not None)


def redis_socket(servers: Servers) -> Path:
    return Path(unquote(urlsplit(servers.redis_url).path))


@contextmanager
def postgres(servers: Servers) -> Generator[PostgresWire]:
    directory = Path(parse_qs(urlsplit(servers.database_url).query)["host"][0])
    with PostgresWire(directory, "courante") as connection:
        yield connection


def redis_says(servers: Servers, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(redis_socket(servers)))
        connection.sendall(f"{command}\r\n".encode())
        return connection.recv(65_536).decode()


def write_mark(servers: Servers) -> None:
    with postgres(servers) as connection:
        connection.query("CREATE TABLE mark (n int)")
        connection.query("INSERT INTO mark VALUES (1), (2), (3)")
    assert redis_says(servers, "SET mark 3") == "+OK\r\n"
    # what everysec has not yet put on disk is in the page cache, which outlives a killed process


def has_mark(servers: Servers) -> bool:
    with postgres(servers) as connection:
        rows = connection.query("SELECT n FROM mark")
    return rows == 3 and redis_says(servers, "GET mark") == "$1\r\n3\r\n"


def answers(servers: Servers) -> bool:
    try:
        ping_redis(redis_socket(servers))
        with postgres(servers) as connection:
            return connection.query("SELECT 1") == 1
    except NotReadyError:
        return False


def test_first_hold_starts_both_and_the_last_user_ends_them(new_home: Path) -> None:
    """A cold start gives working, private servers with safe settings; a second hold gets the same ones."""
    with hold(new_home, linger_s=0) as held, hold(new_home, linger_s=0) as again:
        assert held.servers == again.servers == status(new_home)
        assert answers(held.servers)
        for setting in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction", "port 0"):
            name, value = setting.split()
            assert redis_says(held.servers, f"CONFIG GET {name}").split()[-1] == value
        with postgres(held.servers) as connection:
            safe = "SELECT 1 WHERE current_setting('fsync') = 'on' AND current_setting('listen_addresses') = ''"
            assert connection.query(safe) == 1
        for folder in (new_home, new_home / "run", new_home / "redis", new_home / "postgres", new_home / "logs"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    eventually(lambda: is_all_gone(new_home))
    assert status(new_home) is None


def test_two_commands_at_once_share_the_servers(new_home: Path) -> None:
    """Two first users that race start one keeper; the servers stay until both have left."""
    with User(new_home) as first, User(new_home) as second:
        servers = first.servers()
        assert servers == second.servers()
        assert (new_home / "logs" / "keeper.log").read_text().count("servers_started") == 1
        first.child.communicate(timeout=60)
        assert answers(servers)
        assert status(new_home) == servers
    eventually(lambda: is_all_gone(new_home))


def test_the_bundled_valkey_has_mimalloc_in_it(home: Path) -> None:
    """The server runs on it, without huge pages: a call that touches a new one stands still until it is clear."""
    with hold(home) as held:
        assert answers(held.servers)
        proc = Path(f"/proc/{leader(home, 'redis')}")
        assert "libmimalloc" in (proc / "maps").read_text()
        assert "THP_enabled:\t0" in (proc / "status").read_text().splitlines()


def test_servers_linger_for_the_next_user(home: Path) -> None:
    """Within the linger time the next user finds the servers running; a later user may shorten it."""
    with hold(home, linger_s=60) as held:
        keeper = held.servers.keeper_pid
    with hold(home, linger_s=0) as held:
        assert held.servers.keeper_pid == keeper
    eventually(lambda: is_all_gone(home))


def test_a_killed_user_counts_no_more(home: Path) -> None:
    """kill -9 of the only user ends the servers."""
    with User(home) as user:
        user.servers()
        user.child.kill()
    eventually(lambda: is_all_gone(home))


def test_a_killed_keeper_takes_the_servers_along_and_data_stays(home: Path) -> None:
    """kill -9 of the keeper ends both servers; the next hold finds every row and key."""
    with hold(home, linger_s=0) as held:
        write_mark(held.servers)
        os.kill(held.servers.keeper_pid, signal.SIGKILL)
        # On a busy machine it dies some 100 ms after that, and is the keeper of whoever comes meanwhile.
        eventually(lambda: not locks.is_held(layout_of(home).keeper_lock))
        with hold(home, linger_s=0) as next_held:
            assert next_held.servers.keeper_pid != held.servers.keeper_pid
            assert has_mark(next_held.servers)
    eventually(lambda: is_all_gone(home))


def test_everything_killed_at_once_loses_nothing(home: Path) -> None:
    """kill -9 of the keeper, Redis and all of Postgres leaves stale files; the next hold starts over them."""
    with hold(home, linger_s=0) as held:
        write_mark(held.servers)
        family = locks.holders(home / "postgres" / "lock") + locks.holders(home / "redis" / "lock")
        assert len(family) > 4  # the postmaster has children
        for pid in (held.servers.keeper_pid, *family):
            with suppress(ProcessLookupError):  # the first deaths may take others along
                os.kill(pid, signal.SIGKILL)
        eventually(lambda: is_all_gone(home))
        assert (home / "postgres" / "data" / "postmaster.pid").exists()
        with hold(home, linger_s=0) as next_held:
            assert has_mark(next_held.servers)


@pytest.mark.parametrize("names", [["postgres"], ["redis"], ["redis", "postgres"]], ids="+".join)
def test_a_killed_server_is_started_again(home: Path, names: list[str]) -> None:
    """kill -9 of one server, or of both: the keeper starts it again under the same URL, with its data."""
    with hold(home, linger_s=0) as held:
        write_mark(held.servers)
        kill_servers(home, names)
        assert status(home) == held.servers
        assert has_mark(held.servers)


def test_a_server_that_keeps_dying_ends_the_keeper(home: Path) -> None:
    """After five starts in a minute the keeper gives up, rather than loop for ever."""
    with hold(home, linger_s=0):
        for _ in range(5):
            kill_servers(home, ["redis"])
        os.kill(leader(home, "redis"), signal.SIGKILL)
        eventually(lambda: is_all_gone(home))
    assert "redis keeps ending" in (home / "logs" / "keeper.log").read_text()


def test_down_ends_the_servers_under_their_users(home: Path) -> None:
    """``shut_down`` says whether anything ran, and the next hold starts afresh."""
    assert not shut_down(home)
    with hold(home, linger_s=60) as held:
        assert shut_down(home)
        assert is_all_gone(home)
        assert status(home) is None
        assert not answers(held.servers)
        assert not shut_down(home)
        with hold(home, linger_s=0) as again:
            assert answers(again.servers)


def test_users_that_come_as_the_keeper_leaves_get_living_servers(home: Path) -> None:
    """Users of two processes that come at the very moment of the keeper's end find servers that answer."""
    code = (
        "import pathlib, sys\n"
        "from courante.sdk.embedded import hold, status\n"
        "from courante.sdk.embedded.wire import ping_redis\n"
        "home = pathlib.Path(sys.argv[1])\n"
        "for _ in range(4):\n"
        "    with hold(home, linger_s=0) as held:\n"
        "        ping_redis(pathlib.Path(held.servers.redis_url.removeprefix('unix://').partition('?')[0]))\n"
        "        print(held.servers.keeper_pid)\n"
        "    while status(home) is not None:\n"
        "        pass\n"
    )
    argv = [sys.executable, "-c", code, str(home)]
    others = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    seen = [other.communicate(timeout=60)[0].split() for other in others]
    assert [other.returncode for other in others] == [0, 0]
    assert [len(pids) for pids in seen] == [4, 4]
    assert len(set(seen[0] + seen[1])) > 2, "the keeper never left, so nothing was tried"


def test_a_deep_home_gets_its_sockets_elsewhere(tmp_path: Path) -> None:
    """A path too long (or too odd) for sockets works, through a private directory with a short name."""
    home = tmp_path / ("deep, with a comma" * 6) / "home"
    with hold(home, linger_s=0) as held:
        assert answers(held.servers)
        folder = redis_socket(held.servers).parent
        assert len(os.fsencode(folder / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES_MAX
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert shut_down(home) or is_all_gone(home)
    shutil.rmtree(folder)


def test_a_deleted_home_ends_its_keeper(home: Path) -> None:
    """Nothing goes on running in a home that was removed."""
    with hold(home, linger_s=60) as held:
        keeper = os.pidfd_open(held.servers.keeper_pid)
        shutil.rmtree(home / "run")
        try:
            eventually(lambda: is_all_gone(home) and not is_running(keeper))
        finally:
            os.close(keeper)


def is_running(pidfd: int) -> bool:
    """Whether the process still runs; one that waits for its parent's attention does not."""
    state = Path(f"/proc/self/fdinfo/{pidfd}").read_text().split("Pid:")[1].split()[0]
    try:
        return state != "-1" and Path(f"/proc/{state}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_server_that_cannot_start_shows_its_log(home: Path) -> None:
    """The error of a failed start carries the end of the server's own log."""
    with hold(home, linger_s=0):
        pass
    eventually(lambda: is_all_gone(home))
    manifest = home / "redis" / "appendonlydir" / "appendonly.aof.manifest"
    manifest.write_text("this is no manifest\n")
    with pytest.raises(EmbeddedError, match="manifest") as caught, hold(home):
        pass
    assert caught.value.code == "redis_failed"
    eventually(lambda: is_all_gone(home))


def test_a_cluster_of_another_major_version_is_refused(new_home: Path) -> None:
    """A cluster that no Postgres here can open is named, not tried."""
    (new_home / "postgres" / "data").mkdir(parents=True, mode=0o700)
    (new_home / "postgres" / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="made by Postgres 9") as caught, hold(new_home):
        pass
    assert caught.value.code == "postgres_other_major"
    assert "COURANTE_DATABASE_URL" in caught.value.hint


def test_half_a_cluster_is_made_again(new_home: Path) -> None:
    """A kill during the very first start leaves an unfinished cluster, which the next start replaces."""
    (new_home / "postgres" / "data.new" / "base").mkdir(parents=True, mode=0o700)
    with hold(new_home, linger_s=0) as held:
        assert answers(held.servers)
    assert not (new_home / "postgres" / "data.new").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_servers_of_their_own() -> None:
    """Without the means to become another user, both servers run as the user."""
    parent = Path(tempfile.mkdtemp())
    os.chown(parent, NOBODY, NOBODY)
    before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    before += ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]  # may read our checkout
    try:
        with User(parent / "home", before=before) as user:
            servers = user.servers()
            assert Path(f"/proc/{leader(parent / 'home', 'postgres')}").stat().st_uid == NOBODY
            assert answers(servers)
        eventually(lambda: is_all_gone(parent / "home"))
    finally:
        shutil.rmtree(parent)


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_root_that_may_not_change_its_user_makes_a_namespace(home: Path) -> None:
    """Without CAP_SETUID Postgres runs in a user namespace; with it again, as nobody, over the same data."""
    with User(home, before=["setpriv", "--bounding-set=-setuid,-setgid"]) as user:
        servers = user.servers()
        assert (home / "postgres" / "data").stat().st_uid == 0
        write_mark(servers)
    eventually(lambda: is_all_gone(home))
    with hold(home, linger_s=0) as held:
        assert has_mark(held.servers)
        assert (home / "postgres" / "data").stat().st_uid == NOBODY


@pytest.mark.skipif(os.geteuid() != 0, reason="about root")
def test_root_without_any_capability_is_told_what_to_do(new_home: Path) -> None:
    """Where both ways are forbidden the error names the setting for a server of one's own, and nothing stays behind."""
    code = (
        "import pathlib, sys\n"
        "from courante.sdk.embedded import EmbeddedError, hold\n"
        "try:\n"
        "    hold(pathlib.Path(sys.argv[1])).__enter__()\n"
        "except EmbeddedError as error:\n"
        "    print(error.code, error.hint)\n"
    )
    argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", sys.executable, "-c", code, str(new_home)]
    said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert said.startswith("root_not_supported ")
    assert "COURANTE_DATABASE_URL" in said
    eventually(lambda: is_all_gone(new_home))
