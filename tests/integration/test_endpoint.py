"""The endpoint of a daemon on a real socket: what it answers to whom, and that it waits for nobody."""

from __future__ import annotations

import socket
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
import httpx
import pytest

from command_line import spawn
from courante.sdk.metrics import endpoint as endpoint_module
from courante.sdk.metrics.endpoint import CLIENTS_MAX, Endpoint, Handler, Probe, is_here
from courante.sdk.metrics.series import Series
from integration.stage import Stage

pytestmark = pytest.mark.anyio


@dataclass
class Daemon:
    """What the endpoint asks."""

    reasons: list[str] = field(default_factory=list[str])
    drained: anyio.Event = field(default_factory=anyio.Event)
    url: str = ""
    port: int = 0


@asynccontextmanager
async def daemon() -> AsyncGenerator[Daemon]:
    made = Daemon()
    series = Series("things_total", "Things.", "kind")
    series.add(("good",), 2)
    probe = Probe(role="worker", name="w1", env="e", ready=lambda: made.reasons, drain=made.drained.set)
    endpoint = Endpoint(lambda: [series], probe)
    endpoint.open()
    made.port, made.url = endpoint.port, f"http://127.0.0.1:{endpoint.port}"
    try:
        yield made
    finally:
        endpoint.close()


async def ask(method: str, url: str, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
        return await client.request(method, url, headers=headers)


async def test_what_it_answers() -> None:
    """Metrics in the format that is asked for, live, ready with reasons; anything else is not there."""
    async with daemon() as made:
        plain = await ask("GET", f"{made.url}/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert 'things_total{env="e",kind="good"} 2.0\n' in plain.text
        opened = await ask("GET", f"{made.url}/metrics", accept="application/openmetrics-text; version=1.0.0")
        assert opened.text.endswith("# EOF\n")
        assert (await ask("HEAD", f"{made.url}/metrics")).text == ""
        live = await ask("GET", f"{made.url}/live?verbose=1")
        assert (live.status_code, live.json()["loop_answers"], live.json()["role"]) == (200, True, "worker")
        assert (await ask("GET", f"{made.url}/ready")).status_code == 200
        made.reasons.append("Redis does not answer")
        unready = await ask("GET", f"{made.url}/ready")
        assert (unready.status_code, unready.json()["reasons"]) == (503, ["Redis does not answer"])
        assert (await ask("GET", f"{made.url}/")).status_code == 404
        assert (await ask("POST", f"{made.url}/metrics")).status_code == 404
        assert (await ask("GET", f"{made.url}/drain")).status_code == 405
        assert not made.drained.is_set()


async def test_only_a_program_of_this_machine_drains(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page in a browser does not, and nobody from elsewhere."""
    async with daemon() as made:
        url = f"{made.url}/drain"
        assert (await ask("POST", url, origin="http://evil.test")).status_code == 403
        assert (await ask("POST", url, **{"sec-fetch-site": "cross-site"})).status_code == 403
        monkeypatch.setattr(endpoint_module, "is_here", elsewhere)
        assert (await ask("POST", url)).status_code == 403
        assert not made.drained.is_set()
        monkeypatch.undo()
        assert (await ask("POST", url)).status_code == 202
        await made.drained.wait()


async def test_no_other_name_is_made_to_mean_this_machine() -> None:
    """At a loopback address only names of this machine are answered, in whatever way they are written."""
    async with daemon() as made:
        for path in ("metrics", "live", "ready", "drain"):
            method = "POST" if path == "drain" else "GET"
            for host in (
                "evil.test",
                f"evil.test:{made.port}",
                "127.0.0.1.evil.test",
                "192.0.2.1",
                "[",
                "localhost@evil.test",
            ):
                assert (await ask(method, f"{made.url}/{path}", host=host)).status_code == 421, (path, host)
        assert not made.drained.is_set()
        for host in ("localhost", f"LOCALHOST:{made.port}", "127.0.0.1", "[::1]:9464", "127.8.8.8"):
            assert (await ask("GET", f"{made.url}/live", host=host)).status_code == 200, host


def elsewhere(address: str) -> bool:
    assert is_here(address)
    return is_here("192.0.2.1")


async def test_a_blocked_loop_costs_no_scrape(monkeypatch: pytest.MonkeyPatch) -> None:
    """Metrics are told and it lives, but it is not ready."""
    monkeypatch.setattr(endpoint_module, "LOOP_S", 0.05)
    answers: dict[str, httpx.Response] = {}

    def look(url: str) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            for path in ("metrics", "live", "ready"):
                answers[path] = client.get(f"{url}/{path}")

    async with daemon() as made:
        looking = threading.Thread(target=look, args=(made.url,))
        looking.start()
        looking.join(60)  # this is the loop that answers nothing
    assert answers["metrics"].status_code == 200
    assert (answers["live"].status_code, answers["live"].json()["loop_answers"]) == (200, False)
    assert answers["ready"].json()["reasons"] == ["the event loop does not answer"]


async def test_clients_that_say_nothing_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there may be hold all places for a while, and then they are free again."""
    monkeypatch.setattr(Handler, "timeout", 0.3)
    async with daemon() as made:
        silent = [socket.create_connection(("127.0.0.1", made.port)) for _ in range(CLIENTS_MAX + 5)]
        try:
            with anyio.fail_after(30):
                while True:
                    try:
                        if (await ask("GET", f"{made.url}/metrics")).status_code == 200:
                            break
                    except httpx.TransportError:
                        await anyio.sleep(0.02)
        finally:
            for one in silent:
                one.close()


async def test_it_is_gone_when_it_is_closed() -> None:
    """Nobody listens any more."""
    async with daemon() as made:
        url = made.url
    with pytest.raises(httpx.ConnectError):
        await ask("GET", f"{url}/live")


async def test_an_address_that_cannot_be_had_is_told(stage: Stage, tmp_path: Path) -> None:
    """The daemon does not start without what was asked of it."""
    async with daemon() as made:
        environ = {
            "COURANTE_REDIS_URL": stage.place.redis_url,
            "COURANTE_DATABASE_URL": stage.place.database_url,
            "COURANTE_ENV": stage.place.env,
        }
        for words in (("supervisor",), ("worker",), ("api", "--port", "0")):
            argv = (*words, "--metrics-port", str(made.port), "--json")
            said = await anyio.to_thread.run_sync(partial(spawn, *argv, cwd=tmp_path, environ=environ))
            assert (said.code, said.json["error"]["code"]) == (2, "metrics_port_unusable")
            assert f"127.0.0.1:{made.port}" in said.json["error"]["message"]
            assert len(said.out.splitlines()) == 1, "nothing is said to serve that does not"
        said = await anyio.to_thread.run_sync(
            partial(spawn, "worker", "--metrics-port", "70000", cwd=tmp_path, environ=environ)
        )
        assert (said.code, "from 0 to 65535" in said.err) == (64, True), said
