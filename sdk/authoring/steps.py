"""Steps: user functions that nodes of type ``function`` call, by name, and what stands around them.

A function takes nothing, its input, its input and a ``Context``, or the ``Context`` alone; it returns a JSON value, or
what its hints say (``hints``). ``async`` functions run on the worker's loop, plain ones in a thread, those of
``isolation="process"`` in a process of their own. Raise ``FatalError`` for what no retry can mend; any exception is a
failure of the attempt, and judged by its type (docs/reference/errors.md).
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar, overload

from ..user_errors import FatalError, HttpError, RetryableError
from .around import Middleware
from .tools import ToolSet, handler_of, is_context

if TYPE_CHECKING:
    from .hints import Hints

__all__ = [
    "REGISTRY",
    "FatalError",
    "HttpError",
    "Isolation",
    "RetryableError",
    "Step",
    "Steps",
    "lifespan",
    "middleware",
    "step",
    "tool",
]
F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=Middleware)
Isolation: TypeAlias = Literal["none", "process"]
ISOLATIONS = ("none", "process")
Lifespan: TypeAlias = Callable[[], AbstractAsyncContextManager[Mapping[str, Any] | None]]


class Step:
    """One registered function. What it takes comes in this order: its input, its context.

    ``given``: the parameter that takes the input, None where none does. ``names``: see ``Hints``.
    """

    __slots__ = ("_hints", "_names", "function", "given", "is_async", "isolation", "name", "takes_context")

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        given: str | None,
        takes_context: bool,
        isolation: Isolation = "none",
        names: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.given = given
        self.takes_context = takes_context
        self.isolation = isolation
        self._names = names
        self._hints: Hints | None = None

    @property
    def takes_input(self) -> bool:
        return self.given is not None

    @property
    def hints(self) -> Hints:
        """How its input is read and its output written."""
        if self._hints is None:
            from .hints import Hints  # it brings msgspec, which modules of steps shall not load

            self._hints = Hints(self.function, self.name, self.given, self._names)
        return self._hints

    def arguments(self, given: Any, context: Any) -> list[Any]:
        """What to call it with, of the two."""
        if self.takes_context:
            return [given, context] if self.takes_input else [context]
        return [given] if self.takes_input else []


class Steps:
    """A registry of steps by name, with the middleware around all of them, outermost first, and what they share.

    ``tools``: those that are registered beside them.
    """

    def __init__(self) -> None:
        self.tools = ToolSet()
        self._steps: dict[str, Step] = {}
        self.around: list[Middleware] = []
        self.lifespans: list[Lifespan] = []

    def add(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        isolation: Isolation = "none",
        names: Mapping[str, Any] | None = None,
    ) -> None:
        """Register. names: what the hints may name beside their module.

        Raises ValueError for a name that is taken by another function, or a signature with too much.
        """
        known = self._steps.get(name)
        if known is not None and _place(known.function) != _place(function):
            raise ValueError(f"two steps are named {name!r}: {_place(known.function)} and {_place(function)}")
        if isolation not in ISOLATIONS:
            raise ValueError(f"step {name!r}: isolation is 'none' or 'process', not {isolation!r}")
        given, takes_context = _parameters(function, name)
        self._steps[name] = Step(
            name, function, given=given, takes_context=takes_context, isolation=isolation, names=names
        )

    def add_middleware(self, function: Middleware) -> None:
        """Put middleware inside of all that is there. The same function, imported again, takes its own place."""
        _put(self.around, function)

    def add_lifespan(self, function: Callable[[], Any]) -> None:
        """Take an async generator function, or what makes an async context manager. Each gives a mapping, or nothing.

        Opened in this order when a worker begins, closed in the other one when it has ended.
        """
        _put(self.lifespans, asynccontextmanager(function) if inspect.isasyncgenfunction(function) else function)

    def get(self, name: str) -> Step | None:
        return self._steps.get(name)

    def names(self) -> list[str]:
        return sorted(self._steps)

    def handlers(self) -> list[str]:
        """What a worker that has these steps announces: their names, and those of the tools as ``handler_of`` says."""
        return [*self.names(), *map(handler_of, self.tools.names())]


def _put(known: list[Any], function: Callable[..., Any]) -> None:
    for number, each in enumerate(known):
        if _place(each) == _place(function) and "<locals>" not in _place(each):
            known[number] = function
            return
    known.append(function)


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _parameters(function: Callable[..., Any], name: str) -> tuple[str | None, bool]:
    """Return the name of the parameter that takes the input, and whether there is one for the context."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:  # some built-in ones say nothing of it
        raise ValueError(f"step {name!r}: nothing tells what it takes; wrap it in a function of your own") from error
    taken = [p for p in parameters if p.kind in kinds]
    needed = [p for p in taken if p.default is p.empty]
    needed += [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) > 2 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise ValueError(f"step {name!r}: a step takes (), (input), (input, context) or (context)")
    if not taken:
        return None, False
    if is_context(taken[0]):
        if len(needed) > 1:
            raise ValueError(f"step {name!r}: the context comes behind the input")
        return None, True
    return taken[0].name, len(taken) > 1


REGISTRY = Steps()
"""What ``@step``, ``@tool``, ``@middleware`` and ``@lifespan`` fill: importing a module of steps registers them."""


@overload
def step(function: F, /) -> F: ...
@overload
def step(name: str = "", /, *, isolation: Isolation = "none") -> Callable[[F], F]: ...
def step(function: F | str = "", /, *, isolation: Isolation = "none") -> F | Callable[[F], F]:
    """Register a function as a step: ``@step`` under ``module.function``, ``@step("name")`` under a name.

    isolation: ``process`` runs it in a process of its own, which is killed when its time is up.
    """
    visible = _visible(inspect.currentframe())
    if not isinstance(function, str):
        REGISTRY.add(function, f"{function.__module__}.{function.__qualname__}", names=visible)
        return function
    name = function

    def register(inner: F) -> F:
        REGISTRY.add(inner, name or f"{inner.__module__}.{inner.__qualname__}", isolation=isolation, names=visible)
        return inner

    return register


@overload
def tool(function: F, /) -> F: ...
@overload
def tool(name: str = "", /, *, description: str = "") -> Callable[[F], F]: ...
def tool(function: F | str = "", /, *, description: str = "") -> F | Callable[[F], F]:
    """Register a function as a tool: ``@tool`` under its own name, ``@tool("name")`` under another one.

    description: what models are told of it; left out: its docstring.
    """
    visible = _visible(inspect.currentframe())
    if not isinstance(function, str):
        REGISTRY.tools.add(function, function.__name__, names=visible)
        return function
    name = function

    def register(inner: F) -> F:
        REGISTRY.tools.add(inner, name or inner.__name__, description=description, names=visible)
        return inner

    return register


def _visible(frame: FrameType | None) -> dict[str, Any] | None:
    """Return the names of the function in which a step is defined: a hint may name its classes."""
    outside = None if frame is None else frame.f_back
    return None if outside is None or outside.f_locals is outside.f_globals else dict(outside.f_locals)


def middleware(function: M, /) -> M:
    """Put an async function around every step: it is given the call, awaits it, and returns what comes of it."""
    REGISTRY.add_middleware(function)
    return function


L = TypeVar("L", bound=Callable[[], AsyncIterator[Any]] | Lifespan)


def lifespan(function: L, /) -> L:
    """Share resources between the steps of a worker: an async generator function that yields them once, as a mapping.

    What stands before the ``yield`` runs when a worker begins, what stands behind it when it ends. Steps find them in
    ``context.resources``.
    """
    REGISTRY.add_lifespan(function)
    return function
