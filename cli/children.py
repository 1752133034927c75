"""Children: the daemons that ``courante up`` runs as processes of their own, and starts again when one dies.

Each child has a pipe from us as its standard input and ends when that closes, so that nothing outlives ``up``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import anyio
import structlog
from anyio.abc import Process

from ..sdk.settings import FIELDS, Settings, variable_of

BACKOFF_S = 0.5
BACKOFF_S_MAX = 30.0
STEADY_S = 10.0
"""A child that lived so long is started again at once."""
ASKED_MAX = 2
"""How often a child is asked to end before it is killed."""
STDERR = 2
log = structlog.get_logger()


def environment_of(settings: Settings, *, redis_url: str, database_url: str) -> dict[str, str]:
    """Our own environment with every setting in force, so that a child decides nothing anew."""
    values: dict[str, str] = dict(os.environ)
    for field in FIELDS:
        value: object = getattr(settings, field)
        if value is None:
            values.pop(variable_of(field), None)
        else:
            values[variable_of(field)] = str(value).lower() if isinstance(value, bool) else str(value)
    return values | {variable_of("redis_url"): redis_url, variable_of("database_url"): database_url}


class Child:
    """One daemon. ``words``: its command line after ``courante``."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], files: Sequence[int] = ()) -> None:
        """files: numbers of open files that it inherits."""
        self._files = tuple(files)
        self.words = list(words)
        self._environment = dict(environment)
        self._process: Process | None = None
        self._stopping = anyio.Event()
        self._asked = 0

    @property
    def name(self) -> str:
        return self.words[0]

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    @property
    def has_ended(self) -> bool:
        return self._process is None or self._process.returncode is not None

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    async def run(self) -> None:
        """Keep the daemon alive until ``stop``; a child that dies again and again is started ever more slowly."""
        backoff_s = BACKOFF_S
        while not self._stopping.is_set():
            began = anyio.current_time()
            code = await self._run_once()
            if self._stopping.is_set():
                return
            backoff_s = BACKOFF_S if anyio.current_time() - began > STEADY_S else min(backoff_s * 2, BACKOFF_S_MAX)
            log.error("child_died", child=self.name, exit_code=code, restart_s=backoff_s)
            with anyio.move_on_after(backoff_s):
                await self._stopping.wait()

    def stop(self) -> None:
        """Ask it to end in order; a second time: to drop what it has; a third time: kill it."""
        self._stopping.set()
        self._asked += 1
        if self._process is not None and self._process.returncode is None:
            if self._asked > ASKED_MAX:
                self._process.kill()
            else:
                self._process.terminate()

    async def _run_once(self) -> int:
        argv = [sys.executable, "-m", "courante", *self.words, "--stop-on-eof"]
        async with await anyio.open_process(
            argv,
            stdin=subprocess.PIPE,
            stdout=STDERR if self.name == "worker" else subprocess.DEVNULL,  # what its steps say there
            stderr=None,
            env=self._environment,
            pass_fds=self._files,
            start_new_session=True,  # Ctrl-C is for us; we pass it on in order
        ) as process:
            self._process = process
            log.info("child_started", child=self.name, pid=process.pid)
            if self._stopping.is_set():
                process.terminate()
            return await process.wait()
