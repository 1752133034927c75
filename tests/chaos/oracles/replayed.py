"""What ``courante replay --verify`` says of runs, as findings."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from chaos.oracles.finding import Finding

REPLAY = ("replay", "--verify", "--json")
"""Followed by the runs."""


def read_verdicts(run_ids: Sequence[str], lines: str, otherwise: str) -> Iterator[Finding]:
    """Find runs that it could not verify. lines: what it said; otherwise: told where that is not about all of them."""
    said = [json.loads(line) for line in lines.splitlines()]
    if [one.get("run_id") for one in said] != list(run_ids):
        yield Finding("VERIFY", "", f"replay --verify {otherwise}")
    for one in said:
        if not one.get("ok"):
            yield Finding("VERIFY", one.get("run_id", ""), json.dumps(one.get("first_difference")))
