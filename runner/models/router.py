"""The router: which provider serves a model, by its name, where the document does not say. Pure."""

from __future__ import annotations

import re

from ...compiler.llm_config import ECHO, PROVIDERS
from ...sdk.step_error import StepError

_BY_MODEL = (
    (re.compile(r"(gpt|chatgpt|codex|davinci|babbage|text)-|o[1-9]\d*($|-)|ft:", re.ASCII), "openai"),
    (re.compile(r"claude($|-)", re.ASCII), "anthropic"),
    (re.compile(r"echo($|-)", re.ASCII), ECHO),
)


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
