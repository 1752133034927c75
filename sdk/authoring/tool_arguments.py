"""Tool arguments: what the hints of a tool make of its arguments and its result, and the JSON Schema that models see.

Arguments are an object by the names of the parameters. What is missing, unknown or of another type is an error that
names the place (``$.limit: expected `int`, got `str```) and is never tried again.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, cast

import msgspec

from ..step_error import StepError
from .hints import Hints, placed

_REFERENCES = "#/$defs/{name}"


class ToolArguments:
    """Reads and writes JSON bytes for one tool. ``takes``: its parameters. May be used from any thread."""

    __slots__ = ("_decode", "_hints", "_names", "_struct", "_tool")

    def __init__(
        self,
        function: Callable[..., Any],
        tool: str,
        takes: Iterable[inspect.Parameter],
        names: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises StepError (CONFIG_INVALID) for a hint that cannot be used."""
        self._tool = tool
        self._hints = Hints(function, tool, None, names, kind="tool")
        self._names = tuple(each.name for each in takes)
        fields = [_field(each, self._hints.hint(each.name)) for each in takes]
        try:
            struct = msgspec.defstruct("Arguments", fields, kw_only=True, forbid_unknown_fields=True)
            self._decode = cast("Callable[[bytes], Any]", msgspec.json.Decoder(struct).decode)
        except (TypeError, ValueError) as error:
            raise StepError("CONFIG_INVALID", f"tool {tool!r}: its hints cannot be used: {error}") from error
        self._struct = struct

    def read(self, content: bytes) -> dict[str, Any]:
        """Return the arguments by name, defaults filled in. Raises StepError (INPUT_INVALID)."""
        try:
            found = self._decode(content)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise StepError("INPUT_INVALID", placed(error, f"the arguments of {self._tool!r}")) from error
        return {name: getattr(found, name) for name in self._names}

    def write(self, value: object) -> bytes:
        """Return a result as JSON. Raises StepError (OUTPUT_MISMATCH, CONFIG_INVALID)."""
        return self._hints.write(value)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the arguments: one object. Raises StepError (CONFIG_INVALID)."""
        try:
            _, parts = msgspec.json.schema_components([self._struct], ref_template=_REFERENCES)
        except TypeError as error:
            raise StepError("CONFIG_INVALID", f"tool {self._tool!r}: no schema tells its hints: {error}") from error
        found = dict(parts.pop("Arguments"))
        found.pop("title", None)
        return {**found, "$defs": parts} if parts else found


def _field(parameter: inspect.Parameter, hint: Any) -> tuple[Any, ...]:
    kind = Any if hint is inspect.Parameter.empty else hint
    if parameter.default is parameter.empty:
        return parameter.name, kind
    default: object = parameter.default
    if isinstance(default, list | dict | set | bytearray):
        return parameter.name, kind, msgspec.field(default_factory=partial(copy.deepcopy, cast("object", default)))
    return parameter.name, kind, default
