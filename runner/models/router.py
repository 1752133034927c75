"""The router: which provider serves a model, by its name, where the document does not say. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...compiler.llm_config import ECHO, PROVIDERS
from ...sdk.step_error import StepError

_BY_MODEL = (
    (re.compile(r"(gpt|chatgpt|codex|davinci|babbage|text)-|o[1-9]\d*($|-)|ft:", re.ASCII), "openai"),
    (re.compile(r"claude($|-)", re.ASCII), "anthropic"),
    (re.compile(r"echo($|-)", re.ASCII), ECHO),
)


@dataclass(frozen=True, slots=True)
class Defaults:
    """What a request of a provider has where the document leaves it out."""

    temperature: float | None
    max_tokens: int | None


DEFAULTS = {
    "openai": Defaults(0.7, 2_000),
    "anthropic": Defaults(1.0, 4_096),
    ECHO: Defaults(None, None),
}


_REASONING = re.compile(r"(o[1-9]|gpt-5)", re.ASCII)


def is_reasoning(model: str) -> bool:
    """Whether it is one of OpenAI's models that think first: they refuse a temperature, and count tokens otherwise."""
    return _REASONING.match(model) is not None


def defaults_of(provider: str, model: str) -> Defaults:
    found = DEFAULTS[provider]
    return Defaults(None, found.max_tokens) if provider == "openai" and is_reasoning(model) else found


def provider_of(model: str, provider: str = "") -> str:
    """Return the provider of a call. Raises StepError where nobody knows it."""
    if not provider:
        provider = next((name for pattern, name in _BY_MODEL if pattern.match(model.lower())), "")
        if not provider:
            text = f"Unknown provider: nothing is known of the model {model[:100]!r}, say who serves it: provider: "
            raise StepError("CONFIG_INVALID", text + " or ".join(PROVIDERS))
    if provider not in PROVIDERS:
        raise StepError("CONFIG_INVALID", f"Unknown provider: {provider[:100]} (known: {', '.join(PROVIDERS)})")
    return provider
