"""Workflows over HTTP, and what every route of the API has in common."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from integration.http_calls import JSON, YAML, open_api
from integration.stage import Stage

pytestmark = pytest.mark.anyio
DOCUMENT = {"courante": 1, "id": "w", "nodes": [{"id": "a", "type": "noop"}]}


@pytest.fixture
async def api(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(stage) as client:
        yield client


async def test_a_document_is_registered_once(api: httpx.AsyncClient) -> None:
    """The same content is the same version, and other content the next one."""
    first = await api.post("/v1/workflows", json=DOCUMENT)
    assert (first.status_code, first.json()["version"]) == (201, 1)
    assert first.headers["location"] == "/v1/workflows/w?version=1"
    assert (await api.post("/v1/workflows", json=DOCUMENT)).status_code == 200
    changed = await api.post("/v1/workflows", json={**DOCUMENT, "name": "Other"})
    assert (changed.status_code, changed.json()["version"]) == (201, 2)
    shown = (await api.get("/v1/workflows/w")).json()
    assert [one["version"] for one in shown["versions"]] == [1, 2]
    assert (shown["name"], shown["nodes"]) == ("Other", [{"id": "a", "type": "noop", "name": "", "compensate": None}])
    assert (await api.get("/v1/workflows/w", params={"version": 1})).json()["version"] == 1
    (line,) = (await api.get("/v1/workflows")).json()["workflows"]
    assert (line["id"], line["version"], line["versions"]) == ("w", 2, 2)


async def test_a_document_in_yaml(api: httpx.AsyncClient) -> None:
    """It is registered as it stands in its file."""
    text = "courante: 1\nid: tea\nnodes:\n  - {id: a, type: noop}\n  - {id: b, type: noop, depends_on: [a]}\n"
    assert (await api.post("/v1/workflows", content=text, headers=YAML)).status_code == 201
    drawn = (await api.get("/v1/workflows/tea/graph")).json()
    assert drawn["format"] == "mermaid"
    assert "n0 --> n1" in drawn["text"]
    assert (await api.get("/v1/workflows/tea/graph", params={"format": "dot"})).json()["text"].startswith("digraph")


async def test_a_document_with_faults(api: httpx.AsyncClient) -> None:
    """Every fault is told, with its place; validating it says the same and is no refusal."""
    text = "courante: 1\nid: tea\nnodes:\n  - {id: a, type: noop, depends_on: [b]}\n  - {id: a, type: nop}\n"
    answer = await api.post("/v1/workflows", content=text, headers=YAML)
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, problem["status"], problem["code"]) == (422, 422, "document_invalid")
    places = [(one["code"], one["line"]) for one in problem["errors"]]
    assert len(places) > 1
    said = await api.post("/v1/workflows/validate", content=text, headers=YAML)
    assert (said.status_code, said.json()["ok"]) == (200, False)
    assert [(one["code"], one["line"]) for one in said.json()["diagnostics"]] == places
    assert (await api.post("/v1/workflows/validate", json=DOCUMENT)).json()["ok"]


@pytest.mark.parametrize(
    ("method", "path", "more", "status", "code"),
    [
        ("GET", "/v1/nothing", {}, 404, "not_found"),
        ("PUT", "/v1/workflows", {}, 405, "method_not_allowed"),
        ("GET", "/v1/workflows/none", {}, 404, "workflow_not_found"),
        ("GET", "/v1/workflows?limt=3", {}, 400, "query_invalid"),
        ("GET", "/v1/workflows?limit=many", {}, 400, "query_invalid"),
        ("GET", "/v1/workflows?limit=0", {}, 400, "query_invalid"),
        ("GET", "/v1/workflows?limit=1&limit=2", {}, 400, "query_invalid"),
        ("GET", "/v1/workflows?after=%00", {}, 422, "bad_value"),
        ("POST", "/v1/workflows", {"content": b"x"}, 415, "body_not_supported"),
        ("POST", "/v1/workflows", {"content": b"{", "headers": JSON}, 422, "document_invalid"),
    ],
)
async def test_what_is_refused(
    api: httpx.AsyncClient, method: str, path: str, more: dict[str, object], status: int, code: str
) -> None:
    """A refusal is a problem with a stable code and says what is wrong."""
    answer = await api.request(method, path, **more)  # type: ignore[arg-type]  # each case brings arguments of its own
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["type"]) == (status, code, f"urn:courante:problem:{code}")
    assert problem["detail"]
    assert method != "PUT" or set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}


async def test_health_is_told(api: httpx.AsyncClient) -> None:
    """In one word, with reasons, and to probes."""
    said = (await api.get("/v1/health")).json()
    assert (await api.get("/health")).json()["status"] == said["status"]
    assert said["status"] == "CRITICAL"
    assert "no_supervisor" in {one["code"] for one in said["reasons"]} or said["reasons"]
    assert (await api.get("/v1/health/live")).json() == {"ok": True}
    assert (await api.get("/v1/health/ready")).json() == {"ok": True}
    assert (await api.head("/v1/health/ready")).status_code == 200
