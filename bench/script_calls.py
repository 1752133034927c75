"""Script calls: how long the server was at work on each, by its own clock, and what made it wait meanwhile.

That clock does not stop when the server has no core. Where it goes before all others, what is left is the host, which
may keep a virtual machine from its cores. That hits some call or other; a script that takes long does so each time.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from statistics import median_high
from typing import Any

import msgspec
from redis.asyncio import Redis

from ..sdk.floor.scripts import load_script
from .machine import stolen_s, waited_s
from .measured import figure

SLOW_US = 1_000
"""Calls that take longer are in the server's slow log, whose longest ones are told."""
SLOW_MAX = 20_000
ALLOWED_US = 5_000


class ScriptCalls(msgspec.Struct, frozen=True, kw_only=True):
    """``took_us``: by script, of its calls that took longer than ``SLOW_US``. ``waited_s``: that the server had no core
    though it wanted one; ``stolen_s``: that a host kept the cores of this machine, in all.
    """

    took_us: dict[str, list[int]]
    waited_s: float
    stolen_s: float

    def longest_ms(self, script: str) -> float:
        return max(self.took_us.get(script, ()), default=0) / 1000

    @property
    def over(self) -> int:
        """How many took longer than they may."""
        return sum(took > ALLOWED_US for some in self.took_us.values() for took in some)


class CallWatch:
    """Watches a server between ``begin`` and ``end``. pids: of the server, as far as they are known."""

    def __init__(self, redis: Redis, pids: Sequence[int]) -> None:
        self._redis = redis
        self._pids = pids
        self._waited = self._stolen = 0.0

    async def begin(self, *, is_timed: bool) -> None:
        """is_timed: else no call is noted; the slow log is memory of the server's."""
        await self._redis.config_set("slowlog-log-slower-than", SLOW_US if is_timed else -1)
        await self._redis.config_set("slowlog-max-len", SLOW_MAX)
        await self._redis.execute_command("SLOWLOG RESET")
        self._waited, self._stolen = waited_s(self._pids), stolen_s()

    async def end(self) -> ScriptCalls:
        waited, stolen = waited_s(self._pids) - self._waited, stolen_s() - self._stolen
        found: list[dict[str, Any]] = await self._redis.execute_command("SLOWLOG GET", SLOW_MAX)
        names = _script_names()
        calls: dict[str, list[int]] = {}
        for one in found:
            words: list[str] = one["command"].decode(errors="replace").split(" ", 2)
            if words[0].upper() == "FCALL":
                calls.setdefault(names.get(words[1], words[1]), []).append(int(one["duration"]))
        return ScriptCalls(took_us=calls, waited_s=waited, stolen_s=stolen)


def told_calls(times: Sequence[ScriptCalls]) -> dict[str, object]:
    """Return the figures of one load, watched several times: upper medians, and what each time has come to."""
    scripts = sorted({script for calls in times for script in calls.took_us})
    longest = {script: median_high(calls.longest_ms(script) for calls in times) for script in scripts}
    return {
        "longest_script_ms": {script: figure(took) for script, took in longest.items() if took},
        "over_5_ms": median_high(calls.over for calls in times),
        "timed": [
            {
                "longest_ms": figure(max((calls.longest_ms(script) for script in scripts), default=0)),
                "over_5_ms": calls.over,
                "waited_ms": figure(calls.waited_s * 1000),
                "stolen_ms": figure(calls.stolen_s * 1000),
            }
            for calls in times
        ],
    }


@contextmanager
def goes_first(pids: list[int]) -> Generator[bool]:
    """While the context lasts, processes go before all others that the system shares its cores among. Returns whether
    that is so: not on every system, and not for every user.
    """
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except (AttributeError, PermissionError):
        yield False
        return
    try:
        yield bool(pids)
    finally:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_OTHER, os.sched_param(0))


@cache
def _script_names() -> dict[str, str]:
    """By what they are called as."""
    found = [path.name.removesuffix(".lua") for path in (files("courante") / "lua").iterdir() if path.is_file()]
    return {load_script(name).library.name: name for name in found if not name.endswith(".md")}
