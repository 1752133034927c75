"""A gauge: steps that wait at a gate, and who was there."""

from __future__ import annotations

from typing import Any

import anyio


class Gauge:
    """``work`` is the step. ``inside``: how many are at the gate; ``most``: at once, ever; ``order``: who came when."""

    def __init__(self) -> None:
        self.gate = anyio.Event()
        self.inside = self.most = 0
        self.order: list[Any] = []

    async def work(self, given: Any) -> Any:
        self.inside += 1
        self.most = max(self.most, self.inside)
        self.order.append(given)
        await self.gate.wait()
        await anyio.lowlevel.checkpoint()
        self.inside -= 1
        return given
