"""The users' side: hold the servers for as long as a context lasts, see whether they run, end them.

    with hold(home) as held:
        redis.from_url(held.servers.redis_url)

A user is whoever has a shared lock on ``run/users.lock``; the protocol stands in ``home.py``. Nothing here is tied to
a thread, so async code may enter and leave through ``anyio.to_thread``.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import parse_qs, unquote, urlsplit

from . import locks, wire
from .errors import EmbeddedError
from .home import Layout, Servers, layout_of, tail

_POLL_S = 0.01


@dataclass(frozen=True)
class Held:
    """Servers that stay up while this process holds them."""

    servers: Servers


@contextmanager
def hold(
    home: Path, *, linger_s: float = 10.0, prefer_system: bool = False, start_timeout_s: float = 60.0
) -> Generator[Held]:
    """Use the servers of a home, starting them if they are not running; returns when both answer.

    linger_s: how long they stay after the last user has gone; the latest user's word counts.
    Raises EmbeddedError, with the end of the server's log when one did not start.
    """
    layout = layout_of(home)
    layout.prepare()
    deadline = time.monotonic() + start_timeout_s
    fd = _become_user(layout, linger_s, deadline)
    try:
        yield Held(_ready_servers(layout, deadline, prefer_system=prefer_system))
    finally:
        try:
            os.utime(fd)  # the linger time starts now, even if the keeper never saw us
        finally:
            os.close(fd)


def status(home: Path) -> Servers | None:
    """The running servers of a home, None when they are down, starting or ending."""
    return layout_of(home).read_state()


def shut_down(home: Path, timeout_s: float = 30.0) -> bool:
    """End the servers now, whoever uses them. True when they ran and have ended, False when nothing ran.

    Raises EmbeddedError ``stop_timed_out``.
    """
    layout = layout_of(home)
    if not locks.is_held(layout.keeper_lock):
        return False
    deadline = time.monotonic() + timeout_s
    layout.down_request.touch(mode=0o600)
    while locks.is_held(layout.keeper_lock):
        if time.monotonic() >= deadline:
            message = f"the embedded servers did not end within {timeout_s:g} s"
            raise EmbeddedError("stop_timed_out", message, f"see {layout.logs}")
        time.sleep(_POLL_S)
    return True


def _become_user(layout: Layout, linger_s: float, deadline: float) -> int:
    while True:
        fd = locks.open_lock(layout.users_lock)
        is_locked = locks.lock_within(fd, max(0.0, deadline - time.monotonic()), exclusive=False)
        if is_locked and locks.is_same_file(fd, layout.users_lock):
            os.pwrite(fd, f"{linger_s:<24.3f}".encode(), 0)
            return fd
        os.close(fd)
        if not is_locked:
            raise EmbeddedError("start_timed_out", "the servers of this home are still ending", f"see {layout.logs}")
        layout.prepare()


def _ready_servers(layout: Layout, deadline: float, *, prefer_system: bool) -> Servers:
    """Wait for the keeper, or start one. Called under the shared users lock: what is ready now stays ready.

    The servers are asked too: one that has just died counts as ready until its keeper has seen it. And the keeper must
    be alive: where it was killed, the servers answer for a moment more, and end.
    """
    while (servers := layout.read_state()) is None or not _answer(servers) or not locks.is_held(layout.keeper_lock):
        if time.monotonic() >= deadline:
            raise _timed_out(layout)
        if locks.is_held(layout.keeper_lock):
            time.sleep(_POLL_S)
            continue
        fd = locks.open_lock(layout.spawn_lock)
        try:
            if not locks.try_lock(fd, exclusive=True):
                time.sleep(_POLL_S)  # another user is starting one
            elif not locks.is_held(layout.keeper_lock):
                _spawn_keeper(layout, deadline, prefer_system=prefer_system)
        finally:
            os.close(fd)
    return servers


def _answer(servers: Servers) -> bool:
    parts = urlsplit(servers.database_url)
    try:
        wire.ping_redis(Path(unquote(urlsplit(servers.redis_url).path)))
        with wire.PostgresWire(Path(parse_qs(parts.query)["host"][0]), parts.path.lstrip("/")):
            return True
    except (wire.NotReadyError, wire.RefusedError):
        return False


def _spawn_keeper(layout: Layout, deadline: float, *, prefer_system: bool) -> None:
    """Start a keeper and wait for its word. Raises EmbeddedError when the servers did not start."""
    argv = [sys.executable, "-m", "courante.sdk.embedded.keeper", str(layout.home)]
    argv += ["--prefer-system"] if prefer_system else []
    log = layout.logs / "keeper.log"
    offset = log.stat().st_size if log.exists() else 0
    with log.open("ab") as stderr:
        starter = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr, cwd="/", start_new_session=True
        )
    with starter:  # it forks the keeper and ends at once
        assert starter.stdout is not None
        word = _read_line(starter.stdout.fileno(), deadline)
    if word is None:
        raise _timed_out(layout)
    answer = cast("dict[str, str]", json.loads(word)) if word else {}
    if answer.get("status") in ("ready", "superseded"):
        return
    message = answer.get("message") or f"the keeper ended; {log} ends with:\n{tail(log, offset)}"
    raise EmbeddedError(answer.get("code", "keeper_failed"), message, answer.get("hint", ""))


def _read_line(fd: int, deadline: float) -> bytes | None:
    """All that is written until the other side closes; None when the deadline passes first."""
    word = b""
    while not word.endswith(b"\n"):
        if not select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        part = os.read(fd, 65_536)
        if not part:
            break
        word += part
    return word


def _timed_out(layout: Layout) -> EmbeddedError:
    parts = [f"{name}.log ends with:\n{tail(layout.logs / f'{name}.log', lines=5)}" for name in ("redis", "postgres")]
    return EmbeddedError(
        "start_timed_out", "the servers did not answer in time\n" + "\n".join(parts), f"see {layout.logs}"
    )
