"""Joins: what has arrived at one, and how it settles (token-rules.md, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

from chaos.oracles.graph import Node


@dataclass
class Record:
    """Arrivals at a join. ``told``: a loop's word to a gate, ``back`` or ``exit``."""

    live: int = 0
    dead: int = 0
    failed: int = 0
    is_settled: bool = False
    told: str = ""

    @property
    def count(self) -> int:
        return self.live + self.dead + bool(self.told)

    def add(self, status: str) -> None:
        self.live += status == "live"
        self.dead += status in {"dead", "failed"}
        self.failed += status == "failed"


def verdict_of(node: Node, record: Record, arity: int) -> str:
    """How a join settles with these arrivals: fired, died or failed; empty: not yet."""
    if node.is_gate:
        if record.told == "exit" and record.live + record.dead:
            return "fired" if record.live else "failed" if record.failed else "died"
        return ""
    is_full = record.count == arity
    fires = {
        "all": is_full and record.live > 0 and not record.failed,
        "every": record.live == arity,
        "any": record.live >= 1,
        "at_least": record.live >= node.need,
    }[node.join]
    if fires:
        return "fired"
    return ("failed" if record.failed else "died") if is_full else ""
