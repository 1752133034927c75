"""The provider ``echo``: a model that is none. It needs no key and no network, and is the same every time.

It answers ``request.echo`` where that is there; else, where JSON is wanted, the smallest value that fits the schema;
else the last user message. Where tools are offered it calls them by a script (``echo_script``). Usage is counted as if
four bytes were a token.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator

import anyio
import msgspec

from ...compiler.llm_config import ECHO
from ...sdk.spending.usage import Usage
from .answer import ModelAnswer, StopReason
from .echo_script import read_script
from .echo_values import smallest_value
from .request import ModelRequest, text_of

MODEL = "echo"
BYTES_PER_TOKEN = 4
SAID_CHARS_MAX = 200
"""Of the prompt, in the strings of an answer of a schema."""
_encode = msgspec.json.Encoder().encode


async def call_echo(request: ModelRequest, on_partial: Callable[[str], None]) -> ModelAnswer:
    """Answer. Words come one after the other where the answer is streamed."""
    scripted = read_script(request)
    text, stop_reason = _shortened(_said(request) if scripted is None else scripted.text, request)
    if request.stream:
        for piece in _pieces(text):
            on_partial(piece)
            await anyio.lowlevel.checkpoint()
    read = sum(map(_tokens, (request.system, *(text_of(message.content) for message in request.messages))))
    return ModelAnswer(
        provider=ECHO,
        model=request.model or MODEL,
        text=text,
        usage=Usage(input_tokens=read, output_tokens=_tokens(text)),
        stop_reason=StopReason.TOOLS if scripted is not None and scripted.calls else stop_reason,
        tool_calls=() if scripted is None else scripted.calls,
    )


def _said(request: ModelRequest) -> str:
    if request.echo is not None:
        return request.echo if isinstance(request.echo, str) else _encode(request.echo).decode()
    asked = next((text_of(each.content) for each in reversed(request.messages) if each.role == "user"), "")
    if request.schema is not None:
        return _encode(smallest_value(request.schema, asked[:SAID_CHARS_MAX])).decode()
    return _encode({"echo": asked}).decode() if request.wants_json else asked


def _shortened(text: str, request: ModelRequest) -> tuple[str, StopReason]:
    """As a real one does: not beyond a text that it stops at, nor beyond its tokens."""
    ends = [place for word in request.stop if word and (place := text.find(word)) >= 0]
    if ends:
        text = text[: min(ends)]
    content = text.encode()
    most = None if request.max_tokens is None else request.max_tokens * BYTES_PER_TOKEN
    if most is not None and len(content) > most:
        return content[:most].decode("utf-8", "ignore"), StopReason.LENGTH
    return text, StopReason.STOP if ends else StopReason.END


def _pieces(text: str) -> Iterator[str]:
    yield from re.findall(r"\S+\s*|\s+", text)


def _tokens(text: str) -> int:
    return math.ceil(len(text.encode()) / BYTES_PER_TOKEN)
