"""States of a run, and what differs between two, as they travel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ...replay.changes import Change


class ChangeShown(msgspec.Struct, frozen=True, kw_only=True):
    """``place``: its way in the state. ``before``, ``after``: null stands for what is not there."""

    place: list[str]
    before: Any
    after: Any


class StateChanges(msgspec.Struct, frozen=True, kw_only=True, rename={"first": "from", "second": "to"}):
    """Between the states after two events."""

    first: int
    second: int
    changes: list[ChangeShown]


def state_changes(first: int, second: int, changes: Iterable[Change]) -> StateChanges:
    shown = [ChangeShown(place=list(one.place), before=one.before, after=one.after) for one in changes]
    return StateChanges(first=first, second=second, changes=shown)
