from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from courante.sdk.fault_points import POINTS, VARIABLE, reach, read_faults

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("cli", "runner", "sdk", "supervisor")


def ended_by(fault: str, code: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has this fault."""
    lines = f"from courante.sdk.fault_points import reach\n{code}"
    environ = {VARIABLE: fault, "PYTHONPATH": ":".join(sys.path)}
    return subprocess.run([sys.executable, "-c", lines], env=environ, check=False, capture_output=True, text=True)


def test_every_point_stands_in_the_code_and_no_other() -> None:
    """A point that is named in the list is reached somewhere, and one that is reached is named."""
    sources = [path.read_text("utf-8") for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert {point for source in sources for point in re.findall(r"\breach\(\"(\w+)\"\)", source)} == POINTS


def test_nothing_happens_where_no_fault_is_asked_for() -> None:
    """Without the variable every point is passed, known or not."""
    reach("after_handler")
    reach("nowhere")


def test_a_fault_comes_at_its_turn() -> None:
    """The third time is not the second."""
    done = ended_by(
        "after_commit:3:kill9", "for turn in (1, 2, 3):\n  print(turn, flush=True)\n  reach('after_commit')"
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n2\n3\n")


def test_points_count_apart() -> None:
    """Another point is another count, and a point without a fault has none."""
    code = "reach('before_trim'); reach('before_commit'); print('there')\nreach('before_trim')"
    done = ended_by("before_trim:2:raise,before_commit:2:kill9", code)
    assert done.stdout == "there\n"
    assert "InjectedFault" in done.stderr


def test_a_sleep_lasts_as_long_as_it_says() -> None:
    """``sleep:<ms>`` holds up the thread that comes there."""
    code = "import time\nbegan = time.monotonic(); reach('before_mark'); print(time.monotonic() - began >= 0.2)"
    assert ended_by("before_mark:1:sleep:200", code).stdout == "True\n"


@pytest.mark.parametrize(
    "text",
    [
        "elsewhere:1:kill9",
        "after_commit",
        "after_commit:0:kill9",
        "after_commit:x:kill9",
        "after_commit:1:explode",
        "after_commit:1:sleep",
        "after_commit:1:kill9:5",
    ],
)
def test_a_fault_that_cannot_be_is_refused(text: str) -> None:
    """A misspelt fault would never come, and its test would pass for nothing."""
    with pytest.raises(ValueError, match=VARIABLE):
        read_faults(text)
