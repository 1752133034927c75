"""Defaults: what a request has where the document leaves it out, by its provider and its model. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from ...compiler.llm_config import ECHO
from ...compiler.model_names import thinks_first


@dataclass(frozen=True, slots=True)
class Defaults:
    """None: nothing is said of it."""

    temperature: float | None
    max_tokens: int | None


DEFAULTS = {
    "openai": Defaults(0.7, 2_000),
    "anthropic": Defaults(1.0, 4_096),
    ECHO: Defaults(None, None),
}
THINKING_TOKENS = 16_000
"""``max_tokens`` of models that think first: less may all be thought, with nothing left to say it."""


def defaults_of(provider: str, model: str) -> Defaults:
    return Defaults(None, THINKING_TOKENS) if thinks_first(provider, model) else DEFAULTS[provider]
