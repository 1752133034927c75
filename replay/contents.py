"""Contents: the values behind payload references, read when they are needed; the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from ..sdk.stores.payloads import read_reference
from .history import Emptied

KEPT_BYTES_MAX = 64 * 1024 * 1024
Resolve: TypeAlias = Callable[[bytes], Awaitable[bytes | None]]
"""Brings what a reference stands for, None where it is gone."""


class Contents:
    """Reads payloads, as ``resolve`` brings them."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._kept_bytes = 0

    async def load_all(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        return [None if value is None else await self.load(value) for value in values]

    async def load(self, value: bytes) -> bytes:
        """Return the value itself, or what it refers to. Raises Emptied where that is gone."""
        if read_reference(value) is None:
            return value
        content = self._kept.get(value)
        if content is not None:
            self._kept.move_to_end(value)
            return content
        content = await self._resolve(value)
        if content is None:
            raise Emptied(value.decode())
        self._kept[value] = content
        self._kept_bytes += len(content)
        while self._kept_bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone)
        return content
