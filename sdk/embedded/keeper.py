"""The keeper: a small process that owns both servers, ``python -m courante.sdk.embedded.keeper HOME``.

It starts them, says on stdout how that went (one JSON object), starts again what dies, and ends them some seconds
after the last user has gone, on request (``run/down``, SIGTERM), or when its home has been deleted. When it is killed,
the kernel ends the servers. One thread only: the death signal is tied to the thread that forked.
Protocol of the locks: ``home.py``.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import select
import signal
import sys
import time
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from urllib.parse import quote

from . import binaries, locks, postgres_server, redis_server
from .errors import EmbeddedError
from .home import Layout, Servers, layout_of, socket_directory
from .identity import unprivileged_identity
from .process import ServerProcess

POLL_S = 0.1
START_S_MAX = 600.0  # a large append-only file or a long recovery; users have their own, shorter patience
LINGER_S_DEFAULT = 10.0
_RESTARTS_MAX = 5
_RESTARTS_WINDOW_S = 60.0
_OTHER_KEEPER_S = 1.0


class Keeper:
    """Both servers and the locks that say so. ``run`` returns when both have ended."""

    def __init__(self, layout: Layout, *, prefer_system: bool) -> None:
        self._layout = layout
        self._prefer_system = prefer_system
        self._is_told_to_stop = False
        self._redis: ServerProcess | None = None
        self._postgres: ServerProcess | None = None
        self._versions = ("", "")
        self._restarts: deque[float] = deque()
        self._users = locks.open_lock(layout.users_lock)
        self._ready = locks.open_lock(layout.ready_lock)
        self._users_stamp = 0
        self._linger_s = LINGER_S_DEFAULT
        self._last_used = time.monotonic()
        self._sockets = layout.run
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> None:
        """Start, report, watch, stop. Raises EmbeddedError when the servers do not start."""
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._stop_soon)
        signal.signal(signal.SIGCHLD, _ignore)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        self._layout.down_request.unlink(missing_ok=True)
        is_new = postgres_server.cluster_major(self._layout) is None
        try:
            self._start()
            self._announce()
            report({"status": "ready"})
            if is_new:
                self._sync_soon()
            self._watch()
        finally:
            self._stop()

    def _start(self) -> None:
        """Start what is not running and wait until both answer."""
        layout, deadline = self._layout, time.monotonic() + START_S_MAX
        self._sockets = sockets = socket_directory(layout)
        redis = binaries.find_redis(prefer_system=self._prefer_system)
        major = postgres_server.cluster_major(layout)
        postgres = binaries.find_postgres(prefer_system=self._prefer_system, major=major)
        self._versions = (f"{redis.family} {redis.version_text}", postgres.version_text)
        if self._redis is None:
            self._redis = redis_server.start_redis(layout, sockets, redis, give_up=self._is_over)
        if self._postgres is None:
            identity = unprivileged_identity()
            self._postgres = postgres_server.start_postgres(layout, sockets, postgres, identity, give_up=self._is_over)
        redis_server.wait_redis(self._redis, sockets, deadline=deadline, give_up=self._is_over)
        postgres_server.wait_postgres(self._postgres, layout, sockets, deadline=deadline, give_up=self._is_over)

    def _announce(self) -> None:
        sockets = quote(str(self._sockets))
        servers = Servers(
            redis_url=f"unix://{sockets}/{redis_server.SOCKET_NAME}?db=0",
            database_url=f"postgresql://postgres@/{postgres_server.DATABASE}?host={sockets}",
            home=self._layout.home,
            redis_version=self._versions[0],
            postgres_version=self._versions[1],
            keeper_pid=os.getpid(),
        )
        self._layout.write_state(servers)
        while not locks.try_lock(self._ready, exclusive=True):  # users look at it for an instant each
            time.sleep(0.001)
        log("servers_started", redis=servers.redis_version, postgres=servers.postgres_version, sockets=self._sockets)

    def _watch(self) -> None:
        self._last_used = time.monotonic()
        while not self._is_over():
            if self._dead():
                self._restart()
            elif self._is_unused():
                log("users_gone", linger_s=self._linger_s)
                return
            else:
                self._wait()

    def _dead(self) -> list[ServerProcess]:
        return [server for server in (self._redis, self._postgres) if server is not None and not server.is_alive()]

    def _restart(self) -> None:
        """Start what died again; users see broken connections, new ones wait. Gives up after five in a minute."""
        locks.unlock(self._ready)
        while self._dead():
            self._forget_dead()
            try:
                self._start()
            except EmbeddedError as error:
                if not self._dead():
                    raise
                log("restart_failed", code=error.code, message=error.message)  # the other died too, or the same again
        self._announce()

    def _forget_dead(self) -> None:
        now = time.monotonic()
        while self._restarts and self._restarts[0] < now - _RESTARTS_WINDOW_S:
            self._restarts.popleft()
        self._restarts.append(now)
        for server in self._dead():
            log("server_died", pid=server.pid)
            if len(self._restarts) > _RESTARTS_MAX:
                raise server.failure("keeps ending")
            if server is self._redis:
                self._redis = None
            else:
                self._postgres = None

    def _is_unused(self) -> bool:
        """Whether no user has been there for the linger time; if so, no user can come any more."""
        stamp = os.fstat(self._users).st_mtime_ns
        is_free = locks.try_lock(self._users, exclusive=True)
        now = time.monotonic()
        if stamp != self._users_stamp:  # somebody came, perhaps only between two looks; the latest linger counts
            self._users_stamp, self._last_used = stamp, now
            self._linger_s = _read_linger(self._users, self._linger_s)
        if not is_free:
            self._last_used = now
            return False
        if now - self._last_used >= self._linger_s:
            return True  # and keep the lock until this process ends
        locks.unlock(self._users)
        return False

    def _is_over(self) -> bool:
        """Whether to end without regard to users: told to, or the home is no longer there."""
        is_deleted = not locks.is_same_file(self._users, self._layout.users_lock)
        return self._is_told_to_stop or is_deleted or self._layout.down_request.exists()

    def _wait(self) -> None:
        select.select([self._wake_reader], [], [], POLL_S)
        try:
            os.read(self._wake_reader, 512)
        except BlockingIOError:
            return

    def _stop(self) -> None:
        locks.unlock(self._ready)
        self._layout.state.unlink(missing_ok=True)
        servers = [server for server in (self._redis, self._postgres) if server is not None]
        for server in servers:
            server.ask_to_stop()
        for server in servers:
            server.stop()
        self._layout.down_request.unlink(missing_ok=True)
        log("servers_stopped")

    def _stop_soon(self, _number: int, _frame: FrameType | None) -> None:
        self._is_told_to_stop = True

    def _sync_soon(self) -> None:
        """Force a new cluster to disk in a child: initdb did not, and nobody waits for it.

        A power cut within the first second or so of a new home can therefore lose that home; later ones cannot.
        """
        if sys.platform == "linux" and os.fork() == 0:
            os.closerange(3, 256)  # our locks must not outlive us in this child
            directory = os.open(self._layout.postgres, os.O_RDONLY)
            os._exit(0 if ctypes.CDLL(None).syncfs(directory) == 0 else 1)


def report(answer: dict[str, str]) -> None:
    """Tell the user that started us, once; it may have lost patience."""
    try:
        os.write(1, json.dumps(answer).encode() + b"\n")
    except BrokenPipeError:
        return
    finally:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 1)


def log(event: str, **fields: object) -> None:
    """One line on stderr, which is ``logs/keeper.log``."""
    words = " ".join(f"{name}={value}" for name, value in fields.items())
    sys.stderr.write(f"{datetime.now(UTC).isoformat(timespec='milliseconds')} [{os.getpid()}] {event} {words}\n")
    sys.stderr.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="courante-keeper", description="Keep the embedded servers of one home.")
    parser.add_argument("home", type=Path)
    parser.add_argument("--prefer-system", action="store_true")
    arguments = parser.parse_args()
    if os.fork() != 0:
        os._exit(0)  # the user that started us need not wait for our end
    os.setsid()
    os.umask(0o077)
    layout = layout_of(arguments.home)
    lock = locks.open_lock(layout.keeper_lock)
    if not locks.lock_within(lock, _OTHER_KEEPER_S, exclusive=True):
        report({"status": "superseded"})
        return 0
    try:
        Keeper(layout, prefer_system=arguments.prefer_system).run()
    except EmbeddedError as error:
        log("keeper_failed", code=error.code, message=error.message)
        report({"status": "failed", "code": error.code, "message": error.message, "hint": error.hint})
        return 1
    return 0


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Let SIGCHLD wake the loop."""


def _read_linger(fd: int, otherwise: float) -> float:
    try:
        return max(0.0, float(os.pread(fd, 32, 0)))
    except ValueError:
        return otherwise


if __name__ == "__main__":
    sys.exit(main())
