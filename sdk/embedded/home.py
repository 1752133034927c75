"""The home directory of the embedded servers: where everything lies, and the protocol of its locks.

    HOME/redis/            appendonlydir, lock      HOME/logs/   redis.log, postgres.log, keeper.log
    HOME/postgres/data     the cluster              HOME/run/    locks, state.json, sockets (when the path is short)
    HOME/postgres/lock

Every lock is an flock, so that death by any cause lets go of it:

    run/users.lock     shared: each user, while it uses the servers; exclusive: a keeper that ends for want of users
    run/spawn.lock     exclusive: the one user that starts a keeper now (the others wait instead of starting more)
    run/keeper.lock    exclusive: the one living keeper
    run/ready.lock     exclusive: the keeper, while both servers answer and state.json is true
    redis/lock, postgres/lock   exclusive: handed to the server, held by it and all its children, not by the keeper

Why this is safe:

* Two servers never share a directory: a server is started only under its own lock, which outlives a killed keeper as
  long as one process of that server lives. Whoever has the lock may therefore sweep away stale pid files and sockets
  without guessing about pids and zombies. These two locks lie beside what they guard, so that deleting ``run`` does no
  harm; a keeper that sees its ``run`` gone ends.
* A user never gets servers that are about to end: a keeper ends only under the exclusive users lock, and keeps it
  until it has exited. A user asks for the state only under the shared lock. So either the user came first, and the
  keeper cannot decide to end; or the keeper came first, and the user waits until it is gone, sees no keeper, and
  starts the next one.
* state.json is never stale to a reader: it is believed only while ready.lock is held; only the holder of keeper.lock
  writes it, and takes ready.lock after writing.
* Users that die at any point leave nothing behind that counts: neither a count nor a pid is kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from . import locks
from .errors import EmbeddedError

SOCKET_PATH_BYTES_MAX = 103  # sun_path is 108 bytes on Linux and 104 on macOS, with the closing zero byte
_LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
_PLAIN_PATH = re.compile(r"/[A-Za-z0-9/._@+-]*", re.ASCII)  # Postgres and asyncpg split socket paths at commas
_OWN_HOME_HINT = "set COURANTE_HOME to a directory of your own"


@dataclass(frozen=True)
class Servers:
    """Running servers. The URLs are what redis-py and asyncpg take; versions as ``Valkey 9.1.2`` and ``18.6``."""

    redis_url: str
    database_url: str
    home: Path
    redis_version: str
    postgres_version: str
    keeper_pid: int


@dataclass(frozen=True)
class Layout:
    """All paths under one home. Making one touches nothing; ``prepare`` makes the directories."""

    home: Path

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def users_lock(self) -> Path:
        return self.run / "users.lock"

    @property
    def spawn_lock(self) -> Path:
        return self.run / "spawn.lock"

    @property
    def keeper_lock(self) -> Path:
        return self.run / "keeper.lock"

    @property
    def ready_lock(self) -> Path:
        return self.run / "ready.lock"

    @property
    def state(self) -> Path:
        return self.run / "state.json"

    @property
    def down_request(self) -> Path:
        return self.run / "down"

    @property
    def redis(self) -> Path:
        return self.home / "redis"

    @property
    def postgres(self) -> Path:
        return self.home / "postgres"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    def prepare(self) -> None:
        """Make the directories, all private (0700). Raises EmbeddedError when they cannot be ours."""
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.home.stat().st_uid != os.geteuid():
                message = f"{self.home} belongs to another user"
                raise EmbeddedError("home_of_another_user", message, _OWN_HOME_HINT)
            for path in (self.run, self.redis, self.postgres, self.logs):
                path.mkdir(mode=0o700, exist_ok=True)
                if stat.S_IMODE(path.stat().st_mode) != 0o700:
                    path.chmod(0o700)
        except OSError as cause:
            message = f"cannot use {self.home} for the embedded servers: {cause.strerror}"
            raise EmbeddedError("home_not_usable", message, _OWN_HOME_HINT) from cause

    def read_state(self) -> Servers | None:
        """The running servers, if a keeper says that both answer."""
        if not locks.is_held(self.ready_lock):
            return None
        try:
            fields = cast("dict[str, str | int]", json.loads(self.state.read_text()))
            return Servers(
                redis_url=str(fields["redis_url"]),
                database_url=str(fields["database_url"]),
                home=self.home,
                redis_version=str(fields["redis_version"]),
                postgres_version=str(fields["postgres_version"]),
                keeper_pid=int(fields["keeper_pid"]),
            )
        except (FileNotFoundError, ValueError, KeyError):  # the keeper ended between the two looks
            return None

    def write_state(self, servers: Servers) -> None:
        fresh = self.state.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(servers) | {"home": str(self.home)}, indent=1))
        fresh.replace(self.state)


def layout_of(home: Path) -> Layout:
    return Layout(Path(os.path.abspath(home.expanduser())))  # noqa: PTH100 - resolve() would follow links


def socket_directory(layout: Layout) -> Path:
    """Where the sockets lie: ``run``, or a short private directory when ``run`` is too deep or has odd characters."""
    if _fits(layout.run):
        return layout.run
    name = f"courante-{os.geteuid()}-{hashlib.sha256(os.fsencode(layout.home)).hexdigest()[:12]}"
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir(), "/tmp"):  # noqa: S108 - made private below
        path = Path(base) / name
        if base and _fits(path) and _is_made_private(path):
            return path
    return Path(tempfile.mkdtemp(prefix="courante-", dir="/tmp"))


def tail(path: Path, offset: int = 0, lines: int = 15) -> str:
    """The last lines of a log, from ``offset`` bytes on; empty when there is none."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(offset if offset <= size else 0, size - 16_384))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join(text.rstrip().splitlines()[-lines:])


def _fits(directory: Path) -> bool:
    length = len(os.fsencode(directory / _LONGEST_SOCKET_NAME))
    return length <= SOCKET_PATH_BYTES_MAX and _PLAIN_PATH.fullmatch(str(directory)) is not None


def _is_made_private(path: Path) -> bool:
    """Make the directory, or find it ours and closed to others; a foreign one or a link is not taken."""
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700
