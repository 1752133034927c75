"""Spending as people ask for it: what calls of models took, by attempt and by run, read from the projections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from ..spending.spent import Spent
from .connection import Connection
from .queries import load_queries

_sql = load_queries("spending")


class AttemptSpent(NamedTuple):
    """What an attempt has taken in one currency, or without a price."""

    node: str
    scope: str
    attempt: int
    spent: Spent


async def spending_of_attempts(conn: Connection, run_id: str) -> list[AttemptSpent]:
    """Return what the attempts of a run have taken, in the order of their places. Those without calls are left out."""
    rows = await conn.fetch(_sql["of_attempts"], run_id)
    return [AttemptSpent(row["node"], row["scope"], row["attempt"], _spent(row)) for row in rows]


async def spending_of_runs(conn: Connection, run_ids: Sequence[str]) -> dict[str, list[Spent]]:
    """Return what each run has taken: an element per currency, and one for what has no price. One query."""
    found: dict[str, list[Spent]] = {}
    for row in await conn.fetch(_sql["of_runs"], list(run_ids)):
        found.setdefault(row["run_id"], []).append(_spent(row))
    return found


async def spending_by_ir(conn: Connection, env: str, ir_hashes: Sequence[str]) -> list[tuple[str, Spent]]:
    """Return the tokens and the cost that all runs of IRs have taken, by currency. Cost: one row for each such run."""
    rows = await conn.fetch(_sql["by_ir"], env, list(ir_hashes)) if ir_hashes else []
    return [(row["ir_hash"], _spent(row)) for row in rows]


def _spent(row: Any) -> Spent:
    return Spent(**{name: row[name] for name in Spent.__struct_fields__ if name in row})
