"""Kept contents: what references to payloads stand for, as far as it was brought; of much the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict

KEPT_BYTES_MAX = 64 * 1024 * 1024


class KeptContents:
    """By reference. What was put since ``let_go`` was called is kept whatever its size: somebody needs all of it."""

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._needed: set[bytes] = set()

    @property
    def kept_bytes(self) -> int:
        return self._bytes

    def get(self, reference: bytes) -> bytes | None:
        content = self._kept.get(reference)
        if content is not None:
            self._kept.move_to_end(reference)
        return content

    def put(self, reference: bytes, content: bytes) -> None:
        self._bytes += len(content) - len(self._kept.pop(reference, b""))
        self._kept[reference] = content
        self._needed.add(reference)

    def let_go(self) -> None:
        """What is there is needed no more, but may be again."""
        self._needed.clear()
        while self._bytes > self._bytes_max and len(self._kept) > 1:
            self._bytes -= len(self._kept.popitem(last=False)[1])
