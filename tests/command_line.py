"""Calling the command line in tests: in this process where nothing is logged, else as a process of its own.

Such a process is forked from one that has loaded every command: to start Python for each takes longer than most of them
do. That ``python -m courante`` starts by itself is asked elsewhere.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import selectors
import signal
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any

import pytest

from courante.cli.main import SECTIONS, run_cli
from nursery import Nursery, Nursling

ROOT = Path(__file__).resolve().parents[1]
PIPE_BYTES = 65_536
LOADED = (
    "courante.__main__",
    "courante.api.app",
    "courante.api.server",
    "courante.cli.crew",
    "courante.cli.live",
    "courante.cli.remote",
    "courante.runner.worker",
    "courante.supervisor.supervisor",
    "uvloop",
)
"""What commands import when they run, besides their own modules."""
RUN_ID = re.compile(r"run_[0-9A-Z]{26}")
DURATION = re.compile(r"\b([0-9]+m )?[0-9.]+(ms|s)\b")
AGE = re.compile(r"\bjust now\b|\b[0-9]+ (second|minute)s? ago\b")
CLOCK = re.compile(r"[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}")
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]{12}Z")


@dataclass(frozen=True)
class Said:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The object on the last line; there must be no other line that is not JSON."""
        lines = self.out.splitlines()
        assert lines, f"nothing on stdout; stderr: {self.err}"
        return json.loads(lines[-1])

    @property
    def stable(self) -> str:
        """stdout with ids, times, ages and durations replaced."""
        text = RUN_ID.sub("RUN", self.out)
        for pattern, word in ((TIME, "TIME"), (CLOCK, "CLOCK"), (AGE, "AGE"), (DURATION, "SPAN")):
            text = pattern.sub(word, text)
        return text


def call(capsys: pytest.CaptureFixture[str], *argv: str) -> Said:
    """Call a command in this process."""
    capsys.readouterr()
    code = run_cli(argv)
    written = capsys.readouterr()
    return Said(code, written.out, written.err)


def spawn(*argv: str, cwd: Path, environ: dict[str, str], stdin: str = "", timeout_s: float = 90.0) -> Said:
    """Call a command as a process of its own, with pipes for all its streams. Raises TimeoutError; it is gone then."""
    given = stdin.encode()
    assert len(given) <= PIPE_BYTES
    with ExitStack() as stack:
        pipes = [os.pipe() for _ in range(3)]
        ours = [stack.enter_context(os.fdopen(pipe[0], "rb", 0)) for pipe in pipes[1:]]
        with ExitStack() as theirs:
            streams = [os.fdopen(pipes[0][0], "rb"), *(os.fdopen(pipe[1], "wb") for pipe in pipes[1:])]
            for stream in streams:
                theirs.enter_context(stream)
            with os.fdopen(pipes[0][1], "wb") as writer:
                writer.write(given)
            numbers = [stream.fileno() for stream in streams]
            with _making:
                nursery = _nursery()
            child = nursery.start("courante", argv, clean_environ() | environ, numbers, str(cwd))
        deadline = time.monotonic() + timeout_s
        try:
            out, err = _read_all(ours, deadline)
            code = child.wait(deadline - time.monotonic())
        except TimeoutError:
            child.send_signal(signal.SIGKILL)
            raise
    return Said(code, out, err)


def start(*argv: str, cwd: Path, environ: dict[str, str], log: Path) -> Nursling:
    """Call a command that goes on by itself, as a process of its own. What it says goes to the end of a file."""
    with log.open("ab") as output, Path(os.devnull).open("rb") as nothing, _making:
        streams = (nothing.fileno(), output.fileno(), output.fileno())
        return _nursery().start("courante", argv, clean_environ() | environ, streams, str(cwd))


def _read_all(pipes: list[FileIO], deadline: float) -> list[str]:
    """What is written into pipes until their ends. Raises TimeoutError."""
    found = {pipe.fileno(): bytearray() for pipe in pipes}
    with selectors.DefaultSelector() as selector:
        for number in found:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            for key, _ in ready:
                chunk = os.read(key.fd, PIPE_BYTES)
                found[key.fd] += chunk
                if not chunk:
                    selector.unregister(key.fd)
    return [content.decode() for content in found.values()]


_making = threading.Lock()


@cache
def _nursery() -> Nursery:
    """Where commands are forked from, for as long as this process lives."""
    modules = {entry.module for section in SECTIONS.values() for entry in section.values()}
    made = Nursery(plain_environ(), [*LOADED, *(f"courante.cli.commands.{module}" for module in sorted(modules))])
    atexit.register(made.close)
    return made


def clean_environ() -> dict[str, str]:
    """Our environment without any setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COURANTE_")}


def plain_environ() -> dict[str, str]:
    """Likewise, with the way to Courante and to the tests."""
    return clean_environ() | {"PYTHONPATH": os.pathsep.join([str(ROOT / ".dev"), str(ROOT / "tests")])}
