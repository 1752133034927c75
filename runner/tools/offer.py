"""What every kind of tool is to those who call it: something that says what it takes, and takes it."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from ...sdk.authoring.context import Context
from ...sdk.json_values import encode_value
from ...sdk.outcomes.step_context import StepError, decode_json

CALL_S = 600.0
"""Of a call whose node has no timeout: a server that never answers keeps nobody for ever."""


class ToolOffer(msgspec.Struct, frozen=True, kw_only=True):
    """What a model is told of a tool. ``schema``: of its arguments, an object."""

    name: str
    description: str = ""
    schema: dict[str, Any]


class CallableTool(Protocol):
    """One tool in a worker's hands."""

    @property
    def name(self) -> str: ...

    async def offer(self) -> ToolOffer:
        """Say what it takes. Raises StepError where it cannot be used, and what asking for it raises."""
        ...

    async def call(self, arguments: bytes, context: Context, limit_s: float | None = CALL_S) -> bytes:
        """Return its result as JSON. arguments: a JSON object. Raises whatever goes wrong.

        limit_s: how long others than this worker may take for it; None: as long as the attempt has.
        """
        ...


def read_arguments(content: bytes) -> dict[str, Any]:
    """Return arguments by name; null is none. Raises StepError (INPUT_INVALID)."""
    value = decode_json(content)
    if value is None:
        return {}
    if not isinstance(value, dict):
        kind = "a list" if isinstance(value, list) else "a value that is no object"
        raise StepError("INPUT_INVALID", f"the arguments of a tool are an object, their names and values, not {kind}")
    return value  # pyright: ignore[reportUnknownVariableType]


def write_arguments(arguments: dict[str, Any]) -> bytes:
    return encode_value(arguments)
