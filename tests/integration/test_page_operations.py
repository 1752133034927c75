"""The pages of operators in a real browser: lists, keys, and what is done to runs."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser

from courante.sdk.access import Scope
from integration.browser import look, needs_chromium
from integration.stage import Stage

pytestmark = [pytest.mark.anyio, needs_chromium]


async def test_the_lists(stage: Stage, browser: Browser) -> None:
    """Every page is sound where there is nothing and where there is something, in light and dark, and on a phone."""
    places = ("/", "/workflows", "/actions", "/dead-letters", "/schedules", "/webhooks", "/operators", "/health")
    for scheme, width in (("light", 1280), ("dark", 380)):
        async with look(stage, browser, width=width, color_scheme=scheme) as looking:
            for place in places:
                await looking.open(place)
                await looking.page.wait_for_selector("h1")
                await looking.page.wait_for_load_state("networkidle") if place != "/" else None
                await looking.is_accessible()
                assert await looking.page.evaluate("document.documentElement.scrollWidth") <= width
                await looking.shot(f"{place.strip('/') or 'runs'}-{scheme}")
            await looking.open("/runs/%zz")  # somebody has cut an address short
            await looking.page.wait_for_selector("text=there is no run %zz")
            assert all("404" in each for each in looking.said), looking.said
            looking.said.clear()
        stage.worker()
        stage.supervisor()
        await stage.register({"id": "a", "type": "noop"})
        await stage.run("w", 1)


async def test_a_key_opens_the_page(stage: Stage, browser: Browser) -> None:
    """Who has none sees nothing; a session may do what its key may, also after a reload, until it is ended."""
    await stage.register({"id": "a", "type": "noop"})
    _, key = await stage.client.access.create_key("ann", {Scope.READ, Scope.SUBMIT})
    async with look(stage, browser, asks_keys=True) as looking:
        page = looking.page
        await looking.open("/start/w")
        await page.get_by_label("Key").fill("wrong")
        await page.get_by_role("button", name="log in").click()
        await page.get_by_role("alert").wait_for()
        await looking.is_accessible()
        await page.get_by_label("Key").fill(key)
        await page.get_by_role("button", name="log in").click()
        await page.get_by_text("ann").wait_for()
        assert await page.get_by_role("link", name="Operator log").count() == 0
        assert await page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
        await page.reload()
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_selector(".head .s-RUNNING, .head .s-PENDING")
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_text("needs the scope").wait_for()
        await page.get_by_role("button", name="log out").click()
        await page.get_by_label("Key").wait_for()
        looking.said[:] = [text for text in looking.said if "401" not in text and "403" not in text]


async def test_who_has_to_log_in_again_finds_what_was_typed(stage: Stage, browser: Browser) -> None:
    """A session that is over takes nothing with it; somebody else who logs in then finds nothing of it."""
    await stage.register(
        {"id": "a", "type": "noop"}, input={"type": "object", "properties": {"tea": {"type": "string"}}}
    )
    keys = [(await stage.client.access.create_key(name, {Scope.READ, Scope.SUBMIT}))[1] for name in ("ann", "bob")]
    async with look(stage, browser, asks_keys=True) as looking:
        page = looking.page

        async def enter(key: str) -> None:
            await page.get_by_label("Key", exact=True).fill(key)
            await page.get_by_role("button", name="log in").click()

        await looking.open("/start/w")
        await enter(keys[0])
        await page.get_by_label("tea").fill("green")
        for key, found in ((keys[0], "green"), (keys[1], "")):
            await page.context.clear_cookies()
            await page.get_by_role("button", name="Start", exact=True).click()
            await page.get_by_label("tea").wait_for(state="hidden")
            await looking.is_accessible()
            await enter(key)
            await page.get_by_text("ann" if found else "bob").wait_for()
            await page.get_by_label("tea").wait_for()
            assert await page.get_by_label("tea").input_value() == found
        looking.said[:] = [text for text in looking.said if "401" not in text]


async def test_what_operators_do(stage: Stage, browser: Browser) -> None:
    """A signal, a rebuild and a fork; runs are found, a webhook is made, and a server is away for a while."""
    stage.worker()
    stage.supervisor()
    await stage.register(
        {"id": "wait", "type": "signal", "config": {"name": "go"}},
        {"id": "price", "type": "echo", "depends_on": ["wait"], "config": {"value": 3}},
        changes={"prices": ["price"]},
    )
    run_id = await stage.client.submit("w", 1, tags=["vip"])
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open(f"/runs/{run_id}")
        await looking.node_is("wait", "WAITING")
        await page.locator('.node[data-node="wait"]').press("Enter")
        side = page.get_by_role("complementary")
        assert (await side.locator("p", has=page.locator(".pill")).inner_text()).count("signal") == 1
        await side.get_by_role("button", name="Say its output…").click()
        await page.get_by_label("Its output").wait_for()
        await page.keyboard.press("Escape")
        await page.get_by_role("button", name="Signal…").click()
        await page.get_by_label("Name").fill("go")
        await page.get_by_label("Data").fill('{"paid": 3}')
        await page.get_by_role("button", name="Send").click()
        await page.wait_for_selector(".head .s-COMPLETED")
        await page.get_by_role("button", name="Rebuild").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("prices").check()
        await dialog.get_by_text("Taken over: wait").wait_for()
        await looking.shot("rebuild")
        await dialog.get_by_role("button", name="Rebuild", exact=True).click()
        await page.get_by_text("rebuild of").wait_for()
        await looking.node_is("wait", "SKIPPED")
        await page.get_by_role("link", name=run_id).click()
        await page.get_by_label("one event back").click()
        await page.get_by_role("button", name="Fork at").click()
        await dialog.get_by_role("button", name="Fork at").click()
        await page.get_by_text("fork of").wait_for()
        await looking.open("/")
        await page.get_by_label("Find").fill(run_id[:20].lower().removeprefix("run_"))
        await page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 1")
        assert await page.locator("tbody tr").get_by_role("link").first.inner_text() == run_id
        await page.get_by_role("button", name="vip").click()
        await page.get_by_role("button", name="all runs").click()
        await page.wait_for_function("() => document.querySelectorAll('tbody tr').length === 3")
        await page.context.set_offline(True)
        await page.get_by_role("link", name="Webhooks").click()
        await page.get_by_text("The server cannot be reached.").first.wait_for()
        await page.context.set_offline(False)
        await page.get_by_text("Nobody is told.").wait_for()
        assert await page.locator(".away").count() == 0
        looking.said[:] = [text for text in looking.said if "ERR_INTERNET_DISCONNECTED" not in text]
        await page.get_by_role("button", name="New").click()
        await dialog.get_by_label("Name").fill("shop")
        await dialog.get_by_label("URL").fill("https://shop.example/hook")
        await looking.is_accessible()
        await dialog.get_by_role("button", name="Add").click()
        await page.get_by_text("the key of its signatures").wait_for()
        await page.keyboard.press("Escape")
        await page.get_by_role("cell", name="shop").first.wait_for()
        await page.get_by_role("link", name="Operator log").click()
        await page.get_by_role("cell", name="POST /v1/webhooks").first.wait_for()


async def test_who_has_started_a_run_is_told_why_he_may_not_decide(stage: Stage, browser: Browser) -> None:
    """The page says so where it asks, and what it says when it is tried all the same."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "ask", "type": "approval", "config": {"separate_approver": True}})
    await stage.client.submit("w", by="anonymous")
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open("/actions")
        await page.get_by_text("who has started the run may not decide").wait_for()
        await page.get_by_role("button", name="Approve").click()
        await page.get_by_role("alert").get_by_text("somebody else has to decide").wait_for()
        looking.said[:] = [text for text in looking.said if "403" not in text]
