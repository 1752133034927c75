"""The transcript of an agent: all that was said since its prompt. It survives the worker that has it in hand.

It is stored after every answer of the model and every result of a tool (``transcript_store``). So the next worker asks
the model again what it had not answered yet, and calls again the tools that had not answered, each with the idempotency
key that it had before. What was spent and is not in the log yet goes along.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ...sdk.spending.spent import NOTHING, Spent
from ..models.request import Message, ToolCall


class Called(msgspec.Struct, frozen=True, kw_only=True):
    """One call of a tool. ``result``: what it gave, where ``error`` is empty. ``duration_ms``: in whole ms."""

    tool: str
    arguments: Any
    result: Any = None
    error: str = ""
    duration_ms: int = 0

    def told(self) -> dict[str, Any]:
        """As it stands in the output."""
        return {
            "tool": self.tool,
            "arguments": self.arguments,
            "result": self.result,
            "error": self.error or None,
            "duration_ms": self.duration_ms,
        }


class Transcript(msgspec.Struct, frozen=True, kw_only=True):
    """``turns``: answers of the model. ``messages``: after the prompt, with the result of each call behind its answer.

    ``called``: by the id of the call, in the order of their ends. Of the attempt that wrote it: ``attempt``;
    ``spent``: what it has taken that no event tells; ``lost``: deliveries whose lost calls are in the log.
    """

    turns: int = 0
    messages: tuple[Message, ...] = ()
    called: dict[str, Called] = {}
    attempt: int = 0
    spent: Spent = NOTHING
    lost: int = 0

    @property
    def text(self) -> str:
        """The last answer of the model."""
        last = next((each for each in reversed(self.messages) if each.role == "assistant"), None)
        return str(last.content) if last is not None else ""

    @property
    def is_answered(self) -> bool:
        """Whether the model has said something last, and wants no tool."""
        return bool(self.messages) and self.messages[-1].role == "assistant" and not self.messages[-1].tool_calls

    @property
    def asked(self) -> tuple[ToolCall, ...]:
        """What the last answer of the model asks for."""
        answer = next((each for each in reversed(self.messages) if each.role == "assistant"), None)
        return answer.tool_calls if answer is not None else ()

    def open_calls(self) -> list[tuple[int, ToolCall]]:
        """Return what the model has asked for and not been told yet, with its place in the model's answer."""
        return [(at, call) for at, call in enumerate(self.asked) if call.id not in self.called]

    def with_answer(self, message: Message) -> Transcript:
        return msgspec.structs.replace(self, turns=self.turns + 1, messages=(*self.messages, message))

    def with_message(self, message: Message) -> Transcript:
        return msgspec.structs.replace(self, messages=(*self.messages, message))

    def with_result(self, call: ToolCall, called: Called, content: str) -> Transcript:
        message = Message(role="tool", content=content, tool_call_id=call.id, is_error=bool(called.error))
        found = {**self.called, call.id: called}
        return msgspec.structs.replace(self, messages=(*self.messages, message), called=found)
