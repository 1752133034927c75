"""A calm run of every kind: what a disturbed one is held against."""

from __future__ import annotations

from pathlib import Path

from chaos import shapes
from chaos.servers import PostgresServer
from chaos.site import open_site
from nursery import Nursery


async def run_calmly(postgres: PostgresServer, folder: Path, nursery: Nursery | None = None) -> Path:
    """Run every kind once with nothing in the way; return where the checker keeps what it came to. folder: empty."""
    kept = folder / "calm.json"
    async with open_site(folder, postgres, nursery=nursery) as site:
        site.worker(concurrency=32)
        site.supervisor()
        await site.order(shapes.kinds())
        await site.until_ended()
        await site.check("--keep-calm", str(kept))
    return kept
