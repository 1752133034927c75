"""What a model is asked: one request, in the form that all providers share. Pure.

Connectors turn it into the wire format of their provider and never change it.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["user", "assistant", "tool"]
LIMITS = ("max_tokens", "max_completion_tokens")
"""Fields of ``extra`` that say how long an answer may be, instead of ``max_tokens``, ..."""
ANSWERS = ("n", "best_of")
"""... and how many are made."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A model asks for a tool. ``arguments``: JSON text as the model wrote it, which may be none."""

    id: str
    name: str
    arguments: str


class ToolOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a model may ask for. ``name``: letters, digits, ``_`` and ``-``, at most 64."""

    name: str
    schema: dict[str, Any]
    description: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One turn. ``content``: text, or parts in the wire format of the provider, which are passed on as they are.

    ``tool_calls``: of an assistant. ``tool_call_id``, ``is_error``: of the result of a tool.
    """

    role: Role
    content: str | list[dict[str, Any]]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``temperature``, ``max_tokens``, ``top_p``: None leaves them to the provider.

    ``wants_json``: the answer is to be JSON; ``schema``: of this shape. ``stream``: the answer comes piece by piece.
    ``extra``: further fields of the request body, which go before those made here. ``base_url``: another server than
    that of the worker's settings, which is sent no key but that of ``api_key_secret``. ``echo``: what the provider echo
    answers.
    """

    provider: str
    model: str
    system: str = ""
    messages: tuple[Message, ...] = ()
    temperature: float | None = None
    max_tokens: int | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    wants_json: bool = False
    schema: dict[str, Any] | None = None
    stream: bool = False
    tools: tuple[ToolOffer, ...] = ()
    extra: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    base_url: str = ""
    api_key_secret: str = ""
    echo: Any = None


def text_of(content: str | list[dict[str, Any]]) -> str:
    """Return the text of a content; parts that are no text are left out."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in content if isinstance(part.get("text"), str))


def input_bytes(request: ModelRequest) -> int:
    """Return how many bytes a model is given to read: at least as many as tokens, for no token is less than a byte."""
    told = (
        request.system,
        request.messages,
        request.schema,
        request.tools,
        *([request.extra] if request.extra else []),
    )
    return len(msgspec.json.encode(told))


def output_tokens_max(request: ModelRequest) -> int | None:
    """Return how many tokens the provider may make at most; None where the request does not say."""
    extra = request.extra
    limits = [extra[name] for name in LIMITS if name in extra] or [request.max_tokens]
    counts = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if len(counts) < len(limits):
        return None
    return max(counts) * max((extra[name] for name in ANSWERS if isinstance(extra.get(name), int)), default=1)
