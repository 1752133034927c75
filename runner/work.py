"""Work: one token in a worker's hands, with the context values that came with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sdk.marking import EXPIRED, FORCED, LASTING, TokenKind
from ..sdk.plan import Plan
from ..sdk.scopes import parse_token_key
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


def deliveries_of(token: list[bytes]) -> int:
    """Return how often a token was taken over, as far as its record can be read at all."""
    _, _, deliveries, *_ = (*token[6].split(b"|"), b"", b"", b"")
    return int(deliveries) if deliveries.isdigit() else 0


def read_roughly(token: list[bytes], plan: Plan | None) -> Work:
    """Return the work of a token whose record cannot be read: enough to fail its node. Raises ValueError."""
    key = token[3].decode()
    number, scope = parse_token_key(key)
    if plan is None or not 0 <= number < len(plan.ir.nodes) or len(scope) != len(plan.ir.nodes[number].levels):
        raise ValueError(f"the token {key!r} names no node of its workflow")
    return Work(
        run_id=token[2].decode(),
        key=key,
        fence=token[6].split(b"|", 1)[0].decode(),
        stream=int(token[0]),
        entry=token[1].decode(),
        phase=token[4].decode(),
        plan=plan,
        number=number,
        scope=scope,
        kind=TokenKind.NORMAL,
        attempt=1,
        extra="",
        live="",
        deliveries=deliveries_of(token),
        values=[],
    )
