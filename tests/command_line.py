"""Calling the command line in tests: in this process where nothing is logged, else as a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from courante.cli.main import run_cli

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
    """Call a command as a process of its own, with pipes for all its streams."""
    done = subprocess.run(
        [sys.executable, "-m", "courante", *argv],
        cwd=cwd,
        env=clean_environ() | environ,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    return Said(done.returncode, done.stdout, done.stderr)


def clean_environ() -> dict[str, str]:
    """Our environment without any setting."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COURANTE_")}
