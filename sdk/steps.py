"""Steps: user functions that nodes of type ``function`` call, by name.

A function takes nothing, its input, or its input and a ``Context``; it returns a JSON value. ``async`` functions run
on the worker's loop, plain ones in a thread. Raise ``FatalError`` for what no retry can mend; any exception is a
failure of the attempt, and judged by its type (docs/reference/errors.md).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, overload

from .user_errors import FatalError, HttpError, RetryableError

__all__ = ["REGISTRY", "FatalError", "HttpError", "RetryableError", "Step", "Steps", "step"]
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Step:
    """One registered function. ``arity``: how many of (input, context) it takes."""

    name: str
    function: Callable[..., Any]
    is_async: bool
    arity: int


class Steps:
    """A registry of steps by name."""

    def __init__(self) -> None:
        self._steps: dict[str, Step] = {}

    def add(self, function: Callable[..., Any], name: str) -> None:
        """Register. Raises ValueError for a name that is taken by another function, or a signature with too much."""
        known = self._steps.get(name)
        if known is not None and _place(known.function) != _place(function):
            raise ValueError(f"two steps are named {name!r}: {_place(known.function)} and {_place(function)}")
        self._steps[name] = Step(name, function, inspect.iscoroutinefunction(function), _arity(function, name))

    def get(self, name: str) -> Step | None:
        return self._steps.get(name)

    def names(self) -> list[str]:
        return sorted(self._steps)


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _arity(function: Callable[..., Any], name: str) -> int:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:  # some built-in ones say nothing of it
        raise ValueError(f"step {name!r}: nothing tells what it takes; wrap it in a function of your own") from error
    taken = [p for p in parameters if p.kind in kinds]
    needed = [p for p in taken if p.default is p.empty]
    needed += [p for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    if len(needed) > 2 or any(p.kind is p.KEYWORD_ONLY for p in needed):
        raise ValueError(f"step {name!r}: a step takes (), (input) or (input, context)")
    return min(len(taken), 2)


REGISTRY = Steps()
"""What ``@step`` fills: importing a module of steps registers them."""


@overload
def step(function: F, /) -> F: ...
@overload
def step(name: str, /) -> Callable[[F], F]: ...
def step(function: F | str, /) -> F | Callable[[F], F]:
    """Register a function as a step: ``@step`` under ``module.function``, ``@step("name")`` under a name."""
    if isinstance(function, str):
        name = function

        def register(inner: F) -> F:
            REGISTRY.add(inner, name)
            return inner

        return register
    REGISTRY.add(function, f"{function.__module__}.{function.__qualname__}")
    return function
