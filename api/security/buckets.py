"""Buckets: how often something may happen, by whom. In memory, bounded, per process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import ip_address, ip_network

NAMES_MAX = 10_000
Clock = Callable[[], float]


class Buckets:
    """One bucket for each name: full at first, filled again evenly. What has not been used for longest is forgotten.

    size: how many at once. per_s: how many a second in the long run.
    """

    def __init__(self, size: float, per_s: float, clock: Clock = time.monotonic) -> None:
        self._size = size
        self._per_s = per_s
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> float:
        """Take one out; return 0, or after how many seconds there will be one."""
        level, now = self._level(name)
        if level < 1:
            self._keep(name, level, now)
            return (1 - level) / self._per_s
        self._keep(name, level - 1, now)
        return 0.0

    def wait_s(self, name: str) -> float:
        """Return what ``take`` would, and take nothing."""
        level, _ = self._level(name)
        return 0.0 if level >= 1 else (1 - level) / self._per_s

    def _level(self, name: str) -> tuple[float, float]:
        now = self._clock()
        level, since = self._levels.get(name, (self._size, now))
        return min(self._size, level + (now - since) * self._per_s), now

    def _keep(self, name: str, level: float, now: float) -> None:
        self._levels[name] = (level, now)
        self._levels.move_to_end(name)
        if len(self._levels) > NAMES_MAX:
            self._levels.popitem(last=False)


def neighbourhood(address: str) -> str:
    """Return what one client may be taken to own: an IPv4 address, or 64 bits of an IPv6 one."""
    try:
        found = ip_address(address)
    except ValueError:
        return address
    if found.version == 4:
        return address
    mapped = found.ipv4_mapped
    return str(mapped) if mapped is not None else str(ip_network((int(found), 64), strict=False))
