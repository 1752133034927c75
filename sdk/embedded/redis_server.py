"""The embedded Redis (Valkey): a Unix socket and no TCP port, append-only file synced every second, no eviction.

Source: Redis configuration file; a torn end of the append-only file is repaired by the server itself on start.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from . import process, wire
from .allocator import preload
from .binaries import Binary
from .home import Layout
from .identity import own_identity
from .process import Recipe, ServerProcess

SOCKET_NAME = "redis.sock"

_SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "daemonize": "no",
    "save": "",
    "appendonly": "yes",
    "auto-aof-rewrite-min-size": "256mb",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
    "hash-max-listpack-entries": "128",  # a small run stays one compact block of memory
    "hash-max-listpack-value": "1024",
}


def start_redis(layout: Layout, sockets: Path, binary: Binary, *, give_up: Callable[[], bool]) -> ServerProcess:
    """Start the server; ``wait_redis`` tells when it answers. Raises EmbeddedError."""
    lock = process.take_data_lock(layout.redis / "lock", "redis", signal.SIGTERM, give_up)
    path = sockets / SOCKET_NAME
    path.unlink(missing_ok=True)
    argv = [str(binary.path), "--dir", str(layout.redis), "--unixsocket", str(path)]
    for name, value in _SETTINGS.items():
        argv += [f"--{name}", value]
    recipe = Recipe(
        name="redis",
        argv=argv,
        environment={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC", **preload(binary)},
        log=layout.logs / "redis.log",
        identity=own_identity(),
        stop=(signal.SIGTERM,),
    )
    return process.start(recipe, lock)


def wait_redis(server: ServerProcess, sockets: Path, *, deadline: float, give_up: Callable[[], bool]) -> None:
    """Wait until the server answers PING; it does not while it loads its data."""

    def is_ready() -> bool:
        try:
            wire.ping_redis(sockets / SOCKET_NAME)
        except wire.NotReadyError:
            return False
        return True

    process.wait_until(is_ready, server, deadline, give_up)
