"""Calls through a proxy (setting ``http_proxy``): only to what is named, and certificates count as ever."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from courante import Context
from courante.runner.models.terms import ModelTerms
from courante.sdk.authoring.steps import Steps
from courante.sdk.http.client import Connections
from courante.sdk.http.reach import AddressRefused, read_proxy, read_reach
from courante.sdk.settings import SettingsError, load_settings
from integration import apart
from integration.certificates import trusted
from integration.forward_proxy import open_proxy
from integration.http_site import Answer, Asked, Site, asks, echo, open_site
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


@pytest.fixture
async def gateway() -> AsyncIterator[Site]:
    """What stands where a proxy should: it answers itself, and takes down what it was asked to fetch."""
    async with open_site(echo) as site:
        yield site


async def nobody(host: str, _port: int) -> list[str]:
    """A name server that knows the proxy alone."""
    if host != "127.0.0.1":
        raise OSError(f"{host} was looked up")
    return [host]


async def get(allow: str, url: str, proxy: str) -> httpx.Response:
    connections = Connections(read_reach(allow, proxy), nobody)
    try:
        async with httpx.AsyncClient(transport=connections, trust_env=False) as client:
            return await client.get(url)
    finally:
        await connections.shut()


async def test_names_are_resolved_by_the_proxy(gateway: Site) -> None:
    """It is asked for the whole URL, and no name server of this machine is asked for anything."""
    for allow in ("shop.example", "*.example", "shop.example:80", "*"):
        answer = await get(allow, "http://shop.example/x?n=1", gateway.url)
        assert answer.json()["target"] == "http://shop.example/x?n=1"


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/",
        "http://shop.example:8080/",
        "http://shop.example.evil.example/",
        "http://evilshop.example/",
        "https://shop.example/",
        "http://8.8.8.8/",
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://[::ffff:10.0.0.1]/",
        "http://169.254.169.254/latest/meta-data/",
        "http://10.1.2.3:81/",
    ],
)
async def test_what_nothing_names_is_not_asked_for(gateway: Site, url: str) -> None:
    """Not even where it is public: whether it is cannot be seen from here. The proxy never hears of it."""
    with pytest.raises(AddressRefused, match="named by nothing"):
        await get("shop.example:80, 10.1.0.0/16:80", url, gateway.url)
    assert gateway.connections == 0


async def test_a_tunnel_ends_at_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TLS is between the worker and the host: a proxy that leads elsewhere is found by the certificate."""
    tls = trusted("shop.example", tmp_path, monkeypatch)
    async with open_site(echo, tls=tls) as site:
        places = {"shop.example:443": site.port, "bank.example:443": site.port}
        async with open_proxy(places) as proxy:
            answer = await get("*.example", "https://shop.example/x", proxy.url)
            assert answer.json()["target"] == "/x"
            with pytest.raises(httpx.ConnectError, match=r"bank\.example"):
                await get("*.example", "https://bank.example/", proxy.url)
            with pytest.raises(httpx.ProxyError, match="403"):
                await get("*.example", "https://mail.example/", proxy.url)
            assert proxy.asked == [f"CONNECT {name}.example:443" for name in ("shop", "bank", "mail")]


async def test_nodes_steps_models_and_webhooks_go_through_it(stage: Stage) -> None:
    """Whatever a worker or a supervisor asks for somebody's sake, in a process of its own too."""
    asked: list[str] = []

    def give(request: Asked) -> Answer:
        asked.append(request.target)
        if request.target == "http://shop.example/away":
            return Answer(status=302, headers={"Location": "http://inner.example/"})
        return Answer.json(json.dumps({"choices": [{"message": {"role": "assistant", "content": "hi"}}]}))

    async def call(context: Context) -> int:
        return (await context.http.get("http://shop.example/step")).status_code

    steps = Steps()
    steps.add(call, "call")
    steps.add(apart.calls, "apart", isolation="process")
    async with open_site(give) as site:
        models = ModelTerms(openai_url="http://models.example/v1")
        stage.worker(steps, models=models, http_allow="shop.example", http_proxy=site.url)
        stage.supervisor(http_allow="shop.example", http_proxy=site.url)
        await stage.client.webhooks.add("hook", "http://shop.example/hook", ["run.ended"])
        await stage.register(
            asks(url="http://shop.example/node"),
            {"id": "b", "type": "function", "config": {"handler": "call"}},
            {"id": "d", "type": "function", "config": {"handler": "apart"}, "input": "'http://shop.example/apart'"},
            {"id": "c", "type": "llm", "config": {"provider": "openai", "model": "m", "prompt": "p"}},
        )
        done = await stage.run("w")
        assert done.status == "COMPLETED", done.error
        await stage.register(asks(url="http://shop.example/away"), id="away")
        away = await stage.run("away")
        assert (away.status, (away.error or {})["type"]) == ("FAILED", "AddressRefused")

        async def told() -> set[str]:
            return set(asked)

        wanted = {f"http://shop.example/{name}" for name in ("node", "step", "apart", "hook", "away")}
        await until(told, lambda found: found >= {*wanted, "http://models.example/v1/chat/completions"})
        assert not any("inner" in target for target in asked)


@pytest.mark.parametrize(
    "text", ["https://egress:1", "egress:3128", "http://egress", "http://u:p@egress:1", "http://x:1/p"]
)
def test_what_is_no_proxy_is_refused(text: str, tmp_path: Path) -> None:
    """A scheme, a host and a port; nothing else, and no password is told."""
    with pytest.raises(ValueError, match=r".") as told:
        read_proxy(text)
    assert "u:p" not in str(told.value)
    with pytest.raises(SettingsError):
        load_settings({}, environ={"COURANTE_HTTP_PROXY": text, "HOME": str(tmp_path)}, cwd=tmp_path)
