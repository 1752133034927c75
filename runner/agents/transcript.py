"""The transcript of an agent: all that was said since its prompt. It survives the worker that has it in hand.

It is stored as a payload after every answer of the model and every result of a tool; the details of a heartbeat say
where it is. So the next worker asks the model again what it had not answered yet, and calls again the tools that had
not answered, each with the idempotency key that it had before. What was spent and is not in the log yet goes along.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from ...sdk.payloads import PayloadMissing
from ...sdk.spending.spent import NOTHING, Spent
from ..models.request import Message, ToolCall

if TYPE_CHECKING:
    from ..toolbox import Toolbox
    from ..work import Work

log = structlog.get_logger()


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

    def open_calls(self) -> list[tuple[int, ToolCall]]:
        """Return what the model has asked for and not been told yet, with its place in the model's answer."""
        answer = next((each for each in reversed(self.messages) if each.role == "assistant"), None)
        if answer is None:
            return []
        return [(at, call) for at, call in enumerate(answer.tool_calls) if call.id not in self.called]

    def with_answer(self, message: Message) -> Transcript:
        return msgspec.structs.replace(self, turns=self.turns + 1, messages=(*self.messages, message))

    def with_message(self, message: Message) -> Transcript:
        return msgspec.structs.replace(self, messages=(*self.messages, message))

    def with_result(self, call: ToolCall, called: Called, content: str) -> Transcript:
        message = Message(role="tool", content=content, tool_call_id=call.id, is_error=bool(called.error))
        found = {**self.called, call.id: called}
        return msgspec.structs.replace(self, messages=(*self.messages, message), called=found)


class _Kept(msgspec.Struct, frozen=True):
    """The details of a heartbeat. ``transcript``: the digest of the payload."""

    transcript: str


async def keep_transcript(transcript: Transcript, work: Work, tools: Toolbox) -> None:
    """Store it, and report where it is. Waits for a Redis that is away. Raises StepError for one that is too large."""
    assert tools.blobs is not None
    assert work.held is not None
    now = msgspec.structs.replace(transcript, attempt=work.attempt, spent=work.spent)
    address = await tools.blobs.keep(msgspec.json.encode(now))
    work.held.report(msgspec.json.encode(_Kept(address)))


async def load_transcript(work: Work, tools: Toolbox) -> Transcript:
    """Return what the worker or the attempt before has left, an empty one where nothing is or it cannot be had."""
    assert work.held is not None
    if work.held.last_report is None or tools.blobs is None:
        return Transcript()
    try:
        kept = msgspec.json.decode(work.held.last_report, type=_Kept)
        return msgspec.json.decode(await tools.blobs.load(kept.transcript, tools.cold), type=Transcript)
    except (msgspec.MsgspecError, PayloadMissing) as error:
        log.warning("transcript_missing", run_id=work.run_id, node=work.node.id, error=str(error))
        return Transcript()
