"""Nodes of type http call a real server, on loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import time
import zlib
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from courante import Context
from courante.compiler.source import load_source
from courante.runner.http.refusal import SHOWN_BYTES
from integration.floor import compile_document
from integration.http_site import Answer, Asked, Give, Site, asks, echo, open_site
from integration.stage import Stage
from integration.standing_text import places_of

pytestmark = pytest.mark.anyio
CANARY = "canary-5f1c9d7e"


@pytest.fixture
async def stage_here(stage: Stage) -> Stage:
    """A stage whose worker may call this machine."""
    stage.worker({"call": call}, http_allow="127.0.0.1")
    stage.supervisor()
    return stage


async def call(url: str, context: Context) -> list[Any]:
    """A step with a client of its own."""
    answers = [await context.http.get(url) for _ in range(2)]
    return [answer.json() for answer in answers]


async def fetch(stage: Stage, give: Give, input: Any = None, **config: Any) -> tuple[Any, Site]:
    """Run one node against a site, whose URL is ``input.site`` where the config names none; return output or error."""
    async with open_site(give) as site:
        config.setdefault("url", "{{ input.site }}/x")
        workflow = await stage.register(asks(**config), output="outputs.a")
        done = await stage.run(workflow, {"site": site.url, **(input or {})})
        return (done.output if done.error is None else done.error), site


async def test_a_request_is_made_from_the_config(stage_here: Stage) -> None:
    """Method, URL, query, headers and JSON, each with templates; values never change the shape of a URL."""
    output, site = await fetch(
        stage_here,
        echo,
        {"id": "a/b?c=d", "n": 3, "tags": ["x y", "&z"]},
        method="PUT",
        url="{{ input.site }}/orders/{{ input.id }}/{{ input.n }}",
        query={"tag": "{{ input.tags }}", "n": "{{ input.n }}", "none": None, "on": True},
        headers={"X-Order": "{{ input.n }}", "X-None": None},
        json={"n": "{{ input.n }}", "list": "{{ input.tags }}"},
    )
    (asked,) = site.asked
    assert asked.target == "/orders/a%2Fb%3Fc%3Dd/3?n=3&on=true&tag=x+y&tag=%26z"
    assert (asked.method, asked.body) == ("PUT", b'{"list":["x y","&z"],"n":3}')
    assert (asked.headers["content-type"], asked.headers["x-order"]) == ("application/json", "3")
    assert "x-none" not in asked.headers
    assert output["status"] == 200
    assert output["headers"]["content-type"] == "application/json"
    assert output["body"]["method"] == "PUT"


@pytest.mark.parametrize(
    ("config", "content_type", "body"),
    [
        ({"form": {"a": "{{ input.t }}", "b": [1, 2]}}, "application/x-www-form-urlencoded", b"a=%C3%BC+%26&b=1&b=2"),
        ({"text": "about {{ input.t }}"}, "text/plain; charset=utf-8", "about ü &".encode()),
        ({"bytes": base64.b64encode(b"\x00\xff").decode()}, "application/octet-stream", b"\x00\xff"),
        ({"text": "<a/>", "headers": {"Content-Type": "text/xml"}}, "text/xml", b"<a/>"),
    ],
)
async def test_bodies(stage_here: Stage, config: dict[str, Any], content_type: str, body: bytes) -> None:
    """Form, text and bytes, with their content types unless another is said."""
    _, site = await fetch(stage_here, echo, {"t": "ü &"}, method="POST", **config)
    assert (site.asked[0].headers["content-type"], site.asked[0].body) == (content_type, body)


@pytest.mark.parametrize(
    ("kind", "headers", "content", "body"),
    [
        ("auto", {"Content-Type": "application/problem+json"}, b'{"a": [1.5]}', {"a": [1.5]}),
        ("auto", {"Content-Type": "text/plain; charset=latin-1"}, b"\xfc", "ü"),
        ("auto", {}, b"", None),
        ("json", {"Content-Type": "text/plain"}, b"[1]", [1]),
        ("text", {"Content-Type": "application/json"}, b"[1]", "[1]"),
        ("text", {}, b"\xff", "\ufffd"),
        ("json", {"Content-Encoding": "gzip"}, gzip.compress(b"[1]", mtime=0), [1]),
        ("json", {"Content-Encoding": "deflate"}, zlib.compress(b"[1]"), [1]),
        ("json", {"Content-Encoding": "deflate"}, zlib.compress(b"[1]")[2:-4], [1]),
        ("text", {"Content-Encoding": "gzip"}, gzip.compress(b"a" * 99_999) + gzip.compress(b"b"), "a" * 99_999 + "b"),
        ("text", {"Content-Encoding": "gzip"}, gzip.compress(b"a", mtime=0) + b"\0" * 9, "a"),
        ("text", {"Content-Encoding": "gzip"}, b"", ""),
        ("json", {}, b"\xef\xbb\xbf[1]", [1]),
        ("text", {"Content-Type": "text/plain; charset=idna"}, b"\xc3\xbc.b", "ü.b"),
    ],
)
async def test_answers(stage_here: Stage, kind: str, headers: dict[str, str], content: bytes, body: Any) -> None:
    """JSON and text, by what is wanted or by the content type, unpacked."""
    output, _ = await fetch(stage_here, lambda _: Answer(headers=headers, body=content), response=kind)
    assert output["body"] == body


@pytest.mark.parametrize(
    ("config", "answer", "type", "words"),
    [
        ({"response": "json", "max_retries": 0}, Answer(body=b"<html>"), "OUTPUT_INVALID", "the answer is no JSON"),
        ({"max_bytes": 10}, Answer(body=b"x" * 11), "PAYLOAD_TOO_LARGE", "more than 10 bytes"),
        (
            {"max_bytes": 1_000_000, "timeout": "30s"},
            Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(bytes(50_000_000))),
            "PAYLOAD_TOO_LARGE",
            "more than 1,000,000 bytes",
        ),
        ({"max_retries": 0}, Answer(headers={"Content-Encoding": "br"}, body=b"x"), "OUTPUT_INVALID", "'br'"),
        ({}, Answer(status=404, body=b"no such order"), "HttpError", "HTTP 404: no such order"),
        ({"expect": 201}, Answer(status=200, body=b"there already"), "UnexpectedStatus", "HTTP 200 is not expected"),
        ({}, Answer(status=304), "UnexpectedStatus", "HTTP 304 is not expected"),
        ({}, Answer(status=999, body=b"go away"), "UnexpectedStatus", "HTTP 999 is not expected: go away"),
        ({}, Answer(status=404, headers={"Content-Encoding": "br"}, body=b"x"), "HttpError", "HTTP 404: (what it says"),
        (
            {"max_retries": 0},
            Answer(headers={"Content-Encoding": "gzip"}, body=gzip.compress(b"[1]", mtime=0)[:-9]),
            "OUTPUT_INVALID",
            "it ends before",
        ),
        ({"redirects": 0}, Answer(status=302, headers={"Location": "/y"}), "UnexpectedStatus", "HTTP 302"),
        ({"url": "{{ input.site }}/{{ input.up }}"}, Answer(), "INPUT_INVALID", "'..' is no part of a URL"),
        ({"headers": {"X": "{{ input.break }}"}}, Answer(), "INPUT_INVALID", "the header 'x'"),
        ({"url": "{{ 'ftp://127.0.0.1/' }}"}, Answer(), "INPUT_INVALID", "http:// or https://"),
        ({"url": "{{ 'http://me:password@127.0.0.1/' }}"}, Answer(), "INPUT_INVALID", "auth: {user, password}"),
    ],
)
async def test_what_fails_for_good(
    stage_here: Stage, config: dict[str, Any], answer: Answer, type: str, words: str
) -> None:
    """Each at the first attempt, with what the server has said."""
    error, _ = await fetch(stage_here, lambda _: answer, {"up": "..", "break": "a\r\nb: c"}, **config)
    assert (error["type"], error["attempt"]) == (type, 1)
    assert words in error["message"]


async def test_an_unavailable_service_is_asked_again_when_it_says(stage_here: Stage) -> None:
    """With the same idempotency key; not before its Retry-After, which is a date by its own clock here."""
    times: list[float] = []

    def give(_: Asked) -> Answer:
        times.append(time.monotonic())
        now = 1_700_000_000
        dates = {"Date": formatdate(now, usegmt=True), "Retry-After": formatdate(now + 1, usegmt=True)}
        return Answer(status=503, headers=dates) if len(times) < 3 else Answer.json("1")

    output, site = await fetch(stage_here, give, method="POST", retry={"base": "10ms", "max_attempts": 3})
    assert output["body"] == 1
    assert all(later - earlier > 0.9 for earlier, later in pairwise(times))
    (key,) = {asked.headers["idempotency-key"] for asked in site.asked}
    assert key.startswith("run_")
    assert key.endswith("/a")


async def test_the_idempotency_key_goes_where_the_config_says(stage_here: Stage) -> None:
    """Nothing for reading, unless it is wanted."""
    _, site = await fetch(stage_here, echo)
    assert "idempotency-key" not in site.asked[0].headers
    _, site = await fetch(stage_here, echo, method="POST", idempotency_key="X-Request-Id")
    assert site.asked[0].headers["x-request-id"].endswith("/a")
    _, site = await fetch(stage_here, echo, method="POST", idempotency_key=False)
    assert "idempotency-key" not in site.asked[0].headers


async def test_connections_are_used_again(stage_here: Stage) -> None:
    """By the nodes of all runs of a worker."""
    async with open_site(echo) as site:
        workflow = await stage_here.register(asks(url="{{ input }}/x"))
        for _ in range(3):
            assert (await stage_here.run(workflow, site.url)).status == "COMPLETED"
        assert (len(site.asked), site.connections) == (3, 1)


async def test_a_server_that_does_not_answer_is_a_timeout(stage_here: Stage) -> None:
    """By the time between two bytes, or by that of the attempt."""

    async def never(_: Asked) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    error, _ = await fetch(stage_here, never, read_timeout="100ms", max_retries=0)
    assert (error["type"], error["class"]) == ("ReadTimeout", "timeout")
    error, _ = await fetch(stage_here, never, timeout="300ms", max_retries=0)
    assert (error["type"], error["class"]) == ("TIMEOUT", "timeout")


async def test_secrets_are_sent_and_never_kept(
    stage_here: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A server that says them again is masked: nothing of them is in Redis, in Postgres or in the log."""
    monkeypatch.setenv("COURANTE_SECRET_SHOP", CANARY)

    def give(asked: Asked) -> Answer:
        sent = json.dumps([asked.headers["x-key"], asked.headers["authorization"], asked.target, asked.body.decode()])
        status = 500 if "bad" in asked.target else 200
        headers = {"Content-Type": "application/json", "X-Sent": asked.headers["x-key"], "Set-Cookie": "session=1"}
        return Answer(status=status, headers=headers, body=sent.encode())

    config: dict[str, Any] = {
        "method": "POST",
        "headers": {"X-Key": "{{ secret('SHOP') }}"},
        "auth": {"user": "shop", "password": "{{ secret('SHOP') }}"},
        "query": {"key": "{{ secret('SHOP') }}"},
        "json": {"key": "{{ secret('SHOP') }}"},
        "max_retries": 0,
    }
    output, site = await fetch(stage_here, give, **config)
    asked = site.asked[0]
    assert asked.headers["authorization"] == f"Basic {base64.b64encode(f'shop:{CANARY}'.encode()).decode()}"
    assert (asked.headers["x-key"], asked.target, asked.body) == (
        CANARY,
        f"/x?key={CANARY}",
        json.dumps({"key": CANARY}, separators=(",", ":")).encode(),
    )
    assert output["body"] == ["***", "Basic ***", "/x?key=***", '{"key":"***"}']
    assert output["headers"]["x-sent"] == "***"
    assert "set-cookie" not in output["headers"]
    error, _ = await fetch(stage_here, give, url="{{ input.site }}/bad", **config)
    assert error["type"] == "HttpError"
    assert CANARY not in str(error)
    assert await places_of(stage_here, CANARY) == []
    assert CANARY not in "".join(capfd.readouterr())


@pytest.mark.parametrize("kept", [4, len(CANARY) - 1])
async def test_a_secret_is_masked_where_an_answer_is_cut(
    stage_here: Stage, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Of a long answer the beginning is told, and no part of a secret that stands across its end."""
    monkeypatch.setenv("COURANTE_SECRET_SHOP", CANARY)
    said = "x" * (kept % 2) + "ü" * ((SHOWN_BYTES - kept) // 2)

    def give(asked: Asked) -> Answer:
        return Answer(status=400, body=f"{said}{asked.headers['x-key']} is unknown".encode())

    error, _ = await fetch(stage_here, give, headers={"X-Key": "{{ secret('SHOP') }}"})
    assert said[:900] in error["message"]
    assert CANARY[:kept] not in error["message"]


async def test_a_secret_that_is_not_there_fails_the_step(stage_here: Stage) -> None:
    """At once, by its name; the rest of the environment is out of reach."""
    error, site = await fetch(stage_here, echo, headers={"X": "{{ secret('PATH') }}"})
    assert (error["type"], error["attempt"], site.asked) == ("CONFIG_INVALID", 1, [])
    assert "no secret 'PATH'" in error["message"]


async def test_redirects_are_followed_without_what_is_nobodys_business(
    stage_here: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the same host everything goes on; to another one neither headers nor body nor key."""
    monkeypatch.setenv("COURANTE_SECRET_SHOP", CANARY)
    async with open_site(echo) as other:

        def give(asked: Asked) -> Answer:
            if asked.path == "/x":
                return Answer(status=307, headers={"Location": "/y?a=1"})
            location = f"{other.url}/z" if asked.path == "/y" else f"{other.url}/body"
            return Answer(status=303 if asked.path == "/y" else 307, headers={"Location": location})

        config: dict[str, Any] = {
            "method": "POST",
            "headers": {"X-Key": "{{ secret('SHOP') }}", "Accept": "text/x"},
            "json": [1],
        }
        output, site = await fetch(stage_here, give, **config)
        assert output["body"]["target"] == "/z"
        assert [(asked.method, asked.body) for asked in site.asked] == [("POST", b"[1]")] * 2
        assert site.asked[1].headers["x-key"] == CANARY
        (asked,) = other.asked
        assert (asked.method, asked.body) == ("GET", b"")
        assert {"x-key", "idempotency-key", "content-type"} & set(asked.headers) == set()
        error, _ = await fetch(stage_here, give, url="{{ input.site }}/direct", **config)
        assert (error["type"], len(other.asked)) == ("RedirectRefused", 1)


async def test_redirects_come_to_an_end(stage_here: Stage) -> None:
    """Five, where nothing else is said."""
    error, site = await fetch(stage_here, lambda _: Answer(status=302, headers={"Location": "/x"}))
    assert (error["type"], len(site.asked)) == ("RedirectRefused", 6)


async def test_the_environment_adds_no_proxy(stage_here: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be the proxy that resolves names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    output, _ = await fetch(stage_here, echo)
    assert output["status"] == 200


async def test_the_sample_of_a_call(stage_here: Stage) -> None:
    """``test_data/graph_http.yaml``: an order is fetched and its lines are sifted."""
    lines = [{"amount": 3}, {"amount": 0}]
    async with open_site(lambda _: Answer.json(json.dumps({"lines": lines}))) as site:
        sample = Path(__file__).parents[2] / "test_data" / "graph_http.yaml"
        workflow, ir = compile_document(load_source(sample.read_bytes()).value)
        await stage_here.client.register(workflow, ir)
        done = await stage_here.run(workflow.id, {"shop": site.url, "order": 7})
        assert (done.output, site.asked[0].target) == ({"check": lines[:1]}, "/orders/7")


async def test_a_step_calls_over_the_workers_connections(stage_here: Stage) -> None:
    """Within the same reach."""
    async with open_site(lambda asked: Answer.json(str(asked.connection))) as site:
        workflow = await stage_here.register({"id": "a", "type": "function", "config": {"handler": "call"}})
        assert (await stage_here.run(workflow, f"{site.url}/")).output == {"a": [1, 1]}
    done = await stage_here.run(workflow, "http://10.0.0.1/")
    assert done.error is not None
    assert done.error["type"] == "AddressRefused"
