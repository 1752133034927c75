"""Workers that are killed while a model answers: the step is repeated, and the lost call is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from chaos.servers import PostgresServer
from chaos.shapes import Order, document
from chaos.site import ENV, MIDDLE_LEASE_MS, PATIENCE_S, Site, open_site
from courante.sdk.spending.spent import Spent, told_spent
from courante.sdk.stores.log import read_events
from integration.wire import openai_answers
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio
MOST = 50
ASKS = {"model": "gpt-4o", "prompt": "Tell me", "max_tokens": MOST, "stream": True}


@pytest.fixture
async def own_site(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[Site]:
    """A site whose runs are of no shape that others know."""
    async with open_site(tmp_path, postgres) as made:
        yield made


async def test_a_worker_is_killed_in_a_stream(own_site: Site) -> None:
    """With kill -9: another worker gets the answer. The money of the lost call is spent, as unknown."""
    site, in_stream = own_site, anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        if in_stream.is_set():
            await reply.events(openai_answers.stream("All ", "of it"))
            return
        await reply.begin()
        await reply.piece(openai_answers.event(openai_answers.chunk({"content": "Only "})))
        in_stream.set()
        await reply.until_gone()

    site.lease_ms = MIDDLE_LEASE_MS
    await site.register(document("asks", {"id": "a", "type": "llm", "config": ASKS}, output="outputs.a"))
    async with open_wire(give) as server:
        site.settings = {"COURANTE_OPENAI_URL": f"{server.url}/v1"}
        site.supervisor()
        first = site.worker()
        (run_id,) = await site.order([Order("asks", {}, "", "asks")])
        with anyio.fail_after(PATIENCE_S):
            await in_stream.wait()
        first.kill()
        site.worker()
        await site.until_ended()
    client = await site.reach_client()
    async with client.pool.acquire() as conn:
        events = await read_events(conn, run_id)
    ends = [told_spent(each.facts.data) for each in events if told_spent(each.facts.data) != Spent()]
    (spent,) = ends
    assert (spent.calls, spent.unknown, spent.unpriced) == (2, 1, 0)
    assert spent.output_tokens == MOST + 10
    assert spent.input_tokens > 19 + len("Tell me")
    assert spent.cost > 0
    (row,) = await site.query("SELECT status FROM runs WHERE env = $1 AND run_id = $2", ENV, run_id)
    assert row["status"] == "COMPLETED"
    assert (await client.result(run_id)).output == "All of it"
    await site.check()
