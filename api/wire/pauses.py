"""Paused workflows and queues as they travel."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.client.pausing import PauseResult
from ...sdk.moments import iso_text
from ...sdk.stores.pauses import Pause, PauseKind
from .moments import Moment


class PauseDone(msgspec.Struct, frozen=True, kw_only=True):
    """``state``: no_effect, it was so before; accepted, Redis is still to be told. ``runs``: how many were told."""

    workflow: str | UnsetType = UNSET
    queue: str | UnsetType = UNSET
    by: str | None
    state: Literal["applied", "no_effect", "accepted"]
    runs: int


class PauseShown(msgspec.Struct, frozen=True, kw_only=True):
    kind: PauseKind
    name: str
    by: str | None
    reason: str
    since: Moment


class PausePage(msgspec.Struct, frozen=True, kw_only=True):
    """Workflows and queues; runs that were paused by themselves are among the runs."""

    pauses: list[PauseShown]


def pause_done(done: PauseResult) -> PauseDone:
    name = {str(done.kind): done.name}
    return PauseDone(**name, by=done.by, state=done.state, runs=done.runs)


def pause_page(found: Iterable[Pause]) -> PausePage:
    return PausePage(
        pauses=[
            PauseShown(kind=one.kind, name=one.name, by=one.by, reason=one.reason, since=iso_text(one.created_at))
            for one in found
        ]
    )
