"""The plan of a benchmark: how often, and how much at once."""

from __future__ import annotations

import msgspec


class BenchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """``repetitions``: measured ones, after a warm-up. ``runs``: of one repetition, None for the benchmark's own."""

    repetitions: int
    runs: int | None = None

    def runs_or(self, default: int) -> int:
        return default if self.runs is None else max(1, self.runs)
