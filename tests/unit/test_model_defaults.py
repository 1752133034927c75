"""What is known of a model by its name, and what a request has where the document leaves it out."""

from __future__ import annotations

import pytest

from courante.compiler.model_names import json_modes, speaks_responses, thinks_first
from courante.runner.models.defaults import THINKING_TOKENS, Defaults, defaults_of

THINKING = {
    "openai": ["o1", "o3-mini", "o4-mini-2025-04-16", "gpt-5", "gpt-5-mini", "gpt-5.6-sol", "gpt-6-astra",
               "GPT-6.1-sol", "gpt-12", "ft:gpt-5-mini:us:x:1", "openai/gpt-6-luna"],
    "anthropic": ["claude-opus-4-7", "claude-opus-4-8-20260601", "claude-opus-5", "claude-sonnet-5-5",
                  "claude-fable-5-2", "claude-mythos-5", "claude-haiku-5-5", "claude-opus-4-10", "claude-opus-latest"],
}  # fmt: skip
PLAIN = {
    "openai": ["gpt-4o", "gpt-4.1-mini", "gpt-4-turbo", "gpt-3.5-turbo", "gpt-35-turbo", "gpt-oss-120b",
               "llama-3.3-70b", "phi-o1-mix", ""],
    "anthropic": ["claude-3-5-sonnet-20241022", "claude-2.1", "claude-instant-1.2", "claude-opus-4-20250514",
                  "claude-opus-4-1-20250805", "claude-sonnet-4-5", "claude-sonnet-4-6", "claude-haiku-4-5@20251001",
                  "claude-sonnet-4-0", "glm-5"],
}  # fmt: skip


@pytest.mark.parametrize(("provider", "model"), [(of, model) for of, models in THINKING.items() for model in models])
def test_models_that_think_first_get_no_temperature_and_room_to_think(provider: str, model: str) -> None:
    """They refuse any temperature, and what they think is taken from the tokens of the answer."""
    assert thinks_first(provider, model)
    assert defaults_of(provider, model) == Defaults(None, THINKING_TOKENS)


@pytest.mark.parametrize(("provider", "model"), [(of, model) for of, models in PLAIN.items() for model in models])
def test_other_models_get_what_the_examples_of_their_provider_have(provider: str, model: str) -> None:
    assert not thinks_first(provider, model)
    assert defaults_of(provider, model) == (Defaults(0.7, 2_000) if provider == "openai" else Defaults(1.0, 4_096))


def test_the_provider_echo_is_told_no_limits() -> None:
    assert defaults_of("echo", "gpt-6-sol") == Defaults(None, None)


@pytest.mark.parametrize(
    ("model", "with_tools", "without"),
    [
        ("gpt-4o", False, False), ("o3", False, False), ("gpt-5.2", False, False), ("gpt-5", False, False),
        ("gpt-5.4", True, False), ("gpt-5.6-luna", True, False), ("GPT-6-astra", True, False), ("gpt-10", True, False),
        ("gpt-5-pro", True, True), ("gpt-5.3-codex", True, True), ("o3-pro", True, True),
        ("codex-mini-latest", True, True), ("openai/gpt-6-sol", False, False), ("llama-gpt-6", False, False),
        ("gpt-35-turbo", False, False),
    ],
)  # fmt: skip
def test_some_models_are_asked_by_responses(model: str, with_tools: bool, without: bool) -> None:
    """Newer ones where tools are offered, some always; names of other servers never."""
    assert speaks_responses(model, has_tools=True) == with_tools
    assert speaks_responses(model, has_tools=False) == without


@pytest.mark.parametrize(
    ("modes", "models"),
    [
        ((), ["gpt-4", "gpt-4-0613", "gpt-4-32k", "openai/gpt-4", "gpt-3.5-turbo-16k", "gpt-3.5-turbo-instruct",
              "gpt-35-turbo-16k"]),
        (("json_object",), ["gpt-3.5-turbo", "gpt-35-turbo", "gpt-3.5-turbo-0125", "gpt-4-turbo", "gpt-4-1106-preview",
                            "gpt-4-0125-preview", "GPT-4o-2024-05-13"]),
        (("json_object", "json_schema"), ["gpt-4o", "gpt-4o-mini", "gpt-4.1", "o3", "gpt-5", "llama-3.3-70b",
                                          "gpt-4o-2024-08-06", ""]),
    ],
)  # fmt: skip
def test_older_models_have_fewer_modes_for_json(modes: tuple[str, ...], models: list[str]) -> None:
    """They refuse what they do not know; words are for them."""
    assert {model: json_modes(model) for model in models} == dict.fromkeys(models, modes)
