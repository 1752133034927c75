"""One process that executes many commands, one after the other: to start Python for each would take long."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import anyio.to_thread

from command_line import AGE, CLOCK, DURATION, RUN_ID, TIME, Said, clean_environ

LOOP = """
import io, json, sys
from contextlib import redirect_stderr, redirect_stdout
from courante.cli.main import run_cli
for line in sys.stdin:
    out, err = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    with redirect_stdout(out), redirect_stderr(err):
        code = run_cli(json.loads(line))
    print(json.dumps([code, *(each.buffer.getvalue().decode() for each in (out, err))]), flush=True)
"""
OWN_RUN = re.compile(r"\$(\d)")
IDS = (
    (RUN_ID, "RUN"),
    (TIME, "TIME"),
    (CLOCK, "CLOCK"),
    (AGE, "AGE"),
    (DURATION, "SPAN"),
    (re.compile(r"crt_[a-z0-9]+(_[0-9a-f]{64})?"), "KEY"),
    (re.compile(r"whsec_[0-9a-f]+"), "SECRET"),
    (re.compile(r"\b([0-9a-f]{32}){1,4}\b"), "HASH"),
    (re.compile(r'\banchor \d+|"number\\?": ?\d+'), "ANCHOR"),
    (re.compile(r"  +"), "  "),
    (re.compile(r"test:[0-9a-f]{16}"), "TEST"),
)


class CliProcess:
    """``name``: what stands in names of what it makes, so that two of them do not meet. ``runs``: its own."""

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self.runs: list[str] = []
        self._process = process

    async def ask(self, *argv: str) -> Said:
        """Execute a command. In its words ``SIDE`` is its own name, ``$0`` its first run."""
        words = [OWN_RUN.sub(lambda found: self.runs[int(found[1])], word.replace("SIDE", self.name)) for word in argv]
        return await anyio.to_thread.run_sync(partial(self._ask, words))

    def _ask(self, argv: list[str]) -> Said:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(argv) + "\n")
        self._process.stdin.flush()
        code, out, err = json.loads(self._process.stdout.readline())
        return Said(code, out, err)


def steady(text: str) -> str:
    """Return a text of a command without what differs each time."""
    for pattern, word in IDS:
        text = pattern.sub(word, text)
    return text


@contextmanager
def open_cli(name: str, cwd: Path, environ: dict[str, str]) -> Generator[CliProcess]:
    """environ: its settings."""
    command = [sys.executable, "-c", LOOP]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=cwd, env=clean_environ() | environ, stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            yield CliProcess(name, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(timeout=20)
