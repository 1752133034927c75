"""The lock of ``courante up``: one per home and environment, held by the living process, which writes what it runs.

HOME/run/up-<env>.lock     JSON: pid, redis, postgres, api        HOME/logs/up-<env>.log     its logs when detached
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ..sdk.embedded import locks
from ..sdk.embedded.home import layout_of, tail
from .exits import CliError, ExitCode

STOP_S = 30.0
KILL_S = 10.0
START_S = 120.0
_POLL_S = 0.02


@dataclass(frozen=True)
class RunningUp:
    """A living ``courante up``."""

    env: str
    pid: int
    path: Path


class UpLock:
    """The lock of one environment. ``taken`` holds it; ``write`` says what runs."""

    def __init__(self, home: Path, env: str) -> None:
        self._layout = layout_of(home)
        self._path = self._layout.run / f"up-{env}.lock"
        self._fd = -1

    @contextmanager
    def taken(self) -> Generator[dict[str, object] | None]:
        """Yield None when the lock is ours, else what its holder wrote."""
        self._layout.prepare()
        self._fd = locks.open_lock(self._path)
        try:
            if not locks.try_lock(self._fd, exclusive=True):
                yield _read(self._path)
                return
            self.write({})
            yield None
            os.ftruncate(self._fd, 0)
        finally:
            os.close(self._fd)

    def write(self, facts: Mapping[str, object]) -> None:
        """Replace what stands in the file. facts: what runs."""
        content = json.dumps({"pid": os.getpid(), **facts}).encode()
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))


def running_ups(home: Path) -> list[RunningUp]:
    """Every living ``courante up`` of a home, by environment."""
    found: list[RunningUp] = []
    for path in sorted(layout_of(home).run.glob("up-*.lock")):
        pid = _read(path).get("pid")
        if locks.is_held(path) and isinstance(pid, int):
            found.append(RunningUp(path.stem.removeprefix("up-"), pid, path))
    return found


def facts_of(home: Path, env: str) -> dict[str, object]:
    """Return what the living ``courante up`` of an environment runs; empty where there is none."""
    for running in running_ups(home):
        if running.env == env:
            return _read(running.path)
    return {}


def stop_up(running: RunningUp) -> None:
    """End it in order; what does not end in time drops what it has at hand, and what does not do that either is killed.

    Raises CliError ``stop_timed_out``.
    """
    for seconds in (STOP_S, KILL_S, KILL_S):
        with suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not locks.is_held(running.path):
                return
            time.sleep(_POLL_S)
    message = f"'courante up' of env {running.env} (pid {running.pid}) does not end"
    raise CliError(ExitCode.SERVICE, "stop_timed_out", message, f"look at its logs, or end it: kill -9 {running.pid}")


def start_detached(home: Path, env: str, words: Sequence[str]) -> dict[str, Any]:
    """Start ``courante up`` away from this terminal; return what it says when it is ready, or its error.

    Raises CliError where it ends without a word, or is not ready in time.
    """
    layout = layout_of(home)
    layout.prepare()
    path = layout.logs / f"up-{env}.log"
    offset = path.stat().st_size if path.exists() else 0
    argv = [sys.executable, "-m", "courante", "up", "--json", *words]
    with path.open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert process.stdout is not None
    word = _first_line(process)
    try:
        facts = cast("dict[str, Any]", json.loads(word))
    except ValueError as cause:
        message = f"'courante up' did not start; {path} ends with:\n{tail(path, offset)}"
        raise CliError(ExitCode.SERVICE, "up_failed", message, "run it without --detach to see more") from cause
    if "error" in facts:
        facts["exit_code"] = process.wait()
    return facts


def _first_line(process: subprocess.Popen[bytes]) -> str:
    """What the process says first; empty where it ends or takes too long."""
    import select

    assert process.stdout is not None
    if not select.select([process.stdout], [], [], START_S)[0]:
        process.terminate()
        return ""
    return process.stdout.readline().decode()


def _read(path: Path) -> dict[str, object]:
    try:
        return cast("dict[str, object]", json.loads(path.read_text()))
    except (OSError, ValueError):  # between two writes, or gone
        return {}
