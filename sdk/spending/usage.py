"""Usage: the tokens of one call of a language model, as its provider has told them."""

from __future__ import annotations

import msgspec

USAGE_MAX = 10**9
"""Tokens: more than any model reads or writes in one call."""


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of tokens, at least 0. Of the input tokens ``cached_tokens`` are those that the provider had cached, and
    ``written_tokens`` those that it has cached now.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    written_tokens: int = 0

    @property
    def can_be(self) -> bool:
        """Whether these are counts of a call, and not what a server makes up."""
        return all(0 <= getattr(self, name) <= USAGE_MAX for name in self.__struct_fields__)

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens
