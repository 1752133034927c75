"""Wire: what a connector is, and what the wire formats have in common. Pure."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

import msgspec

from ...sdk.http.server_events import ServerEvent
from ...sdk.secrets.redaction import REDACTOR
from ...sdk.spending.usage import Usage
from ...sdk.step_error import StepError
from ...sdk.user_errors import HttpError
from .answer import ModelAnswer
from .request import ModelRequest

ONLY_JSON = "Return only valid JSON"
REFUSALS = frozenset({401, 402, 403, 404, 413, 429, 529})
"""Statuses of who is not let in. A server may find out about the others when it is at work."""
SHOWN_MAX = 200
TEXT_CHARS_MAX = 16 * 1024 * 1024
T = TypeVar("T")
_encode = msgspec.json.Encoder().encode


class AnswerStream(Protocol):
    """Puts one answer together from the events of a stream."""

    def take(self, event: ServerEvent) -> str:
        """Take an event and return the piece of text in it. Raises StepError, ToldFailure."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the model has said all; what follows, if anything, is only the usage."""
        ...

    def answer(self, request: ModelRequest) -> ModelAnswer:
        """Return what has come until now. Raises StepError, ToldFailure."""
        ...


class Connector(Protocol):
    """Speaks the wire format of one provider. ``key_name``: of the secret with its key."""

    key_name: str

    def url(self, base_url: str) -> str: ...

    def headers(self, key: str) -> dict[str, str]:
        """Return those of the format. key: nothing where none is to be sent."""
        ...

    def body(self, request: ModelRequest) -> dict[str, Any]: ...

    def read(self, request: ModelRequest, content: bytes) -> ModelAnswer:
        """Return a whole answer. Raises StepError (OUTPUT_INVALID), ToldFailure."""
        ...

    def stream(self) -> AnswerStream: ...


class ToldFailure(Exception):
    """An answer of status 200 that tells of an error. ``error``: what the call fails with.

    ``usage``: as it stands in the same answer or piece, None where it does not. ``has_said``: whether the model has
    said something, or a stream has begun.
    """

    def __init__(self, error: HttpError, usage: Usage | None, *, has_said: bool) -> None:
        super().__init__(error, usage)
        self.error = error
        self.usage = usage
        self.has_said = has_said

    @property
    def taken(self) -> Usage | None:
        """What the call has taken, None where nobody knows: zeros beside a word that was said are none."""
        usage = self.usage
        if usage is None or not usage.can_be or not usage.input_tokens or (self.has_said and not usage.output_tokens):
            return None
        return usage

    @property
    def is_refusal(self) -> bool:
        """Whether nothing was made: as with the same status before an answer."""
        return not self.has_said and self.error.status in REFUSALS


class StreamCut(ConnectionError):
    """The connection ended before the answer did."""


def read_json(content: bytes | str, kind: type[T], what: str) -> T:
    """Decode what a provider has sent. Raises StepError (OUTPUT_INVALID)."""
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StepError("OUTPUT_INVALID", f"{what} cannot be read: {error}: {_shown(content)!r}") from error


def read_value(value: object, kind: type[T], what: str) -> T:
    """The same of a part that is decoded already."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise StepError("OUTPUT_INVALID", f"{what} cannot be read: {error}") from error


def no_answer(content: bytes, field: str) -> StepError:
    """Return the error of JSON that is something else."""
    return StepError("OUTPUT_INVALID", f"the answer of the provider has no {field!r}: {_shown(content)!r}")


def _shown(content: bytes | str) -> str:
    """The beginning of what a provider has sent. Masked before it is cut: half a key is not known for one."""
    text = content if isinstance(content, str) else content.decode("utf-8", "replace")
    return REDACTOR.redact(text)[:SHOWN_MAX]


def json_words(request: ModelRequest) -> str:
    """Return what the model is told about the JSON that is wanted."""
    if request.schema is None:
        return ONLY_JSON
    return f"{ONLY_JSON} that fits this JSON Schema:\n{_encode(request.schema).decode()}"


def with_words(content: str | list[dict[str, Any]], words: str) -> str | list[dict[str, Any]]:
    """Return a content with words behind it."""
    if isinstance(content, str):
        return f"{content}\n\n{words}"
    return [*content, {"type": "text", "text": words}]


def with_extra(body: dict[str, Any], request: ModelRequest) -> dict[str, Any]:
    """Return a body with what the document says about it; null leaves a field out."""
    return {name: value for name, value in {**body, **request.extra}.items() if value is not None}


def told_failure(
    kind: str, message: str, code: str | int, statuses: dict[str, int], usage: Usage | None = None, *, has_said: bool
) -> ToldFailure:
    """Return the failure that comes in an answer of status 200: one that nobody knows may pass.

    kind, code: as the provider has them, nothing where it says none. A code that is a status is it. usage, has_said: of
    the answer, see ``ToldFailure``.
    """
    status = int(code) if isinstance(code, int) or (code.isdecimal() and len(code) == 3) else 0
    if not 400 <= status <= 599:
        status = statuses.get(kind) or statuses.get(str(code)) or 500
    name = kind or (code if isinstance(code, str) and not code.isdecimal() else "")
    error = HttpError(status, f"{name}: {message}" if name and message else message or name)
    return ToldFailure(error, usage, has_said=has_said)
