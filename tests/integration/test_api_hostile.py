"""What an attacker tries on the API: nothing of it is done, and what he has written stays what it is."""

from __future__ import annotations

import gzip
from functools import partial
from typing import Any

import httpx
import msgspec
import pytest

from courante import Context
from courante.api.app import build_app
from courante.api.backend import Backend
from courante.api.openapi import make_document
from courante.api.reading.task_ids import task_id
from courante.api.routes import ROUTES
from courante.sdk.access.scopes import Scope
from integration.api_asking import SAFE, STREAM, asking, named, spelled
from integration.gated import LOCAL, caller, cookie_of, gate_of, make_key, open_session, operations, served
from integration.http_calls import settings_of
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
QUOTED = "x' OR '1'='1' -- \" ; $1 %s \\"
SCRIPT = b"<script>document.title = 'owned'</script>"


async def test_a_packed_body_is_not_unpacked(stage: Stage) -> None:
    """However small it is, and whatever it says of itself."""
    packed = gzip.compress(b'{"workflow": "' + b"x" * 1_000_000 + b'"}')
    async with asking(stage.client, Scope.SUBMIT) as client:
        for coding, refusal in (("gzip", (415, "body_not_supported")), ("identity", (400, "body_not_json"))):
            headers = {"Content-Encoding": coding, "Content-Type": "application/json"}
            answer = await client.post("/v1/runs", content=packed, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == refusal


async def test_an_artifact_is_no_page(stage: Stage) -> None:
    """A step that makes HTML makes a file: a browser keeps it, does not guess its kind, and runs nothing of it."""

    async def make(_given: object, context: Context) -> object:
        return await context.artifact(SCRIPT, "text/html; charset=utf-8")

    stage.worker({"make": make})
    stage.supervisor()
    await stage.register({"id": "a", "type": "function", "config": {"handler": "make"}})
    run_id = (await stage.run("w")).run_id
    (artifact,) = await stage.client.artifacts.of_run(run_id)
    async with asking(stage.client, Scope.READ) as client:
        answer = await client.get(f"/v1/runs/{run_id}/artifacts/{artifact.artifact.digest}")
    assert answer.content == SCRIPT
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("kind", ["text/html\r\nSet-Cookie: a=b", "text/\u2028", "x" * 100_000, ""])
async def test_a_reference_that_somebody_has_written_is_no_header(stage: Stage, kind: str) -> None:
    """An input may refer to what is there, and say of its kind what it likes: nothing of that is in the answer."""

    async def make(_given: object, context: Context) -> object:
        return await context.artifact(SCRIPT, "text/plain")

    stage.worker({"make": make})
    stage.supervisor()
    await stage.register({"id": "a", "type": "function", "config": {"handler": "make"}})
    reference = (await stage.run("w")).output["a"] | {"content_type": kind}
    run_id = await stage.client.submit("w", reference)
    await stage.result(run_id)
    app = build_app(Backend(stage.client, settings_of(stage.place)))
    key = await make_key(stage, Scope.READ)
    path, headers = f"/v1/runs/{run_id}/artifacts", {"Authorization": f"Bearer {key}"}
    async with (
        served(gate_of(stage.client, app)) as port,
        httpx.AsyncClient(base_url=f"{LOCAL}:{port}", headers=headers) as client,
    ):
        (listed,) = (await client.get(path)).json()["artifacts"]
        answer = await client.get(f"{path}/{reference['$artifact']}")
    assert listed["content_type"] == kind
    assert (answer.status_code, answer.content) == (200, SCRIPT)
    assert answer.headers["x-content-type"] == "application/octet-stream"
    assert "set-cookie" not in answer.headers


async def test_a_reference_to_nothing_hides_no_task(stage: Stage) -> None:
    """A step may give what only looks like an artifact, of any size that it likes: the task is shown without it."""

    def make() -> list[dict[str, object]]:
        kind = {"content_type": "text/plain"}
        return [{"$artifact": "0" * 32, "size_bytes": -(2**62), **kind}, {"$artifact": "../x", "size_bytes": 1, **kind}]

    stage.worker({"make": make})
    stage.supervisor()
    await stage.register({"id": "a", "type": "function", "config": {"handler": "make"}})
    run_id = (await stage.run("w")).run_id
    async with asking(stage.client, Scope.READ) as client:
        shown = await client.get(f"/task-runs/{task_id(run_id, 'a', '')}")
        assert (shown.status_code, [one["content"] for one in shown.json()["artifacts"]]) == (200, [None, None])
        assert (await client.get(f"/runs/{run_id}")).status_code == 200
        for digest in ("0" * 32, "..%2Fx"):
            refused = await client.get(f"/v1/runs/{run_id}/artifacts/{digest}")
            assert (refused.status_code, refused.json()["code"]) == (404, "artifact_not_found")


async def test_an_artifact_is_fetched_from_its_run_alone(stage: Stage) -> None:
    """A digest that another run has made, or an input of its own, is none of its artifacts."""

    async def make(given: str, context: Context) -> object:
        return await context.artifact(given.encode(), "text/plain")

    stage.worker({"make": make})
    stage.supervisor()
    await stage.register({"id": "a", "type": "function", "config": {"handler": "make"}})
    first, second = [(await stage.run("w", text)).run_id for text in ("one", "two")]
    (artifact,) = await stage.client.artifacts.of_run(second)
    async with asking(stage.client, Scope.READ) as client:
        path = f"/v1/runs/{{}}/artifacts/{artifact.artifact.digest}"
        assert (await client.get(path.format(second))).content == b"two"
        refused = await client.get(path.format(first))
        assert (refused.status_code, refused.json()["code"]) == (404, "artifact_not_found")


async def test_nobody_asks_in_the_name_of_another(stage: Stage) -> None:
    """Whoever has a key is named by it, whomever he names besides."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "ask", "type": "approval"})
    async with asking(stage.client, Scope.ADMIN) as client:
        one = (await client.post("/v1/runs", json={"workflow": "w", "by": "ann"})).json()["run_id"]
        more = (await client.post("/v1/runs/batch", json={"runs": [{"workflow": "w", "by": "ann"}]})).json()["run_ids"]
        for run_id in (one, *more):
            await until(partial(stage.types, run_id), lambda types: "step.waiting" in types)
            assert (await client.get(f"/v1/runs/{run_id}")).json()["by"] == "admin: ann"
        approved = await client.post(f"/v1/runs/{one}/approve", json={"by": "ann"})
        cancelled = await client.post(f"/v1/runs/{more[0]}/cancel", json={"by": "ann"})
        assert [each.json()["by"] for each in (approved, cancelled)] == ["admin: ann"] * 2


async def test_a_form_of_another_page_does_nothing(stage: Stage) -> None:
    """Not even of a browser that does not say where it comes from: no kind of form is read, and no link acts."""
    session = await open_session(stage, await make_key(stage))
    kinds = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "")
    async with asking(stage.client) as client:
        for kind in kinds:
            refused = await client.post(
                "/v1/runs", content=b"{}", headers=cookie_of(stage, session) | {"Content-Type": kind}
            )
            assert (refused.status_code, refused.json()["code"]) == (403, "csrf_refused")
            login = await client.post("/v1/login", content=b'{"key": "x"}', headers={"Content-Type": kind})
            assert (login.status_code, login.json()["code"]) == (415, "body_not_supported")
        before = len(await operations(stage))
        looked_at = {route.path for route in ROUTES if route.method in SAFE}
        for route in ROUTES:
            if route.path not in looked_at:
                linked = await client.get(spelled(route, "x"), headers=cookie_of(stage, session))
                assert linked.status_code in (404, 405), named(route)
    assert len(await operations(stage)) == before


async def test_a_pattern_costs_linear_time(stage: Stage) -> None:
    """One that would take for ever elsewhere takes none; one that could take it here too is refused with its place."""
    schema = {"type": "string", "pattern": "^(a+)+$"}
    document = {"courante": 1, "id": "p", "input": schema, "nodes": [{"id": "a", "type": "noop"}]}
    async with asking(stage.client, Scope.ADMIN) as client:
        assert (await client.post("/v1/workflows", json=document)).status_code == 201
        refused = await client.post("/v1/runs", json={"workflow": "p", "input": "a" * 100_000 + "!"})
        assert (refused.status_code, refused.json()["code"]) == (422, "input_invalid")
        for pattern in ("^(?:(?=(a+))a)*(?:a|aa)+!!$", r"(a+)\1+$"):
            slow = {"type": "object", "properties": {"x": {"pattern": pattern}}}
            answer = await client.post("/v1/workflows", json={**document, "input": slow})
            assert (answer.status_code, answer.json()["code"]) == (422, "document_invalid")
            (fault,) = answer.json()["errors"]
            assert (fault["code"], fault["path"]) == ("bad_schema", "input.properties.x.pattern")
            assert "ahead" in fault["hint"]


async def test_a_template_in_an_input_stays_text(stage: Stage) -> None:
    """What was rendered is not rendered again, in whichever language it is written."""
    hostile = "{{ 7 * 7 }} {{ secret('HOME') }} ${7*7} {% raw %} #{7*7} <%= 7*7 %>"
    stage.worker()
    stage.supervisor()
    render: dict[str, Any] = {"value": {"said": "<{{ input.said }}>"}}
    again: dict[str, Any] = {"value": "{{ steps.a.output.said }}"}
    await stage.register(
        {"id": "a", "type": "echo", "config": render},
        {"id": "b", "type": "echo", "config": again, "depends_on": ["a"]},
    )
    done = await stage.run("w", {"said": hostile})
    assert done.output == {"b": f"<{hostile}>"}


async def test_quotes_in_filters_are_letters(stage: Stage) -> None:
    """In each parameter of all that is read: nothing is found by them, and the answer is one that is declared."""
    paths = make_document(ROUTES)["paths"]
    await stage.register({"id": "a", "type": "noop"})
    run_id = await stage.client.submit("w", tags=["t"])
    async with asking(stage.client, Scope.ADMIN) as client:
        for route in ROUTES:
            if route.method not in SAFE or route.media_type == STREAM:
                continue
            for parameter in (field.encode_name for field in msgspec.structs.fields(route.query)):
                answer = await client.get(spelled(route, "w"), params={parameter: QUOTED})
                assert str(answer.status_code) in paths[route.path]["get"]["responses"], (named(route), answer.text)
                if answer.status_code == 200 and parameter in ("workflow", "tag", "status", "parent", "search"):
                    assert run_id not in answer.text, (named(route), parameter)


async def test_a_name_has_methods_of_its_own(stage: Stage) -> None:
    """Also where an id could stand there."""
    async with asking(stage.client, Scope.ADMIN) as client:
        refused = await client.request("OPTIONS", "/v1/runs/retry")
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")


async def test_what_a_proxy_says_of_an_address_steers_no_terminal(stage: Stage) -> None:
    """It may have it from a header of anybody's."""
    async with caller(gate_of(stage.client), await make_key(stage), address="\x9b2J\x85" + "x" * 5_000) as client:
        await client.post("/")
    (noted,) = await operations(stage)
    assert noted.address.startswith("?2J?x")
    assert len(noted.address) == 100
