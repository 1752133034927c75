"""Steps that count how often they were made, and a document that uses them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import anyio


class Journal:
    """``made``: by (input, node). ``slow`` takes a moment, ``gated`` until ``gate`` is set."""

    def __init__(self) -> None:
        self.made: Counter[tuple[Any, str]] = Counter()
        self.gate = anyio.Event()

    def steps(self) -> dict[str, Callable[..., Any]]:
        return {"quick": self.quick, "slow": self.slow, "gated": self.gated}

    async def quick(self, value: Any, context: Any) -> Any:
        self.made[value, context.node] += 1
        return value

    async def slow(self, value: Any, context: Any) -> Any:
        self.made[value, context.node] += 1
        await anyio.sleep(0.01)
        return value

    async def gated(self, value: Any, context: Any) -> Any:
        self.made[value, context.node] += 1
        await self.gate.wait()
        return value

    async def count(self) -> int:
        return sum(self.made.values())


def step(id: str, handler: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"id": id, "type": "function", "config": {"handler": handler}, **more}
    return made | ({"depends_on": list(depends_on)} if depends_on else {})


LONG = [
    step("a", "quick"),
    step("b", "slow", "a"),
    step("c", "slow", "a"),
    {"id": "w", "type": "wait", "depends_on": ["a"], "config": {"for": "150ms"}},
    step("d", "quick", "b", "c", "w", input="input"),
    step("e", "slow", "d"),
]
"""Everything that a run may be in the middle of: steps at hand, a half-filled join, a timer."""
GATED = [step("a", "quick"), step("g", "gated", "a"), step("b", "quick", "g")]
"""A run that stays where it is until somebody opens the gate."""
