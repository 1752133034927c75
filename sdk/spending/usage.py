"""Usage: the tokens of one call of a language model, as its provider has told them."""

from __future__ import annotations

import msgspec

USAGE_MAX = 10**9
"""Tokens: more than any model reads or writes in one call."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of tokens, at least 0. ``cached_tokens``: of the input tokens, those that the provider had cached."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    @property
    def can_be(self) -> bool:
        """Whether these are counts of a call, and not what a server makes up."""
        return all(0 <= count <= USAGE_MAX for count in (self.input_tokens, self.output_tokens, self.cached_tokens))

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens
