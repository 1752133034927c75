"""Payload terms: how this process keeps payloads. From which size on apart from what refers to them, and in which code.

Set once when a process begins, from its settings; all processes of an environment need the same key ring.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from ..errors import PayloadUnreadable

INLINE_BYTES_MAX = 8_192
PAYLOAD_BYTES_MAX = 16 * 1024 * 1024
SEALED_HEAD = b"#siv:"
"""With what everything begins that the key ring has encrypted."""
_SEALED = re.compile(rb"#siv:[A-Za-z0-9_-]{1,32}:[A-Za-z0-9+/]{22,}={0,2}")


class PayloadTooLarge(Exception):
    def __init__(self, size: int, limit: int) -> None:
        super().__init__(f"the payload has {size:,} bytes; at most {limit:,} are allowed")


class PayloadCodec(Protocol):
    """From contents to what is stored of them, and back.

    The same content gives the same bytes: what is stored is addressed by them. They are ASCII, and nothing that JSON
    begins with.
    """

    def encode(self, content: bytes) -> bytes: ...

    def decode(self, stored: bytes) -> bytes:
        """Raises PayloadUnreadable. What was stored without a codec comes back as it is."""
        ...


@dataclass(slots=True)
class PayloadTerms:
    """``inline_bytes_max``: larger payloads are kept apart; with a codec all of them are."""

    inline_bytes_max: int = INLINE_BYTES_MAX
    codec: PayloadCodec | None = None

    @property
    def inline_most(self) -> int:
        """The most bytes that travel inline."""
        return self.inline_bytes_max if self.codec is None else 0

    def keeps_apart(self, content: bytes) -> bool:
        return len(content) > self.inline_most

    def encode(self, content: bytes) -> bytes:
        return content if self.codec is None else self.codec.encode(content)

    def decode(self, stored: bytes) -> bytes:
        """Raises PayloadUnreadable, also for what a key ring has encrypted and this process has none."""
        if self.codec is not None:
            return self.codec.decode(stored)
        if stored.startswith(SEALED_HEAD) and _SEALED.fullmatch(stored):
            raise PayloadUnreadable("it is encrypted, and this process has no key ring")
        return stored


PAYLOAD_TERMS = PayloadTerms()
"""Those of this process."""
