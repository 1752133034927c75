"""Dead letters, projected: steps that failed for good and that nothing handled, as rows that people ask for."""

from __future__ import annotations

from datetime import datetime

from ...sdk.events import ITEM_FAILED, Facts
from ...sdk.stores.connection import Connection
from ...sdk.stores.queries import load_queries

_sql = load_queries("dead_letters")


class DeadLetterRows:
    """The rows that a batch of events makes. Rare: nothing is written where no step failed for good."""

    def __init__(self) -> None:
        self._rows: list[tuple[str, str, str, int, int, str | None, datetime]] = []

    def add(self, run_id: str, seq: int, at: datetime, facts: Facts, error: str | None) -> None:
        """Follow a ``step.failed``. error: as JSON.

        A failure with an edge that lives on is handled, and one in an item of a map is the map's aggregate's.
        """
        if "l" not in facts.edges and facts.reason != ITEM_FAILED:
            self._rows.append((run_id, facts.node, facts.scope, facts.attempt, seq, error, at))

    async def write(self, conn: Connection, env: str) -> None:
        if self._rows:
            await conn.execute(_sql["insert_dead_letters"], env, *map(list, zip(*self._rows, strict=True)))


async def close_dead_letters(conn: Connection, env: str) -> None:
    """After the rows were made again from the log: what was dealt with is not open."""
    await conn.execute(_sql["close_dealt_with"], env)
