"""A tool in Python: ``async`` ones on the loop, plain ones in a thread, through the middleware of all steps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import anyio.to_thread

from ...sdk.authoring.around import Middleware, call_through
from ...sdk.authoring.context import Context
from ...sdk.authoring.deferral import Deferred
from ...sdk.authoring.tools import Tool
from ...sdk.outcomes.step_context import StepError
from ..interruptions import interrupts_nobody_else
from .offer import ToolOffer


class PythonTool:
    """A registered function. ``around``: the middleware, outermost first."""

    def __init__(self, tool: Tool, around: Sequence[Middleware] = ()) -> None:
        self._tool = tool
        self._around = around

    @property
    def name(self) -> str:
        return self._tool.name

    async def offer(self) -> ToolOffer:
        tool = self._tool
        return ToolOffer(name=tool.name, description=tool.description, schema=tool.arguments.schema())

    async def call(self, arguments: bytes, context: Context, limit_s: float | None = None) -> bytes:
        del limit_s
        tool = self._tool
        given = tool.arguments.read(arguments)
        named = given | ({tool.context: context} if tool.context else {})

        async def run() -> Any:
            if tool.is_async:
                return await tool.function(**named)
            # A worker that is told to stop at once does not wait for a thread; nobody can stop one.
            return await anyio.to_thread.run_sync(partial(tool.function, **named), abandon_on_cancel=True)

        with interrupts_nobody_else("the tool"):
            result = await (call_through(self._around, tool.name, given, context, run) if self._around else run())
        if isinstance(result, Deferred):
            raise StepError("OUTPUT_MISMATCH", f"the tool {tool.name!r} cannot end later: only steps are handed out")
        return tool.arguments.write(result)
