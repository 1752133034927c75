"""The toolbox: what a worker has for the nodes that it runs, and lends to its steps (``Context.tools``)."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from ..sdk.steps import Steps
from .cells import Cells


@dataclass(slots=True, kw_only=True)
class Toolbox:
    """``worker``: its name, which its consumers and events bear."""

    steps: Steps
    worker: str
    cells: Cells
    resources: Mapping[str, Any] = field(default_factory=dict[str, Any])


@asynccontextmanager
async def open_toolbox(steps: Steps, worker: str, *, processes: int = 0) -> AsyncGenerator[Toolbox]:
    """Open what the lifespans of the steps share. Raises what they raise, ValueError where two give the same name.

    processes: of steps that run apart, at once; 0: as many as there are processors.
    """
    resources: dict[str, Any] = {}
    async with AsyncExitStack() as stack:
        for each in steps.lifespans:
            shared = await stack.enter_async_context(each()) or {}
            twice = resources.keys() & shared.keys()
            if twice:
                raise ValueError(f"two lifespans give {', '.join(sorted(map(repr, twice)))}")
            resources.update(shared)
        cells = Cells(processes or os.cpu_count() or 1)
        stack.push_async_callback(cells.close)
        yield Toolbox(steps=steps, worker=worker, cells=cells, resources=resources)
