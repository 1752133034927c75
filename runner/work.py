"""Work: one token in a worker's hands, with the context values that came with it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sdk.marking import EXPIRED, FORCED, LASTING, TokenKind
from ..sdk.step_context import StepContext, decode_json

if TYPE_CHECKING:
    from anyio import CancelScope

    from .attempts import Ending


@dataclass(slots=True, kw_only=True)
class Work(StepContext):
    """``stream``: number of the stream that brought it, ``entry``: its id there. ``started_at``: of the worker's clock,
    in seconds; informative only. ``now_ms``: the server's clock at the delivery. ``decision``: of who was asked whether
    it may run, where that came with this delivery. ``deliveries``: how often the token was taken over from a silent
    worker before.

    Of the attempt under way, by the monotonic clock: ``received_at`` and ``ends_at``, where it has a timeout;
    ``beaten_at``, its last heartbeat; ``told_at``, when it was asked to end. ``details``: of a heartbeat, not yet sent.
    """

    key: str
    fence: str
    stream: int
    entry: str
    phase: str
    kind: TokenKind
    attempt: int
    extra: str
    deliveries: int = 0
    now_ms: int = 0
    started_at: float = 0.0
    is_announced: bool = False
    decision: dict[str, object] | None = None
    received_at: float = 0.0
    ends_at: float = math.inf
    beaten_at: float = 0.0
    told_at: float = 0.0
    is_told: bool = False
    details: bytes = b""
    ending: Ending | None = None
    cancel_scope: CancelScope | None = None

    @property
    def word(self) -> str:
        """Why the token came back after it was parked: its last word that is not a lasting one, or nothing."""
        word = self.extra.rpartition("+")[2]
        return "" if word in LASTING else word

    @property
    def has_value(self) -> bool:
        """Whether its release has brought a value."""
        word = self.word
        return word == FORCED or (word.startswith("s") and word != EXPIRED)

    @property
    def released_value(self) -> object:
        """The value that came with the release; it stands behind all that the node reads."""
        place = len(self.node.reads) + self.live.startswith("b")
        return decode_json(self.values[place] or b"null") if len(self.values) > place else None
