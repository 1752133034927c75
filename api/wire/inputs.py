"""What a step was given, as it travels."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class StepGiven(msgspec.Struct, frozen=True, kw_only=True):
    """``input``: left out where ``reason`` says why: ``not_begun``, ``taken_over`` (the base run has it), ``emptied``,
    ``results`` (of the items of a map, which an aggregate gathers), or what was wrong with an expression.

    ``config``: with its templates filled, where it has any, and none of them may name a secret.
    """

    run_id: str
    step: str
    scope: str
    input: Any | UnsetType = UNSET
    config: dict[str, Any] | UnsetType = UNSET
    reason: str | None = None
