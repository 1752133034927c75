"""Lines: what a bundle is made of. One JSON object a line, told apart by ``line``; docs/reference/audit-bundle.md.

There is exactly one way to write a line, which ``write_line`` knows: a line that reads well but is written otherwise
was changed. Bytes stand as text where they are UTF-8, else under the same name with ``_base64``.
"""

from __future__ import annotations

import base64
import binascii
from typing import TypeAlias

import msgspec

FORMAT = "courante.audit"
VERSION = 1
LINE_BYTES_MAX = 64 * 1024 * 1024
"""A payload has 16 MiB at most, and grows by a third in base64, or with every escaped character."""


class BadLine(Exception):
    """A line that is none of a bundle, or is written otherwise than this project writes it."""


class _Line(
    msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, tag_field="line"
):
    pass


class Header(_Line, frozen=True, kw_only=True, tag="header"):
    """First. ``at``: ISO 8601, UTC. ``payloads``: false where they were left out. ``by``: who has exported."""

    format: str
    version: int
    env: str
    at: str
    by: str
    courante: str
    payloads: bool


class IrLine(_Line, frozen=True, kw_only=True, tag="ir"):
    """``hash``: BLAKE2b of the content, 16 bytes as hex."""

    hash: str
    content: str


class VersionLine(_Line, frozen=True, kw_only=True, tag="version"):
    """Which IR a version of a workflow has; only of those that a run has moved to."""

    workflow: str
    version: int
    ir: str


class RunLine(_Line, frozen=True, kw_only=True, tag="run"):
    """The row of a run; its events follow. Times: ISO 8601, UTC. ``last_seq``, ``last_hash``: of its final event."""

    run_id: str
    workflow: str
    version: int
    ir: str
    status: str
    partition: int
    trigger: str
    tags: tuple[str, ...]
    created_at: str
    by: str = ""
    base_run_id: str = ""
    started_at: str = ""
    finished_at: str = ""
    output_seq: int = 0
    is_halted: bool = False
    last_seq: int = 0
    last_hash: str = ""


class CommandLine(_Line, frozen=True, kw_only=True, tag="command"):
    """Before the event that applies it. ``body``: as it is stored."""

    number: int
    type: str
    created_at: str
    by: str = ""
    body: str = ""
    body_base64: str = ""
    decides: str = ""


class ContentLine(_Line, frozen=True, kw_only=True, tag="content"):
    """A payload that is kept apart, before the first event of a run that refers to it; as it is stored."""

    digest: str
    content: str = ""
    content_base64: str = ""


class EventLine(_Line, frozen=True, kw_only=True, tag="event"):
    """``at``: ms since the epoch. ``facts``: the very bytes of the chain. ``digest``: of the payload, 16 bytes as hex,
    empty where there is none. A digest without a payload: it was emptied, or left out of the bundle.
    """

    seq: int
    at: int
    facts: str = ""
    facts_base64: str = ""
    payload: str = ""
    payload_base64: str = ""
    digest: str = ""
    prev_hash: str
    hash: str


class ProofLine(_Line, frozen=True, kw_only=True, tag="proof"):
    """After the event whose hash is a leaf of an anchor. ``path``: RFC 6962, from the leaf up, as hex."""

    anchor: int
    position: int
    size: int
    path: tuple[str, ...]


class HeadLine(_Line, frozen=True, kw_only=True, tag="head"):
    """After the last event of a run: its number and hash; 0 and zeros where there is none."""

    run_id: str
    seq: int
    hash: str


class TrailerLine(_Line, frozen=True, kw_only=True, tag="trailer"):
    """``lines``: before this one. ``sha256``: over their bytes, ends of lines included, as hex."""

    runs: int
    events: int
    lines: int
    sha256: str


class SignatureLine(_Line, frozen=True, kw_only=True, tag="signature"):
    """Last, where there is one. Ed25519 over the bytes of the trailer without its end of line. ``key``: the public one,
    32 bytes as hex.
    """

    algorithm: str
    key: str
    signature: str


Line: TypeAlias = (
    Header
    | IrLine
    | VersionLine
    | RunLine
    | CommandLine
    | ContentLine
    | EventLine
    | ProofLine
    | HeadLine
    | TrailerLine
    | SignatureLine
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


def write_line(line: Line) -> bytes:
    """Return the bytes of a line, without its end."""
    return _encoder.encode(line)


def read_line(content: bytes) -> Line:
    """Read a line without its end. Raises BadLine."""
    try:
        line = _decoder.decode(content)
        is_ours = _encoder.encode(line) == content
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadLine(f"it cannot be read: {error}") from error
    if not is_ours:
        raise BadLine("it is not written as bundles are")
    return line


def as_fields(name: str, content: bytes | None) -> dict[str, str]:
    """Return bytes as the fields of a line; none where there are no bytes."""
    if not content:
        return {}
    try:
        return {name: content.decode("utf-8")}
    except UnicodeDecodeError:
        return {f"{name}_base64": base64.b64encode(content).decode()}


def as_bytes(text: str, encoded: str) -> bytes:
    """Return the bytes of two such fields. Raises BadLine."""
    if not encoded:
        return text.encode()
    try:
        content = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise BadLine("it holds no base64") from error
    if text or base64.b64encode(content).decode() != encoded or as_fields("x", content).get("x"):
        raise BadLine("it is not written as bundles are")
    return content


def as_digest(text: str, size: int) -> bytes:
    """Return a digest of so many bytes. Raises BadLine."""
    try:
        content = bytes.fromhex(text)
    except ValueError as error:
        raise BadLine("a digest is hex") from error
    if len(content) != size or content.hex() != text:
        raise BadLine(f"a digest has {size} bytes")
    return content
