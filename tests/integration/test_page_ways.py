"""Ways to look at the page: two fingers, colours of the system, long lists; and runs that are moved or emptied."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Browser, Page

from integration.browser import Looking, look, needs_chromium
from integration.cases import node
from integration.stage import Stage, until

pytestmark = [pytest.mark.anyio, needs_chromium]


async def pinch(page: Page, x: float, y: float, *apart: float) -> None:
    """Two fingers, so far from the middle, one distance after the other."""
    session = await page.context.new_cdp_session(page)
    for kind, far in (("touchStart", apart[0]), *(("touchMove", far) for far in apart[1:]), ("touchEnd", 0)):
        fingers = [{"x": x - far, "y": y, "id": 0}, {"x": x + far, "y": y, "id": 1}] if far else []
        await session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})  # pyright: ignore[reportUnknownMemberType]  # untyped
    await session.detach()


async def width_of(looking: Looking, step: str) -> float:
    box = await looking.page.locator(f'.node[data-node="{step}"]').bounding_box()
    assert box is not None
    return box["width"]


async def test_two_fingers_zoom(stage: Stage, browser: Browser) -> None:
    """Fingers that part make the graph larger, where they are; the page itself stays as it is."""
    await stage.register(node("a"), node("b", "a"))
    async with look(stage, browser, width=380, has_touch=True, is_mobile=True) as looking:
        page = looking.page
        await looking.open("/workflows/w")
        await page.locator('.node[data-node="b"]').wait_for()
        box = await page.locator(".graph svg").bounding_box()
        assert box is not None
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        before = await width_of(looking, "a")
        await pinch(page, x, y, 20, 40, 60, 80)
        larger = await until(lambda: width_of(looking, "a"), lambda width: width > 1.5 * before)
        assert await page.evaluate("visualViewport.scale") == 1
        await pinch(page, x, y, 80, 60, 40, 20)
        await until(lambda: width_of(looking, "a"), lambda width: width < larger / 1.5)


async def test_colours_of_the_system(stage: Stage, browser: Browser) -> None:
    """Where the system chooses the colours, what is chosen and what failed can be told without them."""
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"), node("b", "a", type="transform", config={"expression": "input.none"}))
    result = await stage.run("w", {})
    async with look(stage, browser, forced_colors="active", color_scheme="dark") as looking:
        page = looking.page
        await looking.open(f"/runs/{result.run_id}?step=b")
        await looking.node_is("b", "FAILED")
        line = "tab => getComputedStyle(tab).borderBottomColor"
        graph = await page.get_by_role("tab", name="Graph").evaluate(line)
        others = [await page.get_by_role("tab", name=name).evaluate(line) for name in ("Timeline", "Steps", "Events")]
        assert graph not in others
        style = "rect => [getComputedStyle(rect).fill, getComputedStyle(rect).stroke]"
        plain = await page.locator('.node[data-node="a"] rect').evaluate(style)
        chosen = await page.locator('.node[data-node="b"] rect').evaluate(style)
        assert plain[0] == chosen[0] == await page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert plain[1] != chosen[1]
        assert "✕" in (await page.locator('.node[data-node="b"]').text_content() or "")
        await looking.is_accessible()
        await looking.shot("forced-colours")


async def test_a_thousand_rows(stage: Stage, browser: Browser) -> None:
    """Of a thousand items some are shown, the others when they are asked for; all events are found by a word."""
    stage.worker(database_url=stage.place.database_url)  # the results of so many items are read there
    stage.supervisor()
    items: dict[str, Any] = {"items": "input.items"}
    await stage.register(node("each", type="map", config=items), node("b", "each"), node("all", "b", type="aggregate"))
    result = await stage.run("w", {"items": list(range(1_000))})
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open(f"/runs/{result.run_id}?tab=steps")
        rows = page.locator("tbody tr")
        await page.get_by_role("button", name="702 more").click()
        await page.get_by_role("button", name="402 more").click()
        await page.get_by_role("button", name="102 more").click()
        await page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1002")
        await rows.nth(1_000).get_by_role("button", name="b").click()
        await page.get_by_role("complementary").get_by_label("Execution").wait_for()
        await page.get_by_role("tab", name="Events").click()
        await page.get_by_label("Find").fill("each[999]")
        await page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
        await looking.open("/runs")
        await page.get_by_role("heading", name="Runs").wait_for()


async def test_a_run_is_moved_and_forgotten(stage: Stage, browser: Browser) -> None:
    """What stands in the way of a move is told before; one that can be is made. What a run said is emptied for good."""
    stage.worker()
    stage.supervisor()
    waits = node("wait", type="signal", config={"name": "go"})
    await stage.register(waits, node("old", "wait"))
    run_id = await stage.client.submit("w", {"secret": "tea"})
    await stage.register(node("other"), node("old", "other"))
    await stage.register(waits, node("new", "wait"))
    async with look(stage, browser) as looking:
        page = looking.page
        dialog = page.get_by_role("dialog")
        await looking.open(f"/runs/{run_id}")
        await looking.node_is("wait", "WAITING")
        await page.get_by_role("button", name="Move…").click()
        await dialog.get_by_label("Version").select_option("2")
        await dialog.get_by_text("in the way").wait_for()
        assert await dialog.get_by_role("button", name="Move").is_disabled()
        await dialog.get_by_label("Version").select_option("3")
        await dialog.get_by_text("It can move.").wait_for()
        await dialog.get_by_label("Reason").fill("mended")
        await looking.is_accessible()
        await looking.shot("move")
        await dialog.get_by_role("button", name="Move").click()
        await looking.node_is("new", "PENDING")
        await page.get_by_text("version 3").wait_for()
        await stage.client.signal(run_id, "go", 1)
        await page.wait_for_selector(".head .s-COMPLETED")
        await page.get_by_role("tab", name="Input and output").click()
        await page.get_by_text("tea").wait_for()
        await page.get_by_role("button", name="Forget…").click()
        await dialog.get_by_text("1 run would be emptied").wait_for()
        await looking.is_accessible()
        await looking.shot("forget")
        await dialog.get_by_role("button", name="Forget for good").click()
        await page.get_by_text("its values were forgotten").wait_for()
        assert await page.get_by_text("tea").count() == 0
        assert await page.get_by_role("button", name="Forget…").count() == 0


async def test_a_clock_that_is_wrong(stage: Stage, browser: Browser) -> None:
    """Ages and durations go by the server's clock, whatever that of whoever looks says."""
    stage.supervisor()
    await stage.register(node("a", type="signal", config={"name": "go"}))
    stage.worker()
    run_id = await stage.client.submit("w", 1)
    await until(lambda: stage.types(run_id), lambda found: "step.waiting" in found)
    async with look(stage, browser) as looking:
        page = looking.page
        await page.add_init_script("const real = Date.now; Date.now = () => real() + 3_600_000;")
        await looking.open("/")
        started = page.locator("tbody time")
        await started.wait_for()
        assert await page.evaluate("Date.now()") > 3_600_000
        await page.wait_for_selector("tbody time:text-matches('^[0-9]+ s ago$')")
