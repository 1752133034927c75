"""What the API counts of its requests."""

from __future__ import annotations

import pytest

from courante.api.app import build_app
from courante.api.backend import open_backend
from courante.api.metering import Meter
from courante.api.security.gate import Gate
from courante.api.security.terms import Terms, host_names
from courante.sdk.connections import POSTGRES_CONNECTIONS_MAX
from courante.sdk.metrics.exposition import Exposition
from integration.gated import caller, make_key
from integration.http_calls import settings_of
from integration.stage import Stage
from scrapes import parse

pytestmark = pytest.mark.anyio


async def test_answers_are_counted_by_their_routes(stage: Stage) -> None:
    """As they are declared, whatever stands in their paths; what comes to no route has an empty one."""
    place, meter = stage.place, Meter()
    terms = Terms(hosts=host_names("127.0.0.1", [], is_loopback=True))
    async with open_backend(stage.client, settings_of(place), place.redis_url) as backend:
        gate = Gate(build_app(backend), stage.client.access, stage.client.operators, place.env, terms, meter.note)
        async with caller(gate, await make_key(stage)) as api, caller(gate) as stranger:
            for run_id in ("run_1", "run_2"):
                await api.get(f"/v1/runs/{run_id}")
            await api.get("/v1/runs")
            await api.get("/v1/no/such/path")
            await api.request("BREW", "/v1/runs")
            await stranger.get("/v1/runs", headers={"Authorization": "Bearer crt_x"})
        _, text = Exposition(lambda: meter.sources(backend), {"env": "e"}).write("")
    told = parse(text.decode())

    def count(name: str, **labels: str) -> float:
        return told[f"courante_api_{name}", frozenset({"env": "e", **labels}.items())]

    assert count("requests_total", method="GET", route="/v1/runs/{run_id}", status="404") == 2
    assert count("requests_total", method="GET", route="/v1/runs", status="200") == 1
    assert count("requests_total", method="GET", route="", status="404") == 1
    assert count("requests_total", method="GET", route="", status="401") == 1
    assert count("requests_total", method="other", route="", status="405") == 1
    assert count("request_seconds_count", method="GET", route="/v1/runs/{run_id}") == 2
    assert count("listeners") == 0
    assert count("postgres_connections", state="possible") == POSTGRES_CONNECTIONS_MAX
    assert 0 < count("postgres_connections", state="idle") <= POSTGRES_CONNECTIONS_MAX
    assert count("postgres_connections", state="busy") == 0
