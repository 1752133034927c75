"""Advisory file locks (flock(2)): held by an open file description, dropped by the kernel on any kind of death.

A description is shared with children that inherit the descriptor, so a lock handed to a server stays held until the
last process of that server's family has gone. Nothing here waits without a deadline.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

_POLL_S = 0.004


def open_lock(path: Path) -> int:
    """Open (or create) a lock file; the descriptor is not inherited unless it is handed on."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(fd: int, *, exclusive: bool) -> bool:
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def unlock(fd: int) -> None:
    fcntl.flock(fd, fcntl.LOCK_UN)


def lock_within(fd: int, seconds: float, *, exclusive: bool, give_up: Callable[[], bool] | None = None) -> bool:
    """Take the lock within so many seconds; False when it was not to be had or ``give_up`` says so."""
    deadline = time.monotonic() + seconds
    while not try_lock(fd, exclusive=exclusive):
        if time.monotonic() >= deadline or (give_up is not None and give_up()):
            return False
        time.sleep(_POLL_S)
    return True


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock exclusively. Takes it shared for an instant, so takers must try again."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not try_lock(fd, exclusive=False)
    finally:
        os.close(fd)


def is_same_file(fd: int, path: Path) -> bool:
    """Whether the path still leads to the open file: a lock on a deleted file guards nothing."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def holders(path: Path) -> list[int]:
    """The other processes that have the lock file open, by pid: on Linux exact, elsewhere the recorded leader.

    The leader's pid is what ``record_leader`` wrote; it is believed only if a process with that number is a server.
    """
    if sys.platform == "linux":
        return _holders_by_descriptor(path)
    try:
        pid = int(path.read_text() or "0")
    except (OSError, ValueError):
        return []
    ps = ["ps", "-o", "comm=", "-p", str(pid)]
    command = subprocess.run(ps, capture_output=True, text=True, check=False).stdout if pid else ""
    return [pid] if any(name in command for name in ("postgres", "valkey-server", "redis-server")) else []


def record_leader(fd: int, pid: int) -> None:
    os.pwrite(fd, f"{pid:<12}".encode(), 0)  # one write of fixed width: a reader never sees half a number


def _holders_by_descriptor(path: Path) -> list[int]:
    found: list[int] = []
    try:
        wanted = path.stat()
    except FileNotFoundError:
        return found
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if any(os.path.samestat(wanted, descriptor.stat()) for descriptor in _descriptors(entry)):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _descriptors(process: Path) -> list[Path]:
    """Descriptors that lead to plain files under a path (sockets and pipes cannot be our lock)."""
    return [fd for fd in (process / "fd").iterdir() if str(fd.readlink()).startswith("/")]
