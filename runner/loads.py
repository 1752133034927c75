"""Loads: payloads that are being read, each once at a time, however many tokens wait for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

Load = Callable[[bytes], Awaitable[bytes]]


class _UnderWay:
    def __init__(self) -> None:
        self.is_over = anyio.Event()
        self.content: bytes | None = None


class Loads:
    """Who asks for a payload while somebody reads it gets the same bytes, not a copy of its own: the items of a map
    come in large numbers, and all of them need its list.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._under_way: dict[bytes, _UnderWay] = {}

    async def bring(self, reference: bytes) -> bytes:
        """Return a payload. Raises as ``load`` does: who has waited for a load that came to nothing reads by itself."""
        while (other := self._under_way.get(reference)) is not None:
            await other.is_over.wait()
            if other.content is not None:
                return other.content
        own = self._under_way[reference] = _UnderWay()
        try:
            own.content = await self._load(reference)
            return own.content
        finally:
            del self._under_way[reference]
            own.is_over.set()
