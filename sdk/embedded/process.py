"""One server process: started under its data lock, watched, stopped, and never outliving its keeper.

Promises: the lock is held by the server's family alone from the start on; ``stop`` returns when the server has gone.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import locks
from .errors import EmbeddedError
from .home import tail
from .identity import Identity, before_exec

_LEFTOVER_GRACE_S = 5.0
_STOP_STEP_S = 10.0
_LOG_BYTES_MAX = 16 * 1024 * 1024


@dataclass(frozen=True)
class Recipe:
    """How one server is started and stopped. stop: signals from polite to final, each given some seconds."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    identity: Identity
    stop: tuple[signal.Signals, ...]


class ServerProcess:
    """A started server. Made by ``start`` only."""

    def __init__(self, recipe: Recipe, child: subprocess.Popen[bytes], log_offset: int) -> None:
        self._recipe = recipe
        self._child = child
        self._log_offset = log_offset

    @property
    def pid(self) -> int:
        return self._child.pid

    def is_alive(self) -> bool:
        return self._child.poll() is None

    def ask_to_stop(self) -> None:
        if self.is_alive():
            self._child.send_signal(self._recipe.stop[0])

    def stop(self) -> None:
        """Stop, more sternly every ten seconds; harmless when it has ended."""
        for number in (*self._recipe.stop, signal.SIGKILL):
            if not self.is_alive():
                return
            self._child.send_signal(number)
            try:
                self._child.wait(_STOP_STEP_S)
            except subprocess.TimeoutExpired:
                continue

    def failure(self, what: str) -> EmbeddedError:
        log = tail(self._recipe.log, self._log_offset)
        message = f"{self._recipe.name} {what}; its log {self._recipe.log} ends with:\n{log or '(nothing)'}"
        return EmbeddedError(f"{self._recipe.name}_failed", message, "")


def start(recipe: Recipe, lock: int) -> ServerProcess:
    """Start the server and hand the lock over to it; the descriptor is closed here."""
    try:
        offset = rotate_log(recipe.log)
        with recipe.log.open("ab") as log:
            child = subprocess.Popen(
                recipe.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=recipe.environment,
                cwd="/",
                pass_fds=(lock,),
                start_new_session=True,
                preexec_fn=before_exec(recipe.identity, recipe.stop[0]),  # noqa: PLW1509 - the keeper has one thread
            )
        locks.record_leader(lock, child.pid)
    except (OSError, subprocess.SubprocessError) as cause:
        raise EmbeddedError(f"{recipe.name}_failed", f"{recipe.name} could not be started: {cause}", "") from cause
    finally:
        os.close(lock)
    return ServerProcess(recipe, child, offset)


def take_data_lock(path: Path, name: str, polite: signal.Signals, give_up: Callable[[], bool]) -> int:
    """Wait until nothing of an earlier server is alive; what does not end by itself is ended.

    A server ends with its keeper, mostly within milliseconds. A Postgres backend that is deep in a query notices the
    death of its postmaster late; and outside Linux nothing ends a server whose keeper was killed.
    """
    fd = locks.open_lock(path)
    for number in (None, polite, signal.SIGKILL):
        if number is not None:
            for pid in locks.holders(path):
                _send(pid, number)
        if locks.lock_within(fd, _LEFTOVER_GRACE_S, exclusive=True, give_up=give_up):
            return fd
        if give_up():
            os.close(fd)
            raise _stopped()
    os.close(fd)
    message = f"an earlier {name} server is still running (pids {locks.holders(path)})"
    raise EmbeddedError(f"{name}_still_running", message, "end these processes, then try again")


def rotate_log(path: Path) -> int:
    """Keep one older file when the log has grown large; returns where the next line will stand."""
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return 0
    if size < _LOG_BYTES_MAX:
        return size
    path.replace(path.with_suffix(".old.log"))
    return 0


def wait_until(
    is_ready: Callable[[], bool], server: ServerProcess, deadline: float, give_up: Callable[[], bool]
) -> None:
    """Ask again every few milliseconds. Raises EmbeddedError when the server ends or the deadline passes first."""
    while not is_ready():
        if not server.is_alive():
            raise server.failure("ended while it was starting")
        if time.monotonic() > deadline:
            raise server.failure("did not answer in time")
        if give_up():
            raise _stopped()
        time.sleep(0.003)


def _stopped() -> EmbeddedError:
    return EmbeddedError("stopped", "the servers were asked to stop while they were starting", "")


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
