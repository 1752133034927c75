"""Work: one token in a worker's hands, with the context values that came with it."""

from __future__ import annotations

from dataclasses import dataclass

from ..sdk.marking import TokenKind
from ..sdk.step_context import StepContext


@dataclass(slots=True, kw_only=True)
class Work(StepContext):
    """``stream``: number of the stream that brought it, ``entry``: its id there. ``started_at``: of the worker's clock,
    in seconds; informative only. ``now_ms``: the server's clock at the delivery.
    """

    key: str
    fence: str
    stream: int
    entry: str
    phase: str
    kind: TokenKind
    attempt: int
    extra: str
    now_ms: int = 0
    started_at: float = 0.0
    is_announced: bool = False
