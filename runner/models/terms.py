"""Terms of the calls of models: what the operator of a worker says about them (docs/reference/settings.md)."""

from __future__ import annotations

from dataclasses import dataclass

from ...sdk.settings import ANTHROPIC_URL, OPENAI_URL, REQUEST_TIMEOUT_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelTerms:
    """``openai_url``, ``anthropic_url``: where their APIs are, also within the worker's own network.

    ``request_timeout_ms``: of a call whose step has no timeout. ``provider``: takes all calls, whatever documents say;
    empty: as they say.
    """

    openai_url: str = OPENAI_URL
    anthropic_url: str = ANTHROPIC_URL
    request_timeout_ms: int = REQUEST_TIMEOUT_MS
    provider: str = ""
