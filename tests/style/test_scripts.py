"""The scripts are plain POSIX shell, can be run as they are, and say what they do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for path in (ROOT / "scripts").iterdir() if path.is_file() and not path.suffix)
SHELLS = [shell for shell in ("dash", "sh", "bash") if shutil.which(shell)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "scripts" / "environment.sh"], ids=lambda path: path.name)
def test_a_script_is_read_by_every_shell(script: Path, shell: str) -> None:
    """No shell of this machine finds an error in the script's syntax."""
    subprocess.run([shell, "-n", str(script)], check=True)


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / ".ci" / "run"], ids=lambda path: path.name)
def test_a_script_can_be_run_and_says_what_it_does(script: Path) -> None:
    """A script is executable, names its shell, and its first comment begins with its own name."""
    lines = script.read_text("utf-8").splitlines()
    assert os.access(script, os.X_OK)
    assert lines[0] in {"#!/bin/sh", "#!/usr/bin/env bash"}
    assert lines[1].startswith(f"# {script.name}: ")


def test_a_missing_python_is_said_in_words(tmp_path: Path) -> None:
    """Without a Python that is new enough a script stops with what to install, and makes nothing."""
    environment = {"PATH": os.environ["PATH"], "COURANTE_VENV": str(tmp_path / "venv"), "COURANTE_PYTHON": "/bin/false"}
    command = [str(ROOT / "scripts" / "test"), "--version"]
    done = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, cwd="/")
    assert done.returncode == 2
    assert "Python 3.11" in done.stderr
    assert "apt-get install python3" in done.stderr
    assert not (tmp_path / "venv").exists()
