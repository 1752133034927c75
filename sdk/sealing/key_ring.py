"""Key ring: encrypts payloads at rest, by the first of its keys; the others only read what was written before.

AES-SIV (RFC 5297), which needs no random number: the same payload under the same key is the same bytes, so that it is
stored once. Whoever reads the stores can tell that two payloads are equal, and how long they are, and nothing else.

``python -m courante.sdk.sealing.key_ring ID`` prints a line with a new key, for the file that ``key_ring`` names.
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from ..errors import PayloadUnreadable
from .payload_terms import SEALED_HEAD

KEY_BYTES = 64
HEAD = SEALED_HEAD
_BOUND_TO = [b"courante payload 1"]
_ID = re.compile(r"[A-Za-z0-9_-]{1,32}")


class KeyRing:
    """A ``PayloadCodec``. ``keys``: by id, each of 64 bytes; the first one encrypts. May be used from any thread."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("a key ring has at least one key")
        self._ciphers = {name.encode(): AESSIV(key) for name, key in keys.items()}
        self._first = next(iter(self._ciphers))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of lines ``ID KEY``, the key in base64. Raises ValueError, which names the line, and OSError."""
        keys: dict[str, bytes] = {}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            key = _decoded(words[1]) if len(words) == 2 else b""
            if len(key) != KEY_BYTES or not _ID.fullmatch(words[0]) or words[0] in keys:
                raise ValueError(f"line {number} of {path} is no new id and a key of {KEY_BYTES} bytes in base64")
            keys[words[0]] = key
        return cls(keys)

    def encode(self, content: bytes) -> bytes:
        sealed = self._ciphers[self._first].encrypt(content, _BOUND_TO)
        return HEAD + self._first + b":" + base64.b64encode(sealed)

    def decode(self, stored: bytes) -> bytes:
        if not stored.startswith(HEAD):
            return stored
        name, _, sealed = stored[len(HEAD) :].partition(b":")
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise PayloadUnreadable(f"the key ring has no key {name[:32].decode('ascii', 'replace')!r}")
        try:
            return cipher.decrypt(base64.b64decode(sealed, validate=True), _BOUND_TO)
        except (InvalidTag, binascii.Error) as error:
            raise PayloadUnreadable("the payload was changed, or belongs to another key of this name") from error


def new_line(name: str) -> str:
    """Return a line of a key ring with a new key. Raises ValueError for what is no id."""
    if not _ID.fullmatch(name):
        raise ValueError(f"{name!r} is no id of a key: 1 to 32 letters, digits, _ and -")
    return f"{name} {base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()}"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return b""


if __name__ == "__main__":
    print(new_line(sys.argv[1]))  # noqa: T201 - what was asked for
