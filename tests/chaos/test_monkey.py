"""Trouble at random under load, short enough for every day; ``scripts/chaos`` is the long form."""

from __future__ import annotations

import secrets

import pytest

from chaos.monkey import Monkey, tricks
from chaos.site import SHORT_LEASE_MS, Site

pytestmark = pytest.mark.anyio
SECONDS = 12


async def test_a_monkey_plays_for_a_while(site: Site) -> None:
    """F17: with two supervisors and four workers, whatever is done to them, every promise is kept."""
    seed = secrets.randbelow(1_000_000)
    print(f"scripts/chaos --seconds {SECONDS} --seed {seed}")
    site.lease_ms = SHORT_LEASE_MS
    monkey = Monkey(site, seed, tricks())
    await monkey.run(SECONDS)
    await site.until_ended()
    await site.check(excess=monkey.excess)
