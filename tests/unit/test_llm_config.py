"""The config of nodes that ask models: its faults, the provider of a model, and what echo makes of a schema."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from courante.compiler.llm_config import chat_only_fields
from courante.compiler.normalize import normalize
from courante.compiler.schema import workflow_json_schema
from courante.runner.models.echo_values import smallest_value
from courante.runner.models.router import provider_of
from courante.runner.models.terms import ModelTerms
from courante.sdk.http.reach import read_reach
from courante.sdk.settings import Settings
from courante.sdk.step_error import StepError

from .test_native import node, small

SCHEMA = jsonschema_rs.validator_for(workflow_json_schema())
FAULTS: list[tuple[dict[str, Any], str, tuple[str | int, ...]]] = [
    ({"temprature": 1}, "unknown_field", ("temprature",)),
    ({"temperature": 2.1}, "out_of_range", ("temperature",)),
    ({"temperature": True}, "wrong_type", ("temperature",)),
    ({"max_tokens": 0}, "out_of_range", ("max_tokens",)),
    ({"max_tokens": "many"}, "wrong_type", ("max_tokens",)),
    ({"max_file_tokens": 0}, "out_of_range", ("max_file_tokens",)),
    ({"max_file_tokens": None}, "wrong_type", ("max_file_tokens",)),
    ({"top_p": 2}, "out_of_range", ("top_p",)),
    ({"prompt": ["a"]}, "wrong_type", ("prompt",)),
    ({"model": " "}, "missing_field", ("model",)),
    ({"messages": "Hello"}, "wrong_type", ("messages",)),
    ({"messages": [{"role": "tool", "content": "x"}]}, "unknown_value", ("messages", 0, "role")),
    ({"messages": [{"role": "user"}]}, "missing_field", ("messages", 0)),
    ({"messages": [{"role": "user", "content": {"a": 1}}]}, "wrong_type", ("messages", 0, "content")),
    ({"messages": [{"role": "user", "content": ["a"]}]}, "wrong_type", ("messages", 0, "content", 0)),
    ({"schema": "object"}, "wrong_type", ("schema",)),
    ({"stop": [""]}, "missing_field", ("stop", 0)),
    ({"stop": ["x"] * 17}, "out_of_range", ("stop",)),
    ({"stream": "yes"}, "wrong_type", ("stream",)),
    ({"base_url": "ftp://x"}, "bad_url", ("base_url",)),
    ({"api_key_secret": "{{ input.key }}"}, "bad_name", ("api_key_secret",)),
    ({"extra": {"messages": []}}, "bad_name", ("extra", "messages")),
    ({"extra": {"api_key": "k"}}, "bad_name", ("extra", "api_key")),
]


@pytest.mark.parametrize(("config", "code", "place"), FAULTS)
def test_faults(config: dict[str, Any], code: str, place: tuple[str | int, ...]) -> None:
    """Each is found where it stands, and the published schema refuses it too."""
    document = small(node(type="llm", config={"model": "m", **config}))
    _, found = normalize(document)
    assert [(each.code, each.path) for each in found] == [(code, ("nodes", 0, "config", *place))]
    assert not SCHEMA.is_valid(document)


def test_no_dialect_takes_a_key() -> None:
    """Documents are stored, and shown: Relay's fields that nobody defined would go to the provider."""
    task = {"id": "a", "prompt": "p", "model": "gpt-4o", "provider": "openai", "config": {"api_key": "k", "seed": 7}}
    _, found = normalize({"name": "w", "tasks": [task]})
    assert [(each.code, "stand in no document" in each.message) for each in found] == [("bad_name", True)]


def test_what_may_be_said() -> None:
    """Templates stand for texts and numbers, null for what is left to the provider."""
    config = {
        "provider": "{{ input.p }}",
        "model": "{{ input.m }}",
        "system": "s",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "{{ input.t }}"}]}],
        "prompt": "p",
        "schema": True,
        "temperature": None,
        "max_tokens": "{{ input.n }}",
        "max_file_tokens": 50_000,
        "top_p": 0.5,
        "stop": "x",
        "stream": True,
        "base_url": "https://models.example/v1",
        "api_key_secret": "MINE",
        "extra": {"seed": 7},
        "echo": {"a": [1]},
        "x-note": 1,
    }
    document = small(node(type="llm", config=config))
    workflow, found = normalize(document)
    assert found == []
    assert workflow is not None
    assert workflow.nodes[0].config == {**config, "stop": ["x"]}
    assert SCHEMA.is_valid(document)


@pytest.mark.parametrize(
    ("config", "has_tools", "places"),
    [
        ({"model": "gpt-5-pro", "stop": ["END"]}, False, [("stop",)]),
        ({"model": "o3-pro", "provider": "openai", "extra": {"seed": 7, "n": 2}}, False,
         [("extra", "n"), ("extra", "seed")]),
        ({"model": "gpt-6-sol", "stop": ["END"]}, True, [("stop",)]),
        ({"model": "gpt-6-sol", "stop": ["END"]}, False, []),
        ({"model": "gpt-5-pro", "stop": [], "extra": {"seed": None}}, False, []),
        ({"model": "gpt-5-pro", "stop": ["END"], "provider": "echo"}, False, []),
        ({"model": "{{ input.model }}", "stop": ["END"]}, True, []),
        ({"stop": ["END"]}, True, []),
    ],
)  # fmt: skip
def test_what_the_api_of_a_model_cannot_be_told(
    config: dict[str, Any], has_tools: bool, places: list[tuple[str, ...]]
) -> None:
    """Known where model and provider are, and tools are what makes the difference for newer ones."""
    assert chat_only_fields(config, has_tools=has_tools) == places


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        ("gpt-4o", "openai"),
        ("gpt-4o-mini", "openai"),
        ("o3-mini", "openai"),
        ("o1", "openai"),
        ("ft:gpt-4o:acme", "openai"),
        ("claude-sonnet-4-5", "anthropic"),
        ("Claude-3-haiku", "anthropic"),
        ("echo", "echo"),
    ],
)
def test_the_router_knows_the_provider_of_a_model(model: str, provider: str) -> None:
    """By its name; a provider that is said goes before that."""
    assert provider_of(model) == provider
    assert provider_of(model, "anthropic") == "anthropic"


@pytest.mark.parametrize(("model", "provider"), [("mistral-7b", ""), ("", ""), ("gpt-4o", "mistral"), ("olmo", "")])
def test_an_unknown_provider(model: str, provider: str) -> None:
    """It is said so, in these words."""
    with pytest.raises(StepError, match=r"^Unknown provider: ") as raised:
        provider_of(model, provider)
    assert raised.value.type == "CONFIG_INVALID"


def test_a_call_has_a_minute() -> None:
    """Where nobody says otherwise."""
    assert ModelTerms().request_timeout_ms == Settings(home=Path("/nowhere"), env="e").request_timeout_ms == 60_000


@pytest.mark.parametrize(
    ("terms", "host", "address", "port", "is_reached"),
    [
        (ModelTerms(openai_url="http://127.0.0.1:8000/v1"), "127.0.0.1", "127.0.0.1", 8_000, True),
        (ModelTerms(openai_url="http://127.0.0.1:8000/v1"), "127.0.0.1", "127.0.0.1", 8_001, False),
        (ModelTerms(anthropic_url="https://models.internal"), "models.internal", "10.0.0.7", 443, True),
        (ModelTerms(anthropic_url="http://[::1]:9/x"), "::1", "::1", 9, True),
        (ModelTerms(), "10.0.0.7", "10.0.0.7", 443, False),
    ],
)
def test_the_reach_of_the_settings(terms: ModelTerms, host: str, address: str, port: int, *, is_reached: bool) -> None:
    """The addresses of the settings may be called, and nothing beside them."""
    reach = read_reach(terms.reach)
    if is_reached:
        reach.check(host, address, port)
    else:
        with pytest.raises(Exception, match="http_allow"):
            reach.check(host, address, port)


SHAPES: list[dict[str, Any]] = [
    {},
    {"type": "string", "minLength": 30},
    {"type": "string", "maxLength": 2},
    {"type": "integer", "minimum": 3},
    {"type": "integer", "exclusiveMinimum": 3},
    {"type": "number", "exclusiveMinimum": 0, "maximum": 0.5},
    {"type": "number", "maximum": -2},
    {"type": "integer", "exclusiveMaximum": 0},
    {"type": "integer", "minimum": 10, "multipleOf": 7},
    {"type": ["null", "string"]},
    {"enum": ["a", 1]},
    {"const": {"a": 1}},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 3},
    {"type": "array", "maxItems": 0},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
    {"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]},
    {"$ref": "#/$defs/leaf", "$defs": {"leaf": {"type": "object", "required": ["n"]}}},
    {
        "type": "object",
        "required": ["parts", "more"],
        "properties": {"parts": {"items": {"$ref": "#/$defs/p~1q"}}, "n": {"type": "integer"}},
        "$defs": {"p/q": {"type": "object", "properties": {"title": {"type": "string"}}, "required": ["title"]}},
    },
]


@pytest.mark.parametrize("schema", SHAPES)
def test_echo_makes_values_that_fit(schema: dict[str, Any]) -> None:
    """What is usual in schemas of answers, each with the prompt in its texts."""
    jsonschema_rs.validator_for(schema).validate(smallest_value(schema, "a prompt"))


@pytest.mark.parametrize("schema", [{"$ref": "#"}, {"properties": {"a": {"$ref": "#"}}}, {"items": {"$ref": "#"}}])
def test_echo_comes_to_an_end(schema: dict[str, Any]) -> None:
    """Also where a schema refers to itself: nothing endless is made."""
    assert len(repr(smallest_value(schema))) < 1_000
