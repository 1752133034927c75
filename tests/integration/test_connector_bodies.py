"""What connectors send to a local server that speaks the wire formats: bodies and headers, exactly."""

from __future__ import annotations

from typing import Any

import pytest

from integration.wire.calls import ANTHROPIC, KEY, OPENAI, call, hello

pytestmark = pytest.mark.anyio
SHAPE = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
PARTS: list[dict[str, Any]] = [{"type": "text", "text": "What is this?"}, {"type": "image", "source": {"type": "url"}}]
USER = {"role": "user", "content": "Hello"}
WORDS = (
    "Return only valid JSON that fits this JSON Schema:\n"
    '{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}'
)
BODIES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    (OPENAI, {}, {"model": "gpt-4o", "messages": [USER], "temperature": 0.7, "max_tokens": 2_000}),
    (
        OPENAI,
        {"system": "Be brief.", "top_p": 0.5, "temperature": None, "stop": ("a", "b"), "extra": {"seed": 7}},
        {
            "model": "gpt-4o",
            "messages": [{"role": "system", "content": "Be brief."}, USER],
            "max_tokens": 2_000,
            "top_p": 0.5,
            "stop": ["a", "b"],
            "seed": 7,
        },
    ),
    (
        OPENAI,
        {"stream": True, "content": PARTS},
        {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": PARTS}],
            "temperature": 0.7,
            "max_tokens": 2_000,
            "stream": True,
            "stream_options": {"include_usage": True},
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "content": "As JSON, please"},
        {
            "model": "gpt-4o",
            "messages": [{"role": "user", "content": "As JSON, please"}],
            "temperature": 0.7,
            "max_tokens": 2_000,
            "response_format": {"type": "json_object"},
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "system": "S"},
        {
            "model": "gpt-4o",
            "messages": [{"role": "system", "content": "S\n\nReturn only valid JSON"}, USER],
            "temperature": 0.7,
            "max_tokens": 2_000,
            "response_format": {"type": "json_object"},
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "schema": {"title": "The answer", **SHAPE}},
        {
            "model": "gpt-4o",
            "messages": [USER],
            "temperature": 0.7,
            "max_tokens": 2_000,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "The_answer", "schema": {"title": "The answer", **SHAPE}},
            },
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "schema": {"type": "array"}},
        {
            "model": "gpt-4o",
            "messages": [
                {
                    "role": "system",
                    "content": 'Return only valid JSON that fits this JSON Schema:\n{"type":"array"}',
                },
                USER,
            ],
            "temperature": 0.7,
            "max_tokens": 2_000,
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "schema": SHAPE, "model": "gpt-4-turbo"},
        {
            "model": "gpt-4-turbo",
            "messages": [{"role": "system", "content": WORDS}, USER],
            "temperature": 0.7,
            "max_tokens": 2_000,
            "response_format": {"type": "json_object"},
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "schema": SHAPE, "extra": {"response_format": None}},
        {
            "model": "gpt-4o",
            "messages": [{"role": "system", "content": WORDS}, USER],
            "temperature": 0.7,
            "max_tokens": 2_000,
        },
    ),
    (
        OPENAI,
        {"wants_json": True, "schema": SHAPE, "model": "gpt-4"},
        {
            "model": "gpt-4",
            "messages": [{"role": "system", "content": WORDS}, USER],
            "temperature": 0.7,
            "max_tokens": 2_000,
        },
    ),
    (
        OPENAI,
        {"model": "o3-mini", "temperature": None, "extra": {"max_tokens": 7}},
        {"model": "o3-mini", "messages": [USER], "max_tokens": 7},
    ),
    (
        OPENAI,
        {"model": "o3-mini", "temperature": None},
        {"model": "o3-mini", "messages": [USER], "max_completion_tokens": 2_000},
    ),
    (
        OPENAI,
        {"extra": {"max_completion_tokens": 9, "temperature": None}},
        {"model": "gpt-4o", "messages": [USER], "max_completion_tokens": 9},
    ),
    (
        ANTHROPIC,
        {},
        {"model": "claude-sonnet-4-5", "max_tokens": 4_096, "messages": [USER], "temperature": 1.0},
    ),
    (
        ANTHROPIC,
        {"system": "Be brief.", "top_p": 0.5, "temperature": None, "stop": ("a",), "max_tokens": None, "stream": True},
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4_096,
            "system": "Be brief.",
            "messages": [USER],
            "top_p": 0.5,
            "stop_sequences": ["a"],
            "stream": True,
        },
    ),
    (
        ANTHROPIC,
        {"wants_json": True, "extra": {"metadata": {"user_id": "u"}}},
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4_096,
            "messages": [{"role": "user", "content": "Hello\n\nReturn only valid JSON"}],
            "temperature": 1.0,
            "metadata": {"user_id": "u"},
        },
    ),
    (
        ANTHROPIC,
        {"wants_json": True, "schema": {"type": "array"}, "content": PARTS},
        {
            "model": "claude-sonnet-4-5",
            "max_tokens": 4_096,
            "messages": [
                {
                    "role": "user",
                    "content": [
                        *PARTS,
                        {
                            "type": "text",
                            "text": 'Return only valid JSON that fits this JSON Schema:\n{"type":"array"}',
                        },
                    ],
                }
            ],
            "temperature": 1.0,
        },
    ),
]


@pytest.mark.parametrize(("provider", "fields", "body"), BODIES)
async def test_bodies(provider: str, fields: dict[str, Any], body: dict[str, Any]) -> None:
    """The request is exactly what the format says: nothing is sent that nobody has asked for."""
    called, server = await call(provider, hello, **fields)
    assert called.told.text == "Hi"
    (asked,) = server.asked
    assert asked.body == body
    assert asked.path == ("/v1/messages" if provider == ANTHROPIC else "/v1/chat/completions")


async def test_headers() -> None:
    """Each provider gets its key in its own way, and Anthropic the version of its API."""
    _, server = await call(OPENAI, hello)
    assert server.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.asked[0].headers["content-type"] == "application/json"
    _, server = await call(ANTHROPIC, hello)
    assert server.asked[0].headers["x-api-key"] == KEY
    assert server.asked[0].headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in server.asked[0].headers
