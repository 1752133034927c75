"""Series: counters, gauges and histograms in plain dicts. Pure.

One event loop writes them, without locks; any thread may read (``copy`` is one step of the interpreter). What is
counted often binds its key, or its ``Spread``, once and keeps it. What is read of servers is set as a whole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from typing import Literal, NamedTuple

SECONDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
"""Upper bounds of the buckets of every histogram of times, s."""
PLACES_MAX = 500
OTHER = "other"
Key = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram"]


class Told(NamedTuple):
    """What a histogram has of one key. ``buckets``: not cumulative, the last one without a bound. ``total``: s."""

    buckets: tuple[int, ...]
    total: float


class Series:
    """A counter or a gauge. ``labels``: names, in the order of each key."""

    def __init__(self, name: str, help: str, *labels: str, kind: Kind = "counter") -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self.kind: Kind = kind
        self._values: dict[Key, float] = {}

    def add(self, key: Key, count: float = 1) -> None:
        self._values[key] = self._values.get(key, 0) + count

    def set(self, values: Mapping[Key, float]) -> None:
        """Let exactly these stand."""
        self._values = dict(values)

    def values(self) -> dict[Key, float]:
        return self._values.copy()


class Spread:
    """How one thing that takes time is spread over the buckets."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def join(self, other: Spread) -> None:
        """Add what another one has."""
        self.buckets = [own + more for own, more in zip(self.buckets, other.buckets, strict=True)]
        self.total += other.total

    def told(self) -> Told:
        return Told(tuple(self.buckets), self.total)


class Spreads:
    """A histogram of times."""

    kind: Kind = "histogram"

    def __init__(self, name: str, help: str, *labels: str) -> None:
        self.name = name
        self.help = help
        self.labels = labels
        self._spreads: dict[Key, Spread] = {}

    def of(self, key: Key) -> Spread:
        found = self._spreads.get(key)
        if found is None:
            found = self._spreads[key] = Spread()
        return found

    def values(self) -> dict[Key, Told]:
        return {key: spread.told() for key, spread in self._spreads.copy().items()}


class Places:
    """Bounds labels: of so many workflows and steps each is told, all later ones together are ``other``."""

    def __init__(self, most: int = PLACES_MAX) -> None:
        self._most = most
        self._known: dict[Key, Key] = {}

    def place(self, *key: str) -> Key:
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= self._most:
                return (OTHER,) * len(key)
            found = self._known[key] = key
        return found
