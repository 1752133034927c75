"""Names of models: what is known of one by its name, where APIs differ from model to model. Pure.

Models that think before they speak refuse a temperature, and what they think counts as output. Some models of OpenAI
are asked by its responses, which know less than its chat completions do. Azure calls gpt-3.5-turbo ``gpt-35-turbo``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

CHAT_ONLY = (
    "stop", "n", "seed", "logit_bias", "logprobs", "presence_penalty", "frequency_penalty", "prediction", "modalities",
    "audio", "web_search_options", "functions", "function_call",
)  # fmt: skip
"""Fields of chat completions for which responses have no word."""
_OPENAI_THINKS = re.compile(r"(?:^|[/:])(?:o[1-9]|codex-|gpt-(?!35-turbo)(?:[5-9]|[1-9][0-9]))")
_BY_RESPONSES = re.compile(r"gpt-[0-9.]+-(?:pro|codex)|o[0-9](?:-mini)?-(?:pro|deep-research)|codex-")
_TOOLS_BY_RESPONSES = re.compile(r"gpt-(?!35-turbo)(?:5\.[4-9]|[6-9]|[1-9][0-9])")
_WITHOUT_SCHEMA = re.compile(r"(?:^|[/:])gpt-(?:3\.?5|4o-2024-05-13|4-|4$)")
_WITHOUT_JSON = re.compile(r"(?:^|[/:])gpt-(?:3\.?5-turbo-(?:0[36]|16k|instruct)|4(?:-0[36]|-32k|$))")
_CLAUDE = re.compile(
    r"claude-(?:(?P<old>instant|[0-3])|[a-z]+-(?P<major>[0-9]{1,2})(?:-(?P<minor>[0-9]{1,2}))?(?![0-9]))?"
)
_CLAUDE_THINKS = (4, 7)
"""From this version on."""


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


def json_modes(model: str) -> tuple[str, ...]:
    """Return the modes for JSON that a model of OpenAI has: older ones know no schemas, the oldest no JSON."""
    name = model.lower()
    if _WITHOUT_JSON.search(name):
        return ()
    return ("json_object",) if _WITHOUT_SCHEMA.search(name) else ("json_object", "json_schema")


def said_in_chat_only(fields: Mapping[str, object]) -> list[str]:
    """Return which fields of a request responses cannot be told; null and an empty list say nothing."""
    return [name for name in CHAT_ONLY if fields.get(name) not in (None, [], ())]
