"""What a model has answered, in the form that all providers share. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from ...sdk.spending.usage import Usage
from .request import ToolCall


class StopReason(StrEnum):
    """Why an answer ends."""

    END = "end"
    """The model had said all."""
    LENGTH = "length"
    """It had no tokens left: the answer is cut off."""
    STOP = "stop"
    """It came to one of the texts of ``stop``."""
    TOOLS = "tools"
    """It waits for the results of tools."""
    REFUSAL = "refusal"
    """It does not want to, or was not allowed to."""


class ModelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """``text``: of all parts that are text, in order. ``model``: as the provider names it.

    ``kept``: by the wire format, fields of the turn that are wanted back when it is sent again (``Message.kept``).
    ``is_usage_told``: else ``usage`` is nothing, and nobody knows what the call took.
    """

    provider: str
    model: str
    text: str
    usage: Usage
    is_usage_told: bool = True
    stop_reason: StopReason = StopReason.END
    tool_calls: tuple[ToolCall, ...] = ()
    kept: dict[str, dict[str, Any]] = {}
