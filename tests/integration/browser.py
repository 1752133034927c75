"""A browser that looks at the page of a stage: Chromium, over a real server, with nothing wrong in its console."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from axe_playwright_python.async_playwright import Axe  # pyright: ignore[reportMissingTypeStubs]  # has none
from playwright.async_api import Browser, BrowserContext, Page, async_playwright

from courante.api.app import build_app
from courante.api.backend import open_backend
from courante.api.security.serving import guard, server_options
from courante.api.server import Server
from courante.cli.api_socket import listen, url_of
from integration.http_calls import settings_of
from integration.stage import Stage

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="NO BROWSER: the web page is not tested; install chromium (apt-get install chromium)"
)
PATIENCE_MS = 60_000
CLOSE_S = 30.0
SHOTS = os.environ.get("COURANTE_SCREENSHOTS", "")
"""A folder for pictures of what the tests have seen; none are made without it."""


@dataclass
class Looking:
    """``said``: what the console has complained of."""

    page: Page
    url: str
    said: list[str] = field(default_factory=lambda: [])

    async def open(self, place: str) -> None:
        await self.page.goto(f"{self.url}/#{place}")

    async def shot(self, name: str) -> None:
        if SHOTS:
            await self.page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)

    async def is_accessible(self) -> None:
        """No serious violation, by axe."""
        assert await violations(self.page) == []

    async def node_is(self, node: str, status: str) -> None:
        """Wait until the graph shows a step so."""
        await self.page.wait_for_selector(f'.node[data-node="{node}"][data-status="{status}"]', timeout=PATIENCE_MS)


async def violations(page: Page) -> list[str]:
    """What is seriously wrong for people who cannot see the page or use no mouse, by axe."""
    found: dict[str, Any] = (await Axe().run(page)).response  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # untyped
    wrong: list[dict[str, Any]] = found["violations"]
    bad = [one for one in wrong if one["impact"] in ("serious", "critical")]
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in bad]


@asynccontextmanager
async def open_browser() -> AsyncGenerator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await _close(browser)


async def _close(opened: Browser | BrowserContext) -> None:
    """Chromium has been seen never to answer that a context is closed; its process ends with the test process."""
    with anyio.move_on_after(CLOSE_S):
        await opened.close()


@asynccontextmanager
async def look(
    stage: Stage, browser: Browser, *, asks_keys: bool = False, width: int = 1280, height: int = 900, **options: Any
) -> AsyncGenerator[Looking]:
    """The page of a stage, for somebody who was never there. At the end the console must have complained of nothing."""
    settings = settings_of(stage.place)
    async with open_backend(stage.client, settings, stage.place.redis_url) as backend:
        gated = guard(build_app(backend), stage.client, settings, is_open=not asks_keys, is_loopback=True)
        server = Server(gated, **server_options(settings))
        with listen("127.0.0.1", 0) as listening:
            async with anyio.create_task_group() as group:
                group.start_soon(server.run_on, listening)
                context = await browser.new_context(viewport={"width": width, "height": height}, **options)
                page = await context.new_page()
                page.set_default_timeout(PATIENCE_MS)
                looking = Looking(page, url_of(listening))
                page.on("console", lambda told: looking.said.append(told.text) if told.type == "error" else None)
                page.on("pageerror", lambda error: looking.said.append(str(error)))
                yield looking
                await _close(context)
                assert not looking.said, looking.said
                server.kill()
