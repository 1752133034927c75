"""Terms of the calls of models: what the operator of a worker says about them (docs/reference/settings.md)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

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

    def url_of(self, provider: str) -> str:
        return self.anthropic_url if provider == "anthropic" else self.openai_url

    def needs_key(self, provider: str) -> bool:
        """Whether calls without a key are in vain: other servers, of the operator's own, may need none."""
        return self.url_of(provider) in (OPENAI_URL, ANTHROPIC_URL)

    @property
    def reach(self) -> str:
        """What may be called for the sake of models, as ``read_reach`` reads it."""
        places = (urlsplit(url) for url in (self.openai_url, self.anthropic_url))
        return ",".join(f"{_host(place)}:{place.port or _PORTS[place.scheme]}" for place in places)


def _host(place: SplitResult) -> str:
    host = place.hostname or ""
    return f"[{host}]" if ":" in host else host


_PORTS = {"https": 443, "http": 80}
