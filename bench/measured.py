"""What a benchmark has found: samples of one figure, and what they were measured on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import median

import msgspec

from .machine import Machine, commit

DIGITS = 4
"""Significant digits of a figure; more would be noise."""


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """``ratios``: per sample the rate over the one of ``limit`` next to it; only where the figure is a rate.

    ``more``: further figures.
    """

    question: str
    unit: str
    samples: Sequence[float]
    machine: Machine
    ratios: Sequence[float] = ()
    more: Mapping[str, object] = {}

    def as_dict(self, name: str) -> dict[str, object]:
        """Return it as JSON values. ``samples`` is their number; ``ratio`` is None where the figure is no rate."""
        ordered = sorted(self.samples)
        found: dict[str, object] = {
            "name": name,
            "question": self.question,
            "unit": self.unit,
            "median": figure(median(ordered)),
            "p99": figure(percentile(ordered, 99)),
            "min": figure(ordered[0]),
            "max": figure(ordered[-1]),
            "samples": len(ordered),
            "ratio": figure(median(self.ratios)) if self.ratios else None,
            **self.more,
            "machine": msgspec.to_builtins(self.machine),
        }
        version = commit()
        if version:
            found["commit"] = version
        return found


def figure(value: float) -> float | int:
    """Round to the digits that mean something; whole where they are."""
    if not value:
        return 0
    rounded = round(value, DIGITS - 1 - math.floor(math.log10(abs(value))))
    return int(rounded) if abs(rounded) >= 10 ** (DIGITS - 1) else rounded


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the smallest sample that ``percent`` of them do not exceed (nearest rank)."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
