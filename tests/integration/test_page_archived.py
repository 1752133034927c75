"""The page about a run whose log was moved away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser

from courante.supervisor.retention.policy import Policy
from courante.supervisor.retention.retention import Retention
from integration.browser import look, needs_chromium
from integration.cases import node
from integration.stage import Stage

pytestmark = [pytest.mark.anyio, needs_chromium]
LATER, MONTH = timedelta(days=400), timedelta(days=30)


@pytest.fixture
def migrated_database(own_migrated_database: str) -> str:
    """A database of its own: months are of all environments."""
    return own_migrated_database


async def test_what_is_left_of_a_run_is_shown_and_its_log_asked_for_once(stage: Stage, browser: Browser) -> None:
    """Its steps and its end, and where its log went; nobody asks again and again for what cannot come."""
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"))
    run_id = (await stage.run("w", 1)).run_id
    servers = stage.redis, stage.client.pool, stage.client.keys
    await Retention(*servers, Policy(log=MONTH), now=datetime.now(UTC) + LATER).carry_out()
    async with look(stage, browser) as looking:
        page = looking.page
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
        await page.clock.install()
        await looking.open(f"/runs/{run_id}")
        await page.get_by_text("its log was archived").wait_for()
        await page.wait_for_load_state("networkidle")
        await looking.node_is("a", "SUCCEEDED")
        for _ in range(10):
            await page.clock.run_for(6_000)
        await page.wait_for_load_state("networkidle")
        assert len(asked) == 1, asked
        looking.said[:] = [text for text in looking.said if "410" not in text]
