"""The machine: what a figure was measured on, and what the processes have used of it."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

import msgspec

PROC = Path("/proc")
ROOT = Path(__file__).resolve().parent.parent


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """``cores``: that this process may use."""

    cores: int
    python: str
    redis: str
    postgres: str
    system: str


def describe_machine(redis: str, postgres: str) -> Machine:
    """redis, postgres: the versions of the servers."""
    is_limited = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if is_limited else os.cpu_count() or 1
    system = f"{platform.system()} {platform.machine()}"
    return Machine(cores=cores, python=platform.python_version(), redis=redis, postgres=postgres, system=system)


def commit() -> str:
    """Return the commit of a checkout, with ``+`` where files differ from it; empty for an installed package."""
    if not (ROOT / ".git").exists():
        return ""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU seconds of processes and of their children that have ended; 0 where /proc does not tell."""
    ticks = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            ticks += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return ticks / os.sysconf("SC_CLK_TCK")


def waited_s(pids: Iterable[int]) -> float:
    """Return the seconds that the main threads of processes have waited for a core; 0 where /proc does not tell."""
    return sum(int(fields[1]) for pid in pids if len(fields := _words(PROC / str(pid) / "schedstat")) > 1) / 1e9


def stolen_s() -> float:
    """Return the seconds that a host has kept the cores of this virtual machine; 0 where /proc does not tell."""
    fields = _words(PROC / "stat")  # the first line: cpu, user, nice, system, idle, iowait, irq, softirq, steal
    return int(fields[8]) / os.sysconf("SC_CLK_TCK") if len(fields) > 8 else 0.0


def descendants(pid: int) -> list[int]:
    """Return the living processes below one, found through /proc; empty where there is none."""
    parents: dict[int, int] = {}
    for path in PROC.glob("[0-9]*"):
        fields = _stat(int(path.name))
        if fields:
            parents[int(path.name)] = int(fields[1])
    found: list[int] = []
    layer = {pid}
    while layer:
        layer = {child for child, parent in parents.items() if parent in layer}
        found += sorted(layer)
    return found


def _words(path: Path) -> list[str]:
    try:
        return path.read_text().split()
    except OSError:
        return []


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the name, which may hold anything; empty where it is gone."""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
