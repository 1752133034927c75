"""Where nodes of type http may go, and where not."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from courante.sdk.http.client import Connections
from courante.sdk.http.reach import AddressRefused, read_reach
from integration.certificates import trusted
from integration.http_site import Answer, Asked, asks, echo, open_site
from integration.stage import Stage

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/",
        "http://localhost:{port}/",
        "http://2130706433:{port}/",
        "http://0x7f.1:{port}/",
        "http://[::ffff:127.0.0.1]:{port}/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0.0.0.0:{port}/",
    ],
)
async def test_private_addresses_are_refused(stage: Stage, url: str) -> None:
    """In all their forms, and the server never hears of it."""
    stage.worker()
    stage.supervisor()
    async with open_site(echo) as site:
        workflow = await stage.register(asks(input="input"))
        done = await stage.run(workflow, url.format(port=site.port))
        assert done.error is not None
        assert (done.error["type"], done.error["attempt"], site.connections) == ("AddressRefused", 1, 0)


async def test_a_redirect_into_a_private_network_is_refused(stage: Stage) -> None:
    """The first host is allowed; where it leads is not."""
    async with open_site(echo) as inner:

        def give(asked: Asked) -> Answer:
            target = {"/x": inner.url, "/file": "file:///etc/passwd"}[asked.path]
            return Answer(status=302, headers={"Location": target})

        async with open_site(give) as site:
            stage.worker(http_allow=f"127.0.0.1:{site.port}")
            stage.supervisor()
            workflow = await stage.register(asks(input="input"))
            for path in ("/x", "/file"):
                done = await stage.run(workflow, site.url + path)
                assert done.error is not None
                assert done.error["type"] == "AddressRefused"
        assert inner.connections == 0


async def test_a_name_that_changes_its_mind_is_caught_with_every_connection(stage: Stage) -> None:
    """What was checked is what is connected to: the answer of a moment ago does not count for the next connection."""
    del stage
    asked: list[str] = []

    async def resolver(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"] if len(asked) == 1 else ["127.0.0.2"]

    async with open_site(lambda _: Answer.json("1", is_last=len(asked) > 0)) as site:
        connections = Connections(read_reach("127.0.0.1"), resolver)
        url = f"http://shop.example:{site.port}/"
        async with httpx.AsyncClient(transport=connections, trust_env=False) as client:
            assert (await client.get(url)).json() == 1
            assert site.asked[0].headers["host"] == f"shop.example:{site.port}"
            with pytest.raises(AddressRefused, match=r"shop.example \(127.0.0.2\)"):
                await client.get(url)
        await connections.shut()
    assert asked == ["shop.example", "shop.example"]


async def test_one_private_address_among_public_ones_is_refused() -> None:
    """All answers of a name are checked, not only the one that is used."""

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1", "127.0.0.2"]

    connections = Connections(read_reach("127.0.0.1"), resolver)
    try:
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.2"):
            await connections.handle_async_request(httpx.Request("GET", "http://shop.example/"))
    finally:
        await connections.shut()


async def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the connection goes to an address."""
    tls = trusted("shop.example", tmp_path, monkeypatch)

    async def resolver(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    async with open_site(lambda _: Answer.json("1"), tls=tls) as site:
        connections = Connections(read_reach("127.0.0.1"), resolver)
        async with httpx.AsyncClient(transport=connections, trust_env=False) as client:
            assert (await client.get(f"https://shop.example:{site.port}/")).json() == 1
            with pytest.raises(httpx.ConnectError, match=r"shop\.other"):
                await client.get(f"https://shop.other:{site.port}/")
        await connections.shut()
