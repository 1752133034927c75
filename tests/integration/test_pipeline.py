"""``test_data/pipeline.yaml`` against a shop on this machine: 200 calls, 20 of them at a time, one that recovers."""

from __future__ import annotations

import json
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from courante.compiler.source import load_source
from courante.replay import verify_run
from courante.sdk.stores.runs import list_steps
from integration.http_site import Answer, Asked, Site, open_site
from integration.stage import Stage

pytestmark = pytest.mark.anyio
PRODUCTS = 200
WINDOW = 20
BUSY, GONE = "p7", "p42"
SAMPLES = Path(__file__).resolve().parents[2] / "test_data"
PIPELINE = "pipeline.yaml"
CHILDREN = "SELECT c.node, r.workflow, r.status FROM children c JOIN runs r USING (run_id) WHERE c.parent_run_id = $1"


class Shop:
    """Answers when as many ask at once as may. ``most``: requests under way at a time; ``at``: their times."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.is_full = anyio.Event()
        self.at: defaultdict[str, list[float]] = defaultdict(list)

    async def answer(self, asked: Asked) -> Answer:
        if asked.path == "/products":
            return Answer.json(json.dumps([{"id": f"p{number}"} for number in range(PRODUCTS)]))
        product = asked.path.split("/")[2]
        self.at[product].append(time.monotonic())
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        if self.under_way == WINDOW:
            self.is_full.set()
        await self.is_full.wait()
        self.under_way -= 1
        return self._price(product)

    def _price(self, product: str) -> Answer:
        if product == GONE:
            return Answer(status=404, body=b"no such product")
        if product == BUSY and len(self.at[BUSY]) <= 2:
            return Answer(status=503, headers={"Retry-After": "1"})
        return Answer.json(json.dumps({"cents": int(product[1:]) * 100}))


async def sell(stage: Stage, shop: Shop) -> tuple[str, Any, Site]:
    """Run the pipeline to its end; return (run, output, site)."""
    report, document = (load_source((SAMPLES / name).read_bytes()).value for name in ("shop_report.yaml", PIPELINE))
    stage.worker(http_allow="127.0.0.1", database_url=stage.place.database_url)
    stage.supervisor()
    for each in (report, document):
        await stage.register(*each["nodes"], **{name: each[name] for name in ("id", "input", "output")})
    async with open_site(shop.answer) as site:
        run_id = await stage.client.submit("pipeline", {"shop": site.url})
        result = await stage.result(run_id, timeout_s=60)
    assert result.status == "COMPLETED", result.error
    return run_id, result.output, site


async def test_a_pipeline_comes_to_its_result(stage: Stage) -> None:
    """Results in the order of the items, attempts as the answers asked for, and never more under way than allowed."""
    shop = Shop()
    run_id, output, site = await sell(stage, shop)
    offers = output["offers"]
    expected: list[Any] = [{"id": f"p{number}", "cents": number * 100} for number in range(PRODUCTS)]
    gone = int(GONE[1:])
    assert (offers[gone]["error"]["type"], offers[gone]["error"]["class"]) == ("HttpError", "404")
    assert [*offers[:gone], *offers[gone + 1 :]] == [*expected[:gone], *expected[gone + 1 :]]
    assert output["sums"] == {"known": PRODUCTS - 1, "missing": 1}
    assert output["published"] == {"publish_partly": f"{PRODUCTS - 1} of {PRODUCTS} prices"}
    assert shop.most == WINDOW
    assert Counter({f"p{number}": 1 for number in range(PRODUCTS)}) + Counter({BUSY: 2}) == Counter(
        {product: len(times) for product, times in shop.at.items()}
    )
    assert all(later - earlier >= 1 for earlier, later in pairwise(shop.at[BUSY]))
    assert site.connections <= WINDOW + 1
    async with stage.client.pool.acquire() as conn:
        steps = await list_steps(conn, run_id)
        verification = await verify_run(conn, stage.place.env, run_id)
        (child,) = await conn.fetch(CHILDREN, run_id)
    assert tuple(child) == ("publish_partly", "shop-report", "COMPLETED")
    last = {row.scope: row.attempt for row in sorted(steps, key=lambda row: row.attempt) if row.node == "price"}
    assert {scope: attempts for scope, attempts in last.items() if attempts > 1} == {BUSY[1:]: 3}
    failed = {(row.scope, row.attempt) for row in steps if row.node == "price" and row.status == "FAILED"}
    assert failed == {(BUSY[1:], 1), (BUSY[1:], 2), (GONE[1:], 1)}
    assert len(last) == PRODUCTS
    assert verification.ok, verification
