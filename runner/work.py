"""Work: one token in a worker's hands, with the context values that came with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sdk.marking import EXPIRED, FORCED, LASTING, TokenKind
from ..sdk.step_context import StepContext, decode_json

if TYPE_CHECKING:
    from .attempts import HeldAttempt


@dataclass(slots=True, kw_only=True)
class Work(StepContext):
    """``stream``: number of the stream that brought it, ``entry``: its id there. ``now_ms``: the server's clock at the
    delivery. ``decision``: of who was asked whether it may run, where that came with this delivery. ``deliveries``: how
    often the token was taken over from a silent worker before. ``received_at``: by the monotonic clock, where the
    attempt has a timeout. ``last_report``: details of the last heartbeat of the attempt before. ``held``: the attempt,
    once it is under way.
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
    decision: dict[str, object] | None = None
    received_at: float = 0.0
    last_report: bytes | None = None
    held: HeldAttempt | None = None

    @property
    def word(self) -> str:
        """Why the token came back after it was parked: its last word that is not a lasting one, or nothing."""
        word = self.extra.rpartition("+")[2]
        return "" if word in LASTING else word

    @property
    def has_report(self) -> bool:
        """Whether the run may have details of a heartbeat of this token."""
        return self.last_report is not None or (self.held is not None and self.held.has_report)

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
