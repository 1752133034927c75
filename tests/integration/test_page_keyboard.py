"""The page without a mouse, on a narrow screen: what a run needs of a person is done by keys, and nothing is cut."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, Page

from courante import FatalError
from courante.sdk.access import Scope
from integration.browser import look, needs_chromium
from integration.journal import step
from integration.stage import Stage

pytestmark = [pytest.mark.anyio, needs_chromium]
WIDTH = 380
TABS_MAX = 150
LONG = "a-name-without-any-place-to-break-it-" * 5
FOCUSED = """wanted => {
    const found = document.activeElement;
    const name = found.labels?.[0]?.textContent || found.getAttribute('aria-label') || found.textContent || '';
    if (!name.trim().startsWith(wanted)) return null;
    const style = getComputedStyle(found);
    return Boolean(found.closest('svg')) || style.outlineStyle !== 'none' || style.boxShadow !== 'none';
}"""
"""Whether what has the focus is named so, and shows that it has it; null where it is named otherwise."""


async def tab_to(page: Page, name: str) -> None:
    """Press Tab until the focus is at what is named so."""
    for _ in range(TABS_MAX):
        await page.keyboard.press("Tab")
        shows = await page.evaluate(FOCUSED, name)
        if shows is not None:
            assert shows, f"nobody sees that the focus is at {name!r}"
            return
    raise AssertionError(f"Tab does not lead to {name!r}")


async def is_whole(page: Page) -> None:
    """Nothing goes beyond the side of the screen, but in what scrolls by itself."""
    assert await page.evaluate("document.documentElement.scrollWidth") <= WIDTH


async def test_a_run_by_keys_alone(stage: Stage, browser: Browser) -> None:
    """Logged in, started by its form, decided, looked at step by step and event by event, and done again."""
    stage.worker()
    stage.supervisor()
    schema = {
        "type": "object",
        "required": ["tea"],
        "properties": {"tea": {"type": "string"}, "hot": {"type": "boolean"}},
    }
    await stage.register(
        {"id": "a", "type": "noop"},
        {"id": "ask", "type": "approval", "depends_on": "a", "config": {"form": schema}},
        {"id": "z", "type": "noop", "depends_on": "ask"},
        input=schema,
    )
    _, key = await stage.client.access.create_key("ann", {Scope.ADMIN})
    async with look(stage, browser, asks_keys=True, width=WIDTH) as looking:
        page, press = looking.page, looking.page.keyboard.press
        await looking.open("/start/w")
        await page.get_by_label("Key").wait_for()
        await tab_to(page, "Key")
        await page.keyboard.type(key)
        await press("Enter")
        await page.get_by_label("tea").wait_for()
        await tab_to(page, "tea")
        await page.keyboard.type("green")
        await tab_to(page, "Start")
        await is_whole(page)
        await press("Enter")
        await looking.node_is("ask", "WAITING")
        await is_whole(page)
        await looking.shot("narrow-waiting")
        await tab_to(page, "tea")
        await page.keyboard.type("yes")
        await tab_to(page, "Approve")
        await press("Enter")
        await looking.node_is("z", "SUCCEEDED")
        await page.wait_for_selector(".head .s-COMPLETED")
        await tab_to(page, "Graph")
        await page.locator(".node[tabindex='0']").wait_for()
        while not await page.evaluate("document.activeElement.matches('.node')"):
            await press("Tab")
        await press("Enter")
        side = page.get_by_role("complementary")
        await side.wait_for()
        await is_whole(page)
        await looking.is_accessible()
        await tab_to(page, "Rerun from here")
        await press("Enter")
        await page.get_by_role("dialog").wait_for()
        await press("Escape")
        await press("Escape")
        await side.wait_for(state="detached")
        assert await page.evaluate("document.activeElement.matches('.node')"), "the focus is where it was"
        looking.said[:] = [text for text in looking.said if "401" not in text]


async def test_nothing_is_cut_on_a_narrow_screen(stage: Stage, browser: Browser) -> None:
    """Not on any part of a run or a workflow, however long names, errors and tags are."""

    def breaks() -> None:
        raise FatalError(LONG)

    stage.worker({"breaks": breaks})
    stage.supervisor()
    name = LONG[:60]
    await stage.register(step(name, "breaks"), {"id": "b", "type": "noop", "depends_on": name}, name=LONG, id=LONG[:60])
    run_id = await stage.client.submit(LONG[:60], {"text": LONG}, tags=[LONG[:100]], by=LONG[:100])
    await stage.result(run_id)
    async with look(stage, browser, width=WIDTH, color_scheme="dark") as looking:
        page = looking.page
        places = [f"/runs/{run_id}?tab={tab}" for tab in ("graph", "timeline", "steps", "events", "data")]
        places += [
            f"/runs/{run_id}?step={name}",
            f"/workflows/{LONG[:60]}",
            f"/start/{LONG[:60]}",
            "/",
            "/dead-letters",
        ]
        for place in places:
            await looking.open(place)
            await page.wait_for_selector("h1")
            await page.wait_for_load_state("domcontentloaded")
            await page.get_by_text("loading…").wait_for(state="detached")
            await is_whole(page)
            await looking.is_accessible()
            await looking.shot(f"narrow-{places.index(place)}")
