"""Wishes: what somebody wants of a run that is to go on, or to be made again in parts."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..base_terms import BaseTerms

Trigger = Literal["requeue", "retry", "rerun", "rebuild", "fork"]
BASE, LATEST = "base", "latest"
LATEST_WORDS = frozenset({LATEST, "newest"})
"""What means the latest version: the word for it, and the one that was the word before."""


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants of a run. ``terms``: None for a retry or a requeue. ``input``: canonical JSON, where it takes
    the place of the base's. ``seq``: of a fork, the event after which it goes on. ``version``: of a retry, a number,
    BASE or one of LATEST_WORDS. ``is_any_version``: of a rebuild, also where the workflow has a newer version.
    ``key``: an idempotency key of whoever asks, in the place of the one that the wish has by itself.
    """

    trigger: Trigger
    terms: BaseTerms | None = None
    input: bytes = b""
    seq: int = 0
    version: int | str = BASE
    is_any_version: bool = False
    key: str | None = None
