"""Deferral: a step that ends later, by whoever was handed its token.

The token is the address of one attempt, ``run_01J...~12-1.3~1``: run, token key and attempt in characters that a URL
does not change. It is no proof of anything: whoever may complete steps of this environment may use it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from ..ids import RUN_ID
from ..signal_names import outside_name

_TOKEN = re.compile(
    rf"({RUN_ID.pattern})~(0|[1-9][0-9]{{0,9}})(?:-([0-9]+(?:\.[0-9]+)*))?~([1-9][0-9]{{0,8}})", re.ASCII
)
TOKEN_CHARS_MAX = 1_000


class Deferred(msgspec.Struct, frozen=True):
    """What a step returns in place of its output: it waits, without a slot, until ``token`` is completed or failed."""

    token: str


class DeferToken(NamedTuple):
    """One attempt of one step. ``token_key``: ``12`` or ``12:1.3``."""

    run_id: str
    token_key: str
    attempt: int

    @property
    def text(self) -> str:
        return f"{self.run_id}~{self.token_key.replace(':', '-')}~{self.attempt}"

    @property
    def signal(self) -> str:
        """The name of the signal that the step waits for."""
        return outside_name(self.token_key, self.attempt)


def parse_defer_token(text: str) -> DeferToken:
    """Read the text of a token. Raises ValueError for anything else, also for one that was cut off."""
    found = _TOKEN.fullmatch(text) if len(text) <= TOKEN_CHARS_MAX else None
    if found is None:
        raise ValueError(f"{text[:100]!r} is no token of a deferred step, like run_01JABC~12~1")
    run_id, node, scope, attempt = found.groups()
    return DeferToken(run_id, f"{node}:{scope}" if scope else node, int(attempt))
