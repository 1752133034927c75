"""What people, programs and models have written is text on the page, wherever it is shown."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser

from courante import Context, FatalError
from courante.sdk.access import Scope
from courante.sdk.schedules.schedule import Schedule
from integration.browser import PATIENCE_MS, Looking, look, needs_chromium
from integration.stage import Stage, until

pytestmark = [pytest.mark.anyio, needs_chromium]
EVIL = '"\'`><script>window.owned=1</script><img src=x onerror="window.owned=1">{{7*7}}<b id=evil>'
LINK = "javascript:window.owned=1"
SHOWN = {
    "/": [("", "button.tag")],
    "/runs/WAITING": [("", "a.tag"), (".node[data-node=a]", "aside pre.logs"), ("", "aside .leaf")],
    "/runs/FAILED": [("", ".problem"), (".node[data-node=a]", "aside .problem")],
    "/start/asks": [("", "form .field small"), ("", "form .field option")],
    "/actions": [("", ".asks .field small")],
    "/schedules": [("", "td:first-child .quiet"), ("", "td .pill + .quiet")],
}
"""Where it has to be seen as text: what is to be opened before, and where it stands then."""
LINKED = "[...document.querySelectorAll('nav a')].map(each => each.hash.slice(1))"


async def _furnish(stage: Stage) -> tuple[str, str]:
    """A run that waits and one that has failed, with something hostile in every text that they have."""

    async def work(_given: object, context: Context) -> dict[str, Any]:
        context.log(EVIL, evil=EVIL)
        return {
            EVIL: EVIL,
            "link": LINK,
            "list": [EVIL],
            "artifact": await context.artifact(EVIL.encode(), "text/html"),
        }

    def breaks(_given: object) -> None:
        raise FatalError(EVIL)

    def function(id: str, handler: str, **more: Any) -> dict[str, Any]:
        return {"id": id, "name": EVIL, "type": "function", "config": {"handler": handler}, **more}

    field = {"title": EVIL, "description": EVIL, "enum": [EVIL]}
    form = {"type": "object", "title": EVIL, "description": EVIL, "properties": {"a": field}}
    stage.worker({"work": work, "breaks": breaks})
    stage.supervisor()
    asks = {"id": "ask", "name": EVIL, "type": "approval", "depends_on": "a", "config": {"form": form}}
    await stage.register(function("a", "work"), asks, id="asks", name=EVIL, description=EVIL, input=form)
    await stage.register(function("a", "breaks"), id="fails", name=EVIL)
    waiting = await stage.client.submit("asks", {"a": EVIL}, tags=[EVIL], by=EVIL)
    failed = await stage.client.submit("fails", {EVIL: EVIL}, tags=[EVIL], by=EVIL)
    await stage.result(failed)
    await until(lambda: stage.types(waiting), lambda types: types.count("step.waiting") == 1)
    await stage.client.pause(waiting, EVIL, by=EVIL)
    clock = Schedule(id="clock", workflow="fails", cron="@daily", input={"a": EVIL}, note=EVIL)
    await stage.client.schedules.create(clock)
    await stage.client.schedules.pause("clock", by=EVIL, note=EVIL)
    return waiting, failed


async def _is_text(looking: Looking, click: str, where: str) -> None:
    """Wait until the hostile text stands there as text, after something was opened."""
    if click:
        await looking.page.locator(click).first.press("Enter")
    await looking.page.locator(where, has_text=EVIL).first.wait_for(state="attached", timeout=PATIENCE_MS)


async def _walk(looking: Looking) -> int:
    """Open every tab and every step of what is shown; return how often the hostile text was seen as text."""
    page, seen = looking.page, 0
    await page.wait_for_selector("main h1, main [role=alert], main p")
    for kind in (".node", "[role=tab]"):
        for number in range(await page.locator(kind).count()):
            await page.locator(kind).nth(number).press("Enter")
            await page.wait_for_load_state("domcontentloaded")
            seen += EVIL[:20] in await page.evaluate("document.body.innerText")
    seen += EVIL[:20] in await page.evaluate("document.body.innerText")
    assert await page.evaluate("window.owned") is None
    assert await page.locator("#evil, img[src=x], script:not([src])").count() == 0
    links = await page.evaluate("[...document.querySelectorAll('a[href]')].map(each => each.href)")
    assert not [link for link in links if not link.startswith(looking.url)]
    return seen


async def test_what_others_have_written_is_only_text(stage: Stage, browser: Browser) -> None:
    """Names, tags, inputs, outputs, errors, logs, forms, notes and who asked: on no view is anything of it executed.

    Nor is it tried: the policy of the page would tell the console.
    """
    waiting, failed = await _furnish(stage)
    _, key = await stage.client.access.create_key(EVIL[:100], {Scope.ADMIN})
    async with look(stage, browser, asks_keys=True) as looking:
        page = looking.page
        await looking.open("/")
        await page.get_by_label("Key").fill(key)
        await page.get_by_role("button", name="log in").click()
        await page.wait_for_selector("nav a")
        linked: list[str] = await page.evaluate(LINKED)
        places = [f"/runs/{waiting}", f"/runs/{failed}", "/workflows/asks", "/start/asks", *linked, f"/{quote(EVIL)}"]
        seen: dict[str, int] = {}
        names = {f"/runs/{waiting}": "/runs/WAITING", f"/runs/{failed}": "/runs/FAILED"}
        assert set(SHOWN) <= {names.get(place, place) for place in places}
        for place in [*places, f"/runs/{quote(EVIL, safe='')}", f"/workflows/{quote(EVIL, safe='')}"]:
            await looking.open(place)
            for click, where in SHOWN.get(names.get(place, place), ()):
                await _is_text(looking, click, where)
            seen[place] = await _walk(looking)
            looking.said[:] = [text for text in looking.said if "401" not in text and "404" not in text]
            assert looking.said == []
    shown = [place for place, times in seen.items() if times]
    assert {f"/runs/{waiting}", f"/runs/{failed}", "/workflows/asks", "/start/asks", "/actions"} <= set(shown), seen
