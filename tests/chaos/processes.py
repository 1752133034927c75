"""Processes: what a scenario starts, and ends by its pid. All die with the test that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import anyio

from courante.sdk.embedded.identity import Identity, before_exec, own_identity
from nursery import Nursery

END_S = 60.0
"""Patience of what comes at once on a machine that is at rest: others may be at work there too."""


class Child(Protocol):
    """What ``subprocess.Popen`` can do of what is needed here."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def send_signal(self, number: int, /) -> None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Process:
    """One started program. Its output goes to the end of ``log``."""

    def __init__(self, child: Child, log: Path) -> None:
        self._child = child
        self.log = log

    @classmethod
    def start(
        cls, argv: Sequence[str], environ: Mapping[str, str], log: Path, identity: Identity | None = None
    ) -> Process:
        with log.open("ab") as output:
            child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environ,
                cwd="/",
                start_new_session=True,
                preexec_fn=before_exec(identity or own_identity(), signal.SIGKILL),  # noqa: PLW1509 - no lock is held
            )
        return cls(child, log)

    @classmethod
    def fork(
        cls, nursery: Nursery, module: str, words: Sequence[str], environ: Mapping[str, str], log: Path
    ) -> Process:
        """Run a module as ``python -m`` does, without its imports."""
        log.touch(0o600)
        with log.open("ab") as output, Path(os.devnull).open("rb") as nothing:
            streams = (nothing.fileno(), output.fileno(), output.fileno())
            return cls(nursery.start(module, words, environ, streams), log)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def code(self) -> int | None:
        """The exit code; minus the signal's number where one ended it; None while it runs."""
        return self._child.poll()

    def send(self, number: signal.Signals) -> None:
        if self.code is None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait until it is gone. Harmless when it has ended."""
        self.send(signal.SIGKILL)
        self._child.wait(END_S)

    def freeze(self) -> None:
        """SIGSTOP, and wait until it has stopped. Harmless when it has ended."""
        self.send(signal.SIGSTOP)
        while self.code is None and not self.is_frozen:
            time.sleep(0.001)

    def thaw(self) -> None:
        self.send(signal.SIGCONT)

    @property
    def is_frozen(self) -> bool:
        """Whether something has stopped it, itself included."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except FileNotFoundError:
            return False

    async def wait(self, timeout_s: float = END_S) -> int:
        """Return its exit code once it has ended. Raises TimeoutError."""
        await self.until(lambda: self.code is not None, timeout_s)
        assert self.code is not None
        return self.code

    async def until_frozen(self) -> None:
        """Wait until it has stopped itself."""
        await self.until(lambda: self.is_frozen)

    async def until_said(self, words: str) -> None:
        """Wait until these words are in its log, or it has ended."""
        await self.until(lambda: self.code is not None or words in self.said())

    async def until(self, holds: Callable[[], bool], timeout_s: float = END_S) -> None:
        """Wait until something holds; a process says nothing by itself. Shows its log where it never does."""
        with anyio.move_on_after(timeout_s):
            while not holds():  # noqa: ASYNC110 - there is nobody who would set an event
                await anyio.sleep(0.01)
        assert holds(), f"{self.log.name} after {timeout_s} s: exit code {self.code}\n{self.said()[-2000:]}"

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self.send(signal.SIGTERM)
        return await self.wait()

    def said(self) -> str:
        """Everything in its log, also of who wrote there before."""
        return self.log.read_text("utf-8", "replace")
