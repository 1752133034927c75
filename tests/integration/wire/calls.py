"""One call of a provider, without a worker: what is made of it, and what the server was asked."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from courante.runner.models.answer import ModelAnswer
from courante.runner.models.calling import connector_of
from courante.runner.models.request import Message, ModelRequest
from courante.runner.models.sending import Taking, send
from courante.runner.models.terms import ModelTerms
from courante.runner.toolbox import Toolbox, open_toolbox
from courante.sdk.authoring.steps import Steps
from courante.sdk.secrets.secrets import Secrets
from courante.sdk.spending.usage import Usage
from integration.wire import anthropic_answers, openai_answers, response_answers
from integration.wire.server import Asked, Give, Reply, WireServer, open_wire

OPENAI, ANTHROPIC = "openai", "anthropic"
MODELS = {OPENAI: "gpt-4o", ANTHROPIC: "claude-sonnet-4-5"}
KEY = "sk-test-0123456789"
DEFAULTS: dict[str, dict[str, Any]] = {
    OPENAI: {"temperature": 0.7, "max_tokens": 2_000},
    ANTHROPIC: {"temperature": 1.0, "max_tokens": 4_096},
}


@dataclass
class Called:
    """``pieces``: of the stream. ``may_have_taken``: whether the call counts with the most; ``usage``: or with this."""

    answer: ModelAnswer | None
    error: Exception | None
    pieces: list[str]
    may_have_taken: bool
    usage: Usage | None = None

    @property
    def told(self) -> ModelAnswer:
        assert self.answer is not None, self.error
        return self.answer


@asynccontextmanager
async def open_tools(terms: ModelTerms, environ: dict[str, str], http_allow: str = "") -> AsyncGenerator[Toolbox]:
    async with open_toolbox(Steps(), "w", models=terms, http_allow=http_allow) as tools:
        tools.secrets = Secrets(None, environ)
        yield tools


async def call(
    provider: str, give: Give, content: Any = "Hello", *, environ: dict[str, str] | None = None, **fields: Any
) -> tuple[Called, WireServer]:
    """Call once. The server stands where the operator has said that the provider is."""
    keys = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY} if environ is None else environ
    messages = fields.pop("messages", (Message(role="user", content=content),))
    async with open_wire(give) as server:
        terms = ModelTerms(openai_url=f"{server.url}/v1", anthropic_url=server.url)
        async with open_tools(terms, keys) as tools:
            asked: dict[str, Any] = {"model": MODELS[provider], "messages": messages, **DEFAULTS[provider], **fields}
            return await attempt(tools, ModelRequest(provider=provider, **asked)), server


async def attempt(tools: Toolbox, request: ModelRequest) -> Called:
    taking, pieces = Taking(), list[str]()
    try:
        connector = connector_of(request)
        assert connector is not None
        answer = await send(connector, request, tools, taking, pieces.append)
    except Exception as error:  # noqa: BLE001 - looked at by the tests
        return Called(None, error, pieces, taking.may_have_taken, taking.usage)
    return Called(answer, None, pieces, taking.may_have_taken)


async def hello(asked: Asked, reply: Reply) -> None:
    """Any answer, in the format of whoever is asked."""
    if asked.path.endswith("/responses"):
        await reply.json(response_answers.response(response_answers.message("Hi")))
    elif asked.path.endswith("/messages"):
        await reply.json(anthropic_answers.message(anthropic_answers.text("Hi")))
    else:
        await reply.json(openai_answers.completion("Hi"))
