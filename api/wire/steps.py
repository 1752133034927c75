"""Steps as they travel."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from ...sdk.events import ErrorInfo
from ...sdk.stores.status import StepStatus
from .moments import Moment
from .spending import Cost, Usage
from .traces import Trace


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The last attempt of a node in one scope. ``scope``: as people read it, empty outside of loops and maps.

    ``child``: the item of a map that it is in. ``attempts``: tries so far. ``waiting_for``: what, and until when where
    that is known. ``error``: of the last try, where there is one. ``cache_hit``: true where its output was kept from
    another execution. ``handler_ms``: how long its last try took, by its own clock. ``trace``: of a tool. ``provider``
    and what follows: of a step that has called models; ``models``: all of them.
    """

    id: str
    scope: str
    child: str | None
    status: StepStatus
    reason: str | None
    attempts: int
    started_at: Moment | None
    finished_at: Moment | None
    waiting_for: str | None
    error: ErrorInfo | UnsetType = UNSET
    cache_hit: bool | UnsetType = UNSET
    handler_ms: int | UnsetType = UNSET
    trace: Trace | UnsetType = UNSET
    provider: str | UnsetType = UNSET
    model: str | UnsetType = UNSET
    models: list[str] | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    cost: Cost | UnsetType = UNSET


class StepPage(msgspec.Struct, frozen=True, kw_only=True):
    run_id: str
    steps: list[Step]
