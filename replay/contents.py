"""Contents: the values behind payload references, read when they are needed; the last ones are kept."""

from __future__ import annotations

from collections.abc import Sequence

from ..sdk.reenactment.enacting import Resolve
from ..sdk.reenactment.kept_contents import KeptContents
from ..sdk.stores.payloads import read_reference
from .history import Emptied


class Contents:
    """Reads payloads, as ``resolve`` brings them."""

    def __init__(self, resolve: Resolve) -> None:
        self._resolve = resolve
        self._kept = KeptContents()

    async def load_all(self, values: Sequence[bytes | None]) -> list[bytes | None]:
        return [None if value is None else await self.load(value) for value in values]

    async def load_each(self, references: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what they refer to, by reference. Raises Emptied where one of them is gone."""
        return {reference: await self.load(reference) for reference in references}

    async def load(self, value: bytes) -> bytes:
        """Return the value itself, or what it refers to. Raises Emptied where that is gone."""
        if read_reference(value) is None:
            return value
        content = self._kept.get(value)
        if content is None:
            content = await self._resolve(value)
            if content is None:
                raise Emptied(value.decode())
            self._kept.put(value, content)
            self._kept.let_go()
        return content
