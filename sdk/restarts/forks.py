"""Forks: what is asked of a run that goes on from any event of another one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from ..base_terms import BaseTerms
from ..errors import InputInvalid
from ..submissions.submissions import encode_input
from .wishes import Wish


def fork_wish(at: int, input: Any = UNSET, override: Mapping[str, Any] | None = None) -> Wish:
    """Return the wish of a fork after event ``at``. input: what takes the place of the run's. override: outputs.

    Raises InputInvalid.
    """
    if at < 1:
        raise InputInvalid(f"at: {at} is no number of an event; they begin at 1")
    has_input = input is not UNSET
    given = {name: encode_input(value, f"override {name}") for name, value in (override or {}).items()}
    terms = BaseTerms(way="fork", has_input=has_input, given=given)
    return Wish(trigger="fork", terms=terms, input=encode_input(input) if has_input else b"", seq=at)
