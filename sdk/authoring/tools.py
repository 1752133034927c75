"""Tools: user functions that nodes of type ``tool`` and agents call, by name, with their arguments by name.

A tool says by its hints what it takes (``web_search(query: str, limit: int = 10)``): arguments are converted and
checked by them, and models are told of them as a JSON Schema, together with the docstring. A parameter hinted as
``Context`` is given that of the attempt. ``async`` tools run on the worker's loop, plain ones in a thread.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from ...compiler.tool_names import HANDLER_PREFIX, TOOL_NAME_HINT, TOOL_NAME_PATTERN

if TYPE_CHECKING:
    from .tool_arguments import ToolArguments

CONTEXT_HINTS = frozenset({"Context", "courante.Context"})
_NAME = re.compile(TOOL_NAME_PATTERN.removesuffix("$"))
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Tool:
    """One registered function. ``takes``: the parameters that are arguments; ``context``: the one for the context.

    ``names``: see ``Hints``.
    """

    __slots__ = ("_arguments", "_names", "context", "description", "function", "is_async", "name", "takes")

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        description: str = "",
        names: Mapping[str, Any] | None = None,
    ) -> None:
        self.name = name
        self.function = function
        self.description = description or inspect.getdoc(function) or ""
        self.is_async = inspect.iscoroutinefunction(function)
        self.takes, self.context = _parameters(function, name)
        self._names = names
        self._arguments: ToolArguments | None = None

    @property
    def arguments(self) -> ToolArguments:
        """How its arguments are read, and its result is written."""
        if self._arguments is None:
            from .tool_arguments import ToolArguments  # it brings msgspec, which modules of tools shall not load

            self._arguments = ToolArguments(self.function, self.name, self.takes, self._names)
        return self._arguments


class ToolSet:
    """A registry of tools by name."""

    def __init__(self) -> None:
        self._tools: dict[str, Tool] = {}

    def add(
        self,
        function: Callable[..., Any],
        name: str,
        *,
        description: str = "",
        names: Mapping[str, Any] | None = None,
    ) -> None:
        """Register. description: for models; left out: the docstring. names: what the hints may name too.

        Raises ValueError for a name that is none or taken by another function, and for what takes no arguments by name.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name of a tool: {TOOL_NAME_HINT}")
        known = self._tools.get(name)
        if known is not None and _place(known.function) != _place(function):
            raise ValueError(f"two tools are named {name!r}: {_place(known.function)} and {_place(function)}")
        self._tools[name] = Tool(name, function, description=description, names=names)

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def names(self) -> list[str]:
        return sorted(self._tools)


def handler_of(tool: str) -> str:
    """Return what a tool is called among the handlers of a worker."""
    return f"{HANDLER_PREFIX}{tool}"


def shown_handler(handler: str) -> str:
    """Return what people call a handler: ``'shop.pack'``, ``tool 'shop.stock'``."""
    name = named_handler(handler)
    return repr(name) if name == handler else f"tool {name!r}"


def named_handler(handler: str) -> str:
    """Return the name of a handler, of a tool as documents have it."""
    return handler.removeprefix(HANDLER_PREFIX)


def handler_of_server(server: str) -> str:
    """The same for all tools of an MCP server."""
    return handler_of(f"{server}.*")


def lacking(wanted: Iterable[str], handlers: Collection[str]) -> set[str]:
    """Return the handlers that are wanted and not there; those of a server stand for all of its tools."""
    missing = set(wanted) - set(handlers)
    return {name for name in missing if not (_of_server(name) and _of_server(name) in handlers)}


def _of_server(handler: str) -> str:
    server, dot, _ = handler.partition(".")
    return f"{server}.*" if dot and handler.startswith(HANDLER_PREFIX) else ""


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}.{function.__qualname__}"


def _parameters(function: Callable[..., Any], name: str) -> tuple[tuple[inspect.Parameter, ...], str]:
    """Return the parameters that are arguments, and the name of the one for the context, empty where none is."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError as error:  # some built-in ones say nothing of it
        raise ValueError(f"tool {name!r}: nothing tells what it takes; wrap it in a function of your own") from error
    strange = [p for p in parameters if p.kind not in _NAMED]
    if strange:
        raise ValueError(f"tool {name!r}: {strange[0]} has no name to be given by; a tool takes its arguments by name")
    contexts = [p.name for p in parameters if is_context(p)]
    if len(contexts) > 1:
        raise ValueError(f"tool {name!r}: {contexts[0]!r} and {contexts[1]!r} are both the context")
    return tuple(p for p in parameters if p.name not in contexts), "".join(contexts)


def is_context(parameter: inspect.Parameter) -> bool:
    """Whether a parameter is hinted as the context of the attempt."""
    hint = parameter.annotation
    return (hint in CONTEXT_HINTS) if isinstance(hint, str) else getattr(hint, "__qualname__", "") == "Context"
