"""What the page says while the server, or what the server needs, is away; and that it goes on by itself."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager

import anyio.to_thread
import pytest
from playwright.async_api import Browser, Page, Route

from command_line import clean_environ
from integration.browser import PATIENCE_MS, Looking, look, needs_chromium
from integration.cases import node
from integration.stage import Stage

pytestmark = [pytest.mark.anyio, needs_chromium]
PROBLEM = json.dumps({"status": 503, "code": "service_unavailable", "detail": "Postgres cannot be used now"})


async def answer_all(page: Page, status: int) -> None:
    """From now on everything that is asked of the API is answered so."""

    async def answer(route: Route) -> None:
        await route.fulfill(status=status, body=PROBLEM, content_type="application/problem+json")

    await page.route("**/v1/**", answer)


async def opened(looking: Looking, place: str) -> Page:
    page = looking.page
    await looking.open(place)
    await page.get_by_role("heading", level=1).wait_for()
    await page.wait_for_load_state("networkidle")
    return page


@pytest.mark.parametrize(("status", "said"), [(503, "cannot use its database"), (502, "cannot be reached")])
async def test_an_answer_that_nothing_can_be_asked_is_said(
    stage: Stage, browser: Browser, status: int, said: str
) -> None:
    """While the server, or a proxy before it, refuses everything, what is shown is said to be old, until it is not."""
    async with look(stage, browser) as looking:
        page = await opened(looking, "/health")
        await answer_all(page, status)
        await page.get_by_text(said).wait_for()
        await page.get_by_role("heading", name="Health").wait_for()
        await page.unroute("**/v1/**")
        await page.locator(".away").wait_for(state="detached")
        looking.said[:] = [text for text in looking.said if str(status) not in text]


async def test_a_page_that_is_opened_meanwhile_says_so_too(stage: Stage, browser: Browser) -> None:
    """One that asks for nothing by itself goes on all the same when the server answers."""
    await stage.register(node("a"))
    async with look(stage, browser) as looking:
        page = looking.page
        await answer_all(page, 503)
        await looking.open("/workflows")
        await page.get_by_text("cannot use its database").wait_for()
        await page.unroute("**/v1/**")
        await page.get_by_role("link", name="w", exact=True).wait_for()
        await page.locator(".away").wait_for(state="detached")
        looking.said[:] = [text for text in looking.said if "503" not in text]


async def test_what_is_decided_about_can_be_asked_for_again(stage: Stage, browser: Browser) -> None:
    """Where the length of a log is not known, what a step was given is behind its word, not gone."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "ask", "type": "approval"})
    run_id = await stage.client.submit("w", {"tea": "green"})
    async with look(stage, browser) as looking:
        page = looking.page

        async def refuse(route: Route) -> None:
            await route.fulfill(status=500, body="{}", content_type="application/problem+json")

        await page.route("**/events?after=5000*", refuse)
        await looking.open(f"/runs/{run_id}")
        given = page.get_by_label("decisions").get_by_text("What it was given")
        await given.click()
        await page.get_by_label("decisions").get_by_text("green").wait_for()
        looking.said[:] = [text for text in looking.said if "500" not in text]


async def test_a_part_that_cannot_be_drawn_leaves_the_others(stage: Stage, browser: Browser) -> None:
    """Something that the page does not understand is said in its place: other pages are still there."""
    await stage.register(node("a"))
    async with look(stage, browser) as looking:
        page = looking.page

        async def garble(route: Route) -> None:
            await route.fulfill(status=200, body='{"workflows": 3}', content_type="application/json")

        await page.route("**/v1/workflows*", garble)
        await looking.open("/workflows")
        await page.get_by_text("this cannot be shown").wait_for()
        assert len(looking.said) == 1
        looking.said.clear()
        await page.get_by_role("link", name="Health").click()
        await page.get_by_role("heading", name="Health").wait_for()


async def test_many_tabs_leave_each_other_room(stage: Stage, browser: Browser) -> None:
    """A browser has six connections for all of its tabs: each tab is served, and one that is looked at becomes live."""
    await stage.register(node("a"))
    live = "● live"
    async with look(stage, browser) as looking:
        tabs = [looking.page, *[await looking.page.context.new_page() for _ in range(7)]]
        for tab in tabs:
            await tab.goto(f"{looking.url}/#/")
            await tab.get_by_text("No runs yet.").wait_for()
        for tab in tabs[:4]:
            await tab.get_by_text(live).wait_for()
        for tab in tabs[4:]:
            await tab.get_by_text("○ looked at every 2 s").wait_for()
        for tab in (tabs[0], *tabs[4:]):  # those that wait would take the place first, here all are in sight
            await tab.evaluate(
                "Object.defineProperty(document, 'visibilityState', { value: 'hidden' }),"
                " document.dispatchEvent(new Event('visibilitychange')) && null"
            )
        await tabs[0].get_by_text(live).wait_for(state="detached")
        await tabs[1].close()
        fresh = await looking.page.context.new_page()
        await fresh.goto(f"{looking.url}/#/")
        await fresh.get_by_text(live).wait_for()


async def test_a_browser_that_denies_locks_hears_all_the_same(stage: Stage, browser: Browser) -> None:
    """As it may where a page's storage is closed to it: tabs know nothing of each other then."""
    run_id = await stage.client.submit(await stage.register(node("a")))
    async with look(stage, browser) as looking:
        await looking.page.add_init_script(
            "LockManager.prototype.request = () => Promise.reject(new DOMException('denied', 'SecurityError'))"
        )
        await looking.open(f"/runs/{run_id}")
        await looking.page.get_by_text("● live").wait_for()


@contextmanager
def api_process(stage: Stage) -> Generator[subprocess.Popen[str]]:
    """A server of its own, which listens somewhere on this machine and says so on its first line."""
    place = stage.place
    named = {"COURANTE_REDIS_URL": place.redis_url, "COURANTE_DATABASE_URL": place.database_url}
    with subprocess.Popen(
        [sys.executable, "-m", "courante", "api", "--port", "0", "--json"],
        env=clean_environ() | named | {"COURANTE_ENV": place.env},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_a_server_that_stands_still_is_not_live(stage: Stage, browser: Browser) -> None:
    """It closes no connection; it does not even say that nothing has happened. Later the page goes on by itself."""
    run_id = await stage.client.submit(await stage.register(node("a")))
    with api_process(stage) as process:
        assert process.stdout is not None
        url = json.loads(await anyio.to_thread.run_sync(process.stdout.readline))["api"]["url"]
        context = await browser.new_context()
        page = await context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(f"{url}/#/runs/{run_id}")
        live = page.get_by_text("● live")
        await live.wait_for()
        process.send_signal(signal.SIGSTOP)
        await live.wait_for(state="detached")
        await page.get_by_text("The server does not answer.").wait_for()
        process.send_signal(signal.SIGCONT)
        await live.wait_for()
        await page.locator(".away").wait_for(state="detached")
        await context.close()
