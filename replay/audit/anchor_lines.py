"""Anchor lines: one JSON object a line, each with the root over chain heads and the hash of the line before.

Somebody who is not trusted with the database keeps them. What a line says and proves: docs/how-to/audit.md.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import msgspec

from .lines import BadLine, ProofLine, as_digest
from .merkle import head_leaf, root_of
from .signing import Signer, is_signed

FORMAT = "courante.anchor"
VERSION = 1
FIRST = bytes(32).hex()
"""What the first anchor has as the hash of the line before it."""


class AnchorLine(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """``heads``: leaves below ``root`` (RFC 6962, hex). ``previous``: SHA-256 of the line before, without its end.

    ``signature``: Ed25519 over the bytes of the line without this field; ``key``: the public key. Both are hex.
    """

    format: str
    version: int
    env: str
    number: int
    at: str
    heads: int
    root: str
    previous: str
    key: str = ""
    signature: str = ""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AnchorLine)


def write_anchor(line: AnchorLine, signer: Signer | None = None) -> bytes:
    """Return the bytes of a line without its end, signed where there is a signer."""
    if signer is not None:
        line = msgspec.structs.replace(line, key=signer.public)
        line = msgspec.structs.replace(line, signature=signer.sign(_encoder.encode(line)))
    return _encoder.encode(line)


def read_anchor(content: bytes) -> AnchorLine:
    """Read a line without its end. Raises BadLine."""
    try:
        line = _decoder.decode(content)
        is_ours = _encoder.encode(line) == content and (line.format, line.version) == (FORMAT, VERSION)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadLine(f"it cannot be read: {error}") from error
    if not is_ours:
        raise BadLine(f"it is no line of {FORMAT} {VERSION}")
    as_digest(line.root, 32)
    as_digest(line.previous, 32)
    return line


def has_signature(line: AnchorLine) -> bool:
    """Return whether its signature is that of its key. Raises KeyUnusable without the package."""
    return is_signed(line.key, line.signature, _encoder.encode(msgspec.structs.replace(line, signature="")))


def line_hash(content: bytes) -> str:
    """Return what the next line says of this one."""
    return hashlib.sha256(content).hexdigest()


class Problem(NamedTuple):
    """What is wrong with a line; ``number``: of its anchor, None where it cannot be read."""

    number: int | None
    what: str
    expected: str
    found: str


class AnchorBook:
    """Anchors that somebody has kept, as far as they hold together.

    The lines of one environment follow each other without a gap, from whichever is the first. key: a public key as
    hex; then each line must be signed by it.
    """

    def __init__(self, key: str | None = None) -> None:
        self._key = key
        self._last: dict[str, tuple[int, str]] = {}
        self.anchors: dict[tuple[str, int], AnchorLine] = {}
        self.problems: list[Problem] = []

    def add(self, content: bytes) -> AnchorLine | None:
        """Add a line without its end; None where it cannot be read."""
        try:
            line = read_anchor(content)
        except BadLine as error:
            self.problems.append(Problem(None, "line", "an anchor", str(error)))
            return None
        last = self._last.get(line.env)
        if last is not None and (line.number, line.previous) != (last[0] + 1, last[1]):
            expected, found = f"anchor {last[0] + 1} after {last[1]}", f"anchor {line.number} after {line.previous}"
            self.problems.append(Problem(line.number, "order", expected, found))
        self._check_signature(line)
        self._last[line.env] = (line.number, line_hash(content))
        self.anchors[line.env, line.number] = line
        return line

    def _check_signature(self, line: AnchorLine) -> None:
        if self._key is not None and line.key != self._key:
            found = f"one by {line.key}" if line.key else "none"
            self.problems.append(Problem(line.number, "signature", f"one by {self._key}", found))
        elif (line.key or line.signature) and not has_signature(line):
            self.problems.append(Problem(line.number, "signature", f"one by {line.key}", "one that does not fit"))

    def check(self, env: str, run_id: str, seq: int, head: bytes, proof: ProofLine) -> str:
        """Return what is wrong with a proof that an anchor has this head, "" where nothing is. Raises BadLine."""
        anchor = self.anchors.get((env, proof.anchor))
        if anchor is None:
            return f"anchor {proof.anchor} of {env} is not among those that were kept"
        path = [as_digest(part, 32) for part in proof.path]
        root = root_of(head_leaf(env, run_id, seq, head), proof.position, proof.size, path)
        if proof.size != anchor.heads or root is None or root.hex() != anchor.root:
            return f"the event is not what anchor {proof.anchor} of {anchor.at} has"
        return ""
