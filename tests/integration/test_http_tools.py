"""Tools over HTTP, as their operator has declared them."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs

import anyio
import pytest

from courante.runner.nodes import tool as tool_node
from courante.runner.tools.shelf import check_names
from courante.sdk.authoring.declared_tools import DeclaredHttpTool, DeclaredTools
from courante.sdk.authoring.steps import Steps
from integration.http_site import Answer, Site, open_site
from integration.http_site import Asked as Called
from integration.stage import Stage
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio
SECRET = "search-key-90ab"


def echo(asked: Called) -> Answer:
    """Answers what it was asked."""
    told = {
        "method": asked.method,
        "target": asked.target,
        "body": json.loads(asked.body) if asked.body else None,
        "key": asked.headers.get("authorization", ""),
        "idempotency": asked.headers.get("idempotency-key", ""),
    }
    return Answer.json(json.dumps(told))


def declared(site: Site, **config: Any) -> DeclaredTools:
    schema = {"type": "object", "properties": {"limit": {"type": "integer"}}, "required": ["query"]}
    url = site.url + config.pop("path", "/search")
    tool = DeclaredHttpTool(name="web_search", schema=schema, config={"url": url, **config})
    return DeclaredTools(http={"web_search": tool})


def asks(**input: str) -> dict[str, Any]:
    return {"id": "a", "type": "tool", "config": {"tool": "web_search"}, "input": input, "max_retries": 0}


async def test_arguments_are_the_query_of_a_get(stage: Stage) -> None:
    """Objects as JSON; the result is the answer's body."""
    async with open_site(echo) as site:
        stage.worker(declared=declared(site), http_allow="127.0.0.1")
        stage.supervisor()
        node = asks(query="'green tea'", near="{'city': 'Graz'}", limit="3")
        told = (await stage.run(await stage.register(node))).output["a"]
    assert (told["method"], told["body"]) == ("GET", None)
    query = parse_qs(told["target"].partition("?")[2])
    assert query == {"query": ["green tea"], "near": ['{"city":"Graz"}'], "limit": ["3"]}


async def test_arguments_are_the_body_of_a_post(stage: Stage) -> None:
    """Without those that the URL names; every attempt has the same idempotency key."""
    async with open_site(echo) as site:
        posts = declared(site, method="POST", path="/shops/{{ arguments.shop }}/search")
        stage.worker(declared=posts, http_allow="127.0.0.1")
        stage.supervisor()
        done = await stage.run(await stage.register(asks(query="'tea'", shop="'a/b'")))
    told = done.output["a"]
    assert (told["target"], told["body"]) == ("/shops/a%2Fb/search", {"query": "tea"})
    assert told["idempotency"] == f"{done.run_id}/a"


async def test_headers_hold_secrets_that_are_never_shown(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is given the value; in its answer it is masked."""
    monkeypatch.setenv("COURANTE_SECRET_SEARCH", SECRET)
    async with open_site(echo) as site:
        headers = {"Authorization": "Bearer {{ secret('SEARCH') }}"}
        stage.worker(declared=declared(site, headers=headers), http_allow="127.0.0.1")
        stage.supervisor()
        done = await stage.run(await stage.register(asks(query="'tea'")))
        assert site.asked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert done.output["a"]["key"] == "Bearer ***"


async def test_arguments_that_do_not_fit_the_schema_are_not_sent(stage: Stage) -> None:
    """The step fails at once, with their places."""
    async with open_site(echo) as site:
        stage.worker(declared=declared(site), http_allow="127.0.0.1")
        stage.supervisor()
        done = await stage.run(await stage.register(asks(limit="'many'")))
        assert done.error is not None
        assert done.error["type"] == "INPUT_INVALID"
        assert "arguments.limit: " in done.error["message"]
        assert site.asked == []


async def test_a_tool_has_as_long_as_its_step(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the step has a timeout, however long; where it has none a service that never answers is given up."""
    monkeypatch.setattr(tool_node, "CALL_S", 0.3)

    async def give(asked: Asked, reply: Reply) -> None:
        if "slow" in asked.path:
            await anyio.sleep(0.6)
            await reply.json("late")
        await reply.until_gone()

    async with open_wire(give) as server:
        config = {"url": f"{server.url}/search", "query": {"q": "{{ arguments.query }}"}}
        web_search = DeclaredHttpTool(name="web_search", config=config)
        stage.worker(declared=DeclaredTools(http={"web_search": web_search}), http_allow="127.0.0.1")
        stage.supervisor()
        patient = asks(query="'slow'") | {"timeout": "30s"}
        assert (await stage.run(await stage.register(patient, id="patient"))).output["a"] == "late"
        done = await stage.run(await stage.register(asks(query="'never'"), id="impatient"))
    assert done.error is not None
    assert (done.error["type"], done.error["class"]) == ("TimeoutError", "timeout")


async def test_an_address_that_may_not_be_called_is_not_called(stage: Stage) -> None:
    """Tools are within the reach of the worker as all of its calls are."""
    async with open_site(echo) as site:
        stage.worker(declared=declared(site))
        stage.supervisor()
        done = await stage.run(await stage.register(asks(query="'tea'")))
        assert done.error is not None
        assert (done.error["type"], site.connections) == ("AddressRefused", 0)


def test_a_tool_in_python_and_a_declared_one_cannot_share_a_name() -> None:
    """Nobody could tell which one a step means."""
    steps = Steps()
    steps.tools.add(echo, "web_search")
    tool = DeclaredHttpTool(name="web_search", config={"url": "https://search.example"})
    with pytest.raises(ValueError, match="two tools are named 'web_search'"):
        check_names(steps, DeclaredTools(http={"web_search": tool}))
