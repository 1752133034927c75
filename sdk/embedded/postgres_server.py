"""The embedded Postgres: made once by initdb, reached through a Unix socket only, synced on every commit.

A cluster is made in a directory of another name and renamed when it is whole, so that a kill in between leaves no half
one. Every change of ours is a start option, and the files of the cluster stay as initdb wrote them.
Source: PostgreSQL manual, "Server Setup and Operation" (fast shutdown: SIGINT; immediate: SIGQUIT).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from . import process, wire
from .binaries import Binary
from .errors import EmbeddedError
from .home import Layout, tail
from .identity import Identity, before_exec
from .process import Recipe, ServerProcess

DATABASE = "courante"

_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "128MB",
    "cluster_name": "courante",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",  # short queries only; compiling them costs more than running them
}


def cluster_major(layout: Layout) -> int | None:
    """The major version that made the cluster, None when there is none yet."""
    try:
        return int((layout.postgres / "data" / "PG_VERSION").read_text())
    except (FileNotFoundError, ValueError):
        return None


def start_postgres(
    layout: Layout, sockets: Path, binary: Binary, identity: Identity, *, give_up: Callable[[], bool]
) -> ServerProcess:
    """Make the cluster if there is none and start the server; ``wait_postgres`` tells when it answers."""
    lock_path = layout.postgres / "lock"
    lock = process.take_data_lock(lock_path, "postgres", signal.SIGINT, give_up)
    try:
        data = layout.postgres / "data"
        if not data.exists():
            _make_cluster(layout, binary, identity, lock)
        _give(data, identity)
        for stale in (data / "postmaster.pid", *sockets.glob(".s.PGSQL.5432*")):
            stale.unlink(missing_ok=True)  # nothing of an earlier server is alive: we have its lock
    except BaseException:
        os.close(lock)
        raise
    argv = [str(binary.path), "-D", str(data), "-k", str(sockets)]
    for name, value in _OPTIONS.items():
        argv += ["-c", f"{name}={value}"]
    recipe = Recipe(
        name="postgres",
        argv=argv,
        environment=_environment(),
        log=layout.logs / "postgres.log",
        identity=identity,
        stop=(signal.SIGINT, signal.SIGQUIT),
    )
    return process.start(recipe, lock)


def wait_postgres(
    server: ServerProcess, layout: Layout, sockets: Path, *, deadline: float, give_up: Callable[[], bool]
) -> None:
    """Wait until the server takes connections (after a crash it repairs itself first); make our database."""
    pid_file = layout.postgres / "data" / "postmaster.pid"

    def is_ready() -> bool:
        try:
            if "ready" not in pid_file.read_text():  # asking earlier would fill the log with refusals
                return False
            with wire.PostgresWire(sockets, "postgres") as connection:
                known = f"SELECT 1 FROM pg_database WHERE datname = '{DATABASE}'"  # noqa: S608 - a name of our own
                if connection.query(known) == 0:
                    connection.query(f"CREATE DATABASE {DATABASE}")
        except (FileNotFoundError, wire.NotReadyError):
            return False
        return True

    try:
        process.wait_until(is_ready, server, deadline, give_up)
    except wire.RefusedError as cause:
        raise server.failure(f"refused us ({cause})") from cause


def _make_cluster(layout: Layout, binary: Binary, identity: Identity, lock: int) -> None:
    fresh = layout.postgres / "data.new"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    _give(fresh, identity)
    argv = [str(binary.path.parent / "initdb"), "-D", str(fresh), "-U", "postgres", "--auth-local=trust"]
    argv += ["--auth-host=reject", "--encoding=UTF8", "--no-sync", "--no-instructions"]  # synced later, by the keeper
    is_builtin = binary.version[0] >= 17
    argv += ["--locale-provider=builtin", "--locale=C.UTF-8"] if is_builtin else ["--locale=C.UTF-8"]
    log_path = layout.logs / "postgres.log"
    offset = process.rotate_log(log_path)
    with log_path.open("ab") as log:
        try:
            subprocess.run(
                argv,
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
                pass_fds=(lock,),
                preexec_fn=before_exec(identity, signal.SIGTERM),
            )
        except (OSError, subprocess.SubprocessError) as cause:
            message = f"the Postgres cluster could not be made; the log {log_path} ends with:\n{tail(log_path, offset)}"
            hint = "or set COURANTE_DATABASE_URL to a server of your own"
            raise EmbeddedError("postgres_failed", message, hint) from cause
    fresh.rename(layout.postgres / "data")


def _give(data: Path, identity: Identity) -> None:
    """Make the cluster the property of the identity; the usual case, that it already is, costs one look."""
    if data.lstat().st_uid == identity.uid:
        return
    for folder, _, names in os.walk(data):
        os.chown(folder, identity.uid, identity.gid)
        for name in names:
            os.chown(Path(folder) / name, identity.uid, identity.gid, follow_symlinks=False)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
