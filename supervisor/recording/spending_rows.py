"""Spending, projected: what attempts and runs have taken, as rows that people ask for."""

from __future__ import annotations

from ...sdk.events import Facts
from ...sdk.spending.spent import COUNTS, Spent, kept_spent
from ...sdk.stores.connection import Connection
from ...sdk.stores.queries import load_queries

_sql = load_queries("spending")


class SpendingRows:
    """The sums of a batch of events. Nothing is written where no model was called."""

    def __init__(self) -> None:
        self._attempts: dict[tuple[str, str, str, int, str], Spent] = {}
        self._runs: dict[tuple[str, str], Spent] = {}

    def add(self, run_id: str, facts: Facts) -> None:
        """Follow an event that says what was spent. What nobody of ours has written counts nothing."""
        spent = kept_spent(facts.data)
        if not spent.calls:
            return
        attempt = (run_id, facts.node, facts.scope, facts.attempt, spent.currency)
        known = self._attempts.get(attempt)
        self._attempts[attempt] = spent if known is None else known.plus(spent)
        run = (run_id, spent.currency)
        total = self._runs.get(run)
        self._runs[run] = spent if total is None else total.plus(spent)

    async def write(self, conn: Connection, env: str) -> None:
        """Add the sums to the rows, in the caller's transaction."""
        if not self._runs:
            return
        attempts = [(*key, one.provider, one.model, *_counts(one)) for key, one in sorted(self._attempts.items())]
        runs = [(*key, *_counts(one)) for key, one in sorted(self._runs.items())]
        await conn.execute(_sql["add_attempts"], env, *map(list, zip(*attempts, strict=True)))
        await conn.execute(_sql["add_runs"], env, *map(list, zip(*runs, strict=True)))


def _counts(spent: Spent) -> tuple[int, ...]:
    return tuple(getattr(spent, name) for name in COUNTS)
