"""Command bodies: what commands say, as the log of commands keeps it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from ..json_values import encode_value
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..sealing.sealing import open_text, seal_text


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a command says beyond its type and who gave it; each type has some of the fields.

    ``step``, ``scope`` (a scope key): the step that it is about. ``attempt``: that was handed out or has a child run.
    ``name``: of a signal, ``data``: what it brings, or what was filled in with a decision. ``is_asked``: the step
    waited for it when it was given, so that it is not kept for a later time when the step has stopped waiting.
    ``tokens``, ``cost``: by how much a budget is raised, the cost in billionths of its currency.
    ``sealed``: as it is stored where payloads are encrypted, the fields of ``SEALED`` in one text.
    """

    step: str = ""
    scope: str = ""
    attempt: int = 0
    name: str = ""
    data: Any = None
    output: Any = None
    error: str = ""
    reason: str = ""
    comment: str = ""
    is_asked: bool = False
    tokens: int = 0
    cost: int = 0
    sealed: str = ""


SEALED = ("comment", "data", "error", "output", "reason")
"""What people and programs say. What a command is about stays open: it is searched for."""
_VALUES = frozenset({"data", "output"})
decode_body = msgspec.json.Decoder(Body).decode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode_fields = msgspec.json.Encoder(order="sorted").encode


def encode_body(body: Body) -> bytes:
    """Return canonical JSON bytes; what is empty is left out, but for values: 0 and false are some. Raises NotJson."""
    fields = msgspec.structs.asdict(body)
    said = {name: value for name, value in fields.items() if value or (name in _VALUES and value is not None)}
    return encode_value(said, is_sorted=True)


def seal_body(content: bytes) -> bytes:
    """Return what is stored of the bytes of a body: those themselves, where payloads are not encrypted."""
    if PAYLOAD_TERMS.codec is None:
        return content
    said = _fields.decode(content)
    sealed = {name: said.pop(name) for name in SEALED if name in said}
    if not sealed:
        return content
    return _encode_fields(said | {"sealed": seal_text(_encode_fields(sealed).decode())})


def empty_body(stored: bytes) -> bytes:
    """Return what is left of a stored body when what people and programs have said is taken away."""
    said = _fields.decode(stored)
    return _encode_fields({name: value for name, value in said.items() if name != "sealed" and name not in SEALED})


def open_body(stored: bytes) -> Body:
    """Return a body as it was said. Raises PayloadUnreadable."""
    body = decode_body(stored)
    if not body.sealed:
        return body
    opened = decode_body(open_text(body.sealed))
    return msgspec.structs.replace(body, sealed="", **{name: getattr(opened, name) for name in SEALED})
