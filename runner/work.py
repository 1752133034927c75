"""Work: one token in a worker's hands, with the context values that came with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..sdk.floor.calling import Word
from ..sdk.floor.payloads import is_reference
from ..sdk.marking.marking import APPROVED, TokenKind, lasting, with_word
from ..sdk.marking.plan import Plan
from ..sdk.marking.scopes import parse_token_key
from ..sdk.outcomes.step_context import StepContext
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS
from ..sdk.spending.spent import NOTHING, Spent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..sdk.keys import PartitionKeys
    from ..sdk.outcomes.item_values import ItemResults
    from ..sdk.outcomes.outcomes import Outcome
    from .held_attempts import HeldAttempt
    from .step_cache import Flight
    from .step_logs import AttemptLog

    LookUp = Callable[["Work"], Awaitable[Outcome | None]]

CLOSED_MAP = b"x"
"""The record of a map that a failed item has closed."""


@dataclass(slots=True, kw_only=True)
class Work(StepContext):
    """``stream``: number of the stream that brought it, ``entry``: its id there. ``now_ms``: the server's clock at the
    delivery. ``deliveries``: how often the token was taken over from a silent worker before. ``received_at``: by the
    monotonic clock, where the attempt has a timeout. ``last_report``: details of the last heartbeat of the attempt
    before. ``held``: the attempt, once it is under way. ``results``: of the map's items, for an aggregate. ``is_cut``:
    the values have items in the place of lists. ``spent``: what calls of models have taken in this attempt until now.
    ``tool``: which one is called, where a template has given its name. ``early``: numbers of the signals whose values
    stand behind that of its release.
    ``partition``: where its run is, once the attempt is under way. ``step_log``: once it has been asked for.
    ``flight``: where its output is to be kept, and nobody else makes that now. ``look_up``: where its output is to be
    looked for as soon as its input is known.
    """

    fence: str
    stream: int
    entry: str
    phase: str
    kind: TokenKind
    attempt: int
    deliveries: int = 0
    now_ms: int = 0
    received_at: float = 0.0
    last_report: bytes | None = None
    held: HeldAttempt | None = None
    results: ItemResults | None = None
    is_cut: bool = False
    spent: Spent = NOTHING
    tool: str = ""
    early: tuple[str, ...] = ()
    partition: PartitionKeys | None = None
    step_log: AttemptLog | None = None
    flight: Flight | None = None
    look_up: LookUp | None = None

    @property
    def lasting_extra(self) -> str:
        """The words that stay with a token that is parked again."""
        extra = lasting(self.extra)
        return with_word(extra, APPROVED) if self.decision is not None and APPROVED not in extra else extra

    @property
    def is_below_closed_map(self) -> bool:
        """Whether a failed item has closed a map around it, or its own, as far as its values have come with it."""
        if self.kind is TokenKind.COLLECT and self.values and self.values[0] == CLOSED_MAP:
            return True
        reads = self.plan.map_reads[self.number] if self.number >= 0 else ()
        return any(self.values[at] == CLOSED_MAP for at in reads if at < len(self.values))

    @property
    def must_keep_input(self) -> bool:
        """Whether others read its input, which is to be stored before it settles: where payloads are encrypted."""
        content = self.input_json
        is_sealed = PAYLOAD_TERMS.codec is not None
        return is_sealed and content is not None and self.node.keeps_input and not is_reference(content)

    @property
    def unsent_report(self) -> list[Word]:
        """The operation that keeps the details of a heartbeat which were not sent yet, for the next attempt."""
        return ["o", f"d{self.key}", self.held.details] if self.held is not None and self.held.details else []

    @property
    def has_report(self) -> bool:
        """Whether the run may have details of a heartbeat of this token."""
        return self.last_report is not None or (self.held is not None and self.held.has_report)


_KINDS = {kind.value: kind for kind in TokenKind}


def read_token(token: list[bytes], plan: Plan) -> Work:
    """Return the work that ``advance`` handed out: see lua/includes/deliver.lua for the order."""
    number, entry, run_id, key, phase, _, record, *values = token
    fence, _, deliveries, _, kind, _, attempt, extra, reads, live = record.decode().split("|")
    node, scope = parse_token_key(key.decode())
    last_report: bytes | None = None
    if "d" in reads:  # its handler has reported something before it was given back
        last_report = values.pop(reads.split().index(f"d{key.decode()}"))
    return Work(
        run_id=run_id.decode(),
        key=key.decode(),
        fence=fence,
        stream=int(number),
        entry=entry.decode(),
        phase=phase.decode(),
        plan=plan,
        number=node,
        scope=scope,
        kind=_KINDS[kind],
        attempt=int(attempt),
        extra=extra,
        live=live,
        deliveries=int(deliveries),
        last_report=last_report,
        values=list(values),
    )


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
