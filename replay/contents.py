"""Contents: the values behind payload references, read when they are needed; the last ones are kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from ..sdk.stores.connection import Connection
from ..sdk.stores.payloads import read_reference, resolve
from .history import Emptied

KEPT_BYTES_MAX = 64 * 1024 * 1024


class Contents:
    """Reads payloads of one environment."""

    def __init__(self, conn: Connection, env: str) -> None:
        self._conn = conn
        self._env = env
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
        content = await resolve(self._conn, self._env, value)
        if content is None:
            raise Emptied(value.decode())
        self._kept[value] = content
        self._kept_bytes += len(content)
        while self._kept_bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            _, gone = self._kept.popitem(last=False)
            self._kept_bytes -= len(gone)
        return content
