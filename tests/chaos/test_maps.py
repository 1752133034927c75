"""Workers that are killed while a map opens: exactly its items run, each completed once."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from chaos.shapes import Order, document, step
from chaos.site import SHORT_LEASE_MS, Site

pytestmark = pytest.mark.anyio
KILLED = -9
ITEMS = 450
"""A transition of the cursor emits a hundred: several of them, and three windows."""
FAULTS = ["before_advance:2", "after_advance:2", "before_advance:3", "after_advance:3", "after_handler:40"]
MAPPED = document(
    "mapped",
    {"id": "m", "type": "map", "config": {"items": "input.items", "max_concurrency": 300}},
    step("w", "m", input={"ms": "1", "from": "item", "at": "index"}),
    {"id": "all", "type": "aggregate", "depends_on": "w", "config": {"reduce": "acc + 1", "initial": 0}},
)
LOGGED = "SELECT node, scope FROM event_log WHERE run_id = $1 AND type LIKE $2 ORDER BY seq"


async def test_workers_are_killed_while_a_map_opens(site: Site) -> None:
    """One after another, around their calls and in the middle of the items: nobody makes an item more or less."""
    await site.register(MAPPED)
    site.lease_ms = SHORT_LEASE_MS
    site.supervisor()
    (run_id,) = await site.order([Order("mapped", {"items": list(range(ITEMS))}, "", "mapped")])
    for fault in FAULTS:
        worker = site.worker(fault=f"{fault}:kill9", concurrency=16)
        assert await worker.wait() == KILLED
    site.worker(concurrency=16)
    await site.until_ended()
    completed = Counter(
        row["scope"] for row in await site.query(LOGGED, run_id, "step.succeeded") if row["node"] == "w"
    )
    assert completed == Counter({str(item): 1 for item in range(ITEMS)})
    claimed = {row["node"] for row in await site.query(LOGGED, run_id, "token.claimed")}
    assert claimed >= {"m", "fill:m", "w"}, "somebody died with the map, with its cursor and with items in hand"
    (fired,) = [row for row in await site.query(LOGGED, run_id, "step.succeeded") if row["node"] == "all"]
    assert fired["scope"] == ""
    executed = Counter(json.loads(line)["scope"] for line in site.journal.read_text("utf-8").splitlines())
    assert len(executed) == ITEMS, "an item that somebody died with is executed again, no other is made"
    await site.check()
