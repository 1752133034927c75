"""Defaults: what a request has where the document leaves it out, by what is known of the provider and the model. Pure.

Models that think before they speak refuse a temperature, and what they think counts as output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...compiler.llm_config import ECHO


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
_OPENAI_THINKS = re.compile(r"(?:^|[/:])(?:o[1-9]|codex-|gpt-(?:[5-9]|[1-9][0-9]))")
_BY_RESPONSES = re.compile(r"gpt-[0-9.]+-(?:pro|codex)|o[0-9](?:-mini)?-(?:pro|deep-research)|codex-")
_TOOLS_BY_RESPONSES = re.compile(r"gpt-(?:5\.[4-9]|[6-9]|[1-9][0-9])")
_CLAUDE = re.compile(
    r"claude-(?:(?P<old>instant|[0-3])|[a-z]+-(?P<major>[0-9]{1,2})(?:-(?P<minor>[0-9]{1,2}))?(?![0-9]))?"
)
_CLAUDE_THINKS = (4, 7)
"""From this version on."""


def defaults_of(provider: str, model: str) -> Defaults:
    return Defaults(None, THINKING_TOKENS) if thinks_first(provider, model) else DEFAULTS[provider]


def thinks_first(provider: str, model: str) -> bool:
    """Whether it is a model that thinks first. Of Claude those that nobody knows yet count as such."""
    name = model.lower()
    if provider == "openai":
        return _OPENAI_THINKS.search(name) is not None
    found = _CLAUDE.match(name) if provider == "anthropic" else None
    if found is None or found["old"]:
        return False
    return found["major"] is None or (int(found["major"]), int(found["minor"] or 0)) >= _CLAUDE_THINKS


def speaks_responses(model: str, *, has_tools: bool) -> bool:
    """Whether a model of OpenAI is asked by its responses: some always are, others where tools are offered.

    By chat completions those take tools only without thinking before, or not at all.
    """
    name = model.lower()
    return _BY_RESPONSES.match(name) is not None or (has_tools and _TOOLS_BY_RESPONSES.match(name) is not None)
