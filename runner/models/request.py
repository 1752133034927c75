"""What a model is asked: one request, in the form that all providers share. Pure.

Connectors turn it into the wire format of their provider and never change it.
"""

from __future__ import annotations

from typing import Any, Literal, cast

import msgspec

Role = Literal["user", "assistant", "tool"]
LIMITS = ("max_tokens", "max_completion_tokens")
"""Fields of ``extra`` that say how long an answer may be, instead of ``max_tokens``, ..."""
LIMIT_OF_RESPONSES = "max_output_tokens"
"""... in the format of OpenAI's responses beside them, ..."""
ANSWERS = ("n", "best_of")
"""... and how many are made."""
TURN_TOKENS = 50
"""What a format writes around a turn, at most, ..."""
TOOLS_TOKENS = 1_000
"""... what a model is told of tools beside those that it is offered, ..."""
PICTURE_TOKENS = 50_000
"""... what a picture takes, however many bytes it has and wherever it is (gpt-4o-mini: 48,169), ..."""
FILE_TOKENS = 2_000_000
"""... and all files together, as many as a model can read: a page of a PDF may have thousands in a few bytes."""
PICTURES = frozenset({"image", "image_url", "input_image"})
TEXTS = frozenset({"text", "input_text", "output_text", "refusal", "input_audio"})
"""Types of parts of which no token is less than a byte; those that are neither are files."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model asks for a tool. ``arguments``: JSON text as the model wrote it, which may be none.

    ``kept``: fields in the wire format of the provider, which it wants back with the result.
    """

    id: str
    name: str
    arguments: str
    kept: dict[str, Any] = {}


class ToolOffer(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that a model may ask for. ``name``: letters, digits, ``_`` and ``-``, at most 64."""

    name: str
    schema: dict[str, Any]
    description: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn. ``content``: text, or parts in the wire format of the provider, which are passed on as they are.

    ``tool_calls``: of an assistant. ``tool_call_id``, ``is_error``: of the result of a tool.
    ``kept``: by the wire format in which this turn came, fields in it, which go before those made of the others.
    """

    role: Role
    content: str | list[dict[str, Any]]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    is_error: bool = False
    kept: dict[str, dict[str, Any]] = {}


class ModelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``prompt_turns``: how many of the messages are the prompt, 0 for all of them; the others were said since.

    ``temperature``, ``max_tokens``, ``top_p``: None leaves them to the provider. ``max_file_tokens``: what all files in
    the prompt take at most, as far as the budget knows.

    ``wants_json``: the answer is to be JSON; ``schema``: of this shape. ``stream``: the answer comes piece by piece.
    ``extra``: further fields of the request body, which go before those made here. ``base_url``: another server than
    that of the worker's settings, which is sent no key but that of ``api_key_secret``. ``echo``: what the provider echo
    answers.
    """

    provider: str
    model: str
    system: str = ""
    messages: tuple[Message, ...] = ()
    prompt_turns: int = 0
    temperature: float | None = None
    max_tokens: int | None = None
    max_file_tokens: int = FILE_TOKENS
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

    @property
    def prompt(self) -> tuple[Message, ...]:
        return self.messages[: self.prompt_turns or None]


def text_of(content: str | list[dict[str, Any]]) -> str:
    """Return the text of a content; parts that are no text are left out."""
    if isinstance(content, str):
        return content
    return "\n".join(str(part["text"]) for part in content if isinstance(part.get("text"), str))


def input_tokens_max(request: ModelRequest) -> int:
    """Return how many tokens a model is given to read at most: no token of a text is less than a byte.

    What is in a file, its bytes do not say, here or elsewhere.
    """
    texts, pictures, has_files = list[object](), 0, False
    for turn in request.messages:
        parts = turn.content if isinstance(turn.content, list) else []
        read = [part for part in parts if _is_text(part)]
        shown = sum(part.get("type") in PICTURES for part in parts)
        pictures, has_files = pictures + shown, has_files or len(read) + shown < len(parts)
        texts.append(msgspec.structs.replace(turn, content=read) if parts else turn)
    told = (request.system, texts, request.schema, request.tools, *([request.extra] if request.extra else []))
    tools = TOOLS_TOKENS if request.tools else 0
    files = request.max_file_tokens if has_files else 0
    return len(msgspec.json.encode(told)) + len(texts) * TURN_TOKENS + pictures * PICTURE_TOKENS + files + tools


def _is_text(part: dict[str, Any]) -> bool:
    if part.get("type") == "document":
        source = part.get("source")
        return isinstance(source, dict) and cast("dict[str, Any]", source).get("type") == "text"
    return part.get("type") in TEXTS


def output_tokens_max(request: ModelRequest) -> int | None:
    """Return how many tokens the provider may make at most; None where the request does not say."""
    extra = request.extra
    limits = [extra[name] for name in LIMITS if name in extra] or [request.max_tokens]
    limits += [extra[LIMIT_OF_RESPONSES]] if LIMIT_OF_RESPONSES in extra else []
    counts = [limit for limit in limits if isinstance(limit, int) and limit > 0]
    if len(counts) < len(limits):
        return None
    return max(counts) * max((extra[name] for name in ANSWERS if isinstance(extra.get(name), int)), default=1)
