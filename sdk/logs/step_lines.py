"""Step lines: what a step log says, as it goes through Redis and is stored.

An entry of the partition's stream holds lines of any attempts (field ``l``), one of a run's own stream a piece of
partial text (field ``p``); both are JSON. Texts and fields are sealed where payloads are encrypted. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ..sealing.sealing import seal_text, shown_text

LINES = b"l"
PIECE = b"p"
LEVELS = ("debug", "info", "warning", "error", "critical")
TEXT_BYTES_MAX = 8 * 1024
"""Of one line, and of its fields as JSON; a longer one is cut."""
LINES_MAX = 1_000
"""Of one attempt. The last one says that the others are left out."""
PARTIAL_CHARS_MAX = 1_000_000
"""Of the partial text of one attempt; what comes behind it is not shown before the step has ended."""
STREAM_ENTRIES_MAX = 4_000
"""Of lines that are not stored yet, in one partition: the oldest are dropped for newer ones."""
ENTRY_BYTES_MAX = 16 * 1024
PIECES_MAX = 1_000
"""Of partial text of one run that Redis keeps: the newest."""
PARTIAL_TTL_S = 600

_Name = Annotated[str, Meta(max_length=1_000, pattern=r"^[^\x00]*\Z")]
_Text = Annotated[str, Meta(max_length=64 * 1024, pattern=r"^[^\x00]*\Z")]
_Attempt = Annotated[int, Meta(ge=1, le=2**31 - 1)]
_Source = Annotated[int, Meta(ge=0, le=2**62)]
_Time = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
_Number = Annotated[int, Meta(ge=1, le=2**31 - 1)]


class StepLine(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One line. ``source``: a random number of the attempt's log, which counts its lines in ``number``, from 1.

    ``scope``: the key of the token's scope. ``at_ms``: by the clock of Redis at the delivery and what has passed since.
    ``text``, ``fields`` (JSON of an object; empty: none): as they are stored.
    """

    run_id: _Name
    node: _Name
    scope: _Name
    attempt: _Attempt
    worker: _Name
    source: _Source
    number: _Number
    at_ms: _Time
    level: _Name
    text: _Text
    fields: _Text = ""

    @property
    def place(self) -> tuple[int, int]:
        """What tells it from all other lines."""
        return self.source, self.number


class Piece(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A piece of an answer that is not complete. ``after``: how many lines the attempt had said when it came.

    ``is_last``: the attempt is over.
    """

    node: _Name
    scope: _Name
    attempt: _Attempt
    source: _Source
    number: _Number
    after: Annotated[int, Meta(ge=0)]
    at_ms: _Time
    text: _Text
    is_last: bool = False


_encode = msgspec.json.Encoder().encode
_decode_lines = msgspec.json.Decoder(list[StepLine]).decode
_decode_piece = msgspec.json.Decoder(Piece).decode
_decode_fields = msgspec.json.Decoder(dict[str, Any]).decode


def encode_lines(lines: Sequence[StepLine]) -> bytes:
    return _encode(lines)


def decode_lines(content: bytes) -> list[StepLine]:
    """Raises msgspec.DecodeError for what no step log has written."""
    return _decode_lines(content)


def encode_piece(piece: Piece) -> bytes:
    return _encode(piece)


def decode_piece(content: bytes) -> Piece:
    """Raises msgspec.DecodeError."""
    return _decode_piece(content)


def clean(text: str) -> str:
    """Return what every store takes: no NUL, no half of a surrogate pair."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def cut_bytes(text: str, limit: int = TEXT_BYTES_MAX) -> str:
    """Return a text of at most ``limit`` bytes in UTF-8; ``…`` stands for what was left out."""
    if len(text) * 4 <= limit or len(content := text.encode()) <= limit:
        return text
    return content[: limit - 3].decode("utf-8", "ignore") + "…"


def seal_fields(fields: dict[str, object]) -> str:
    """Return what is stored of the fields of a line, which are JSON values already."""
    if not fields:
        return ""
    content = _encode(fields)
    if len(content) > TEXT_BYTES_MAX:
        names = ", ".join(map(str, fields))
        content = _encode({"left_out": cut_bytes(f"{len(content):,} bytes in {names}", TEXT_BYTES_MAX // 2)})
    return seal_text(content.decode())


def shown_fields(stored: str) -> dict[str, Any]:
    """Return the fields of a line; where they cannot be read, why."""
    if not stored:
        return {}
    try:
        return _decode_fields(shown_text(stored))
    except msgspec.DecodeError:
        return {"unreadable": shown_text(stored)}
