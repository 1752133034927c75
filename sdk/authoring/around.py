"""Around: middleware, async functions through which every call of a step goes, outermost first.

What stands before ``await call()`` runs before the step, what stands behind it after; ``try`` around it sees its error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from .context import Context


@dataclass(frozen=True, slots=True, eq=False)
class StepCall:
    """One call of a step, on its way through the middleware. ``input``: as the step will be given it.

    Calling it runs what is further inside, and gives the step's output. It may be called again, or not at all.
    """

    step: str
    input: Any
    context: Context
    inside: Callable[[], Awaitable[Any]]

    async def __call__(self) -> Any:
        return await self.inside()


Middleware: TypeAlias = Callable[[StepCall], Awaitable[Any]]


def call_through(
    around: Sequence[Middleware], step: str, given: Any, context: Context, run: Callable[[], Awaitable[Any]]
) -> Awaitable[Any]:
    """Return the call of ``run`` through all middleware."""
    inside = run
    for each in reversed(around):
        inside = _layer(each, StepCall(step, given, context, inside))
    return inside()


def _layer(function: Middleware, call: StepCall) -> Callable[[], Awaitable[Any]]:
    return lambda: function(call)
