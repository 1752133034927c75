"""The demonstration of a fan-out, as people run it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from command_line import clean_environ

SCRIPT = Path(__file__).parents[2] / "scripts" / "fan_out.py"


def test_each_scenario_is_told_and_comes_out_well() -> None:
    """On servers of its own, and nothing is left of them."""
    command = [sys.executable, str(SCRIPT)]
    done = subprocess.run(command, env=clean_environ(), capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert (done.returncode, len(lines)) == (0, 6), done.stdout + done.stderr
    assert all(line.startswith(f"✓ {number} ") for number, line in enumerate(lines, start=1)), lines
