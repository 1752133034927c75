"""The marking: the whole state of a run as plain data, and how effects change it.

This is the pure twin of the run's keys in Redis, without owners, fences and entry ids. ``apply`` raises ``Corrupt``
where the rules say that something cannot happen.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ..compiler.ir import Ir
from ..compiler.workflow import JoinPolicy
from .rules import Arrive, Drain, Effect, Emit, Last, Skip, Taint, Tell
from .scopes import SWEEP_NODE, Scope, scope_key, token_key


class Corrupt(Exception):
    """The state of a run contradicts the rules. Never caught to go on; the run halts."""


class TokenKind(StrEnum):
    NORMAL = "n"
    SKIP = "k"
    CURSOR = "c"
    SWEEP = "w"


WOKEN = "woken"


class RunPhase(StrEnum):
    """The run as the scripts see it."""

    RUNNING = "R"
    DRAINING = "D"
    ENDED = "E"
    HALTED = "H"


@dataclass(slots=True)
class Token:
    """One living token. ``live``: see ``Emit``. ``extra``: of a skip its status, of a cursor ``position.decision``.

    ``due``: ms since the epoch while it is parked in the timers, else 0. ``extra`` is WOKEN after that, where the
    token's own node parked it.
    """

    kind: TokenKind = TokenKind.NORMAL
    attempt: int = 1
    live: str = ""
    extra: str = ""
    due: int = 0


@dataclass(slots=True)
class JoinRecord:
    """Arrivals of one join in one scope. ``slots``: in-edges, dead ones for ``all``, live ones for ``any``."""

    live: int = 0
    dead: int = 0
    failed: int = 0
    is_settled: bool = False
    told: str = ""
    slots: list[int] = field(default_factory=lambda: [])


@dataclass(slots=True)
class Marking:
    """The state of one run. ``outputs``, ``inputs``, ``statuses``, ``errors``: by (node, scope), JSON bytes.

    ``inputs`` and ``statuses`` hold only what other nodes read. ``reason`` and ``error``: the first failure, or why the
    run drains. ``last``: by (region, scope around it).
    """

    phase: RunPhase = RunPhase.RUNNING
    reason: str = ""
    error: bytes | None = None
    tokens: dict[tuple[int, Scope], Token] = field(default_factory=lambda: {})
    joins: dict[tuple[int, Scope], JoinRecord] = field(default_factory=lambda: {})
    outputs: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    inputs: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    statuses: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    errors: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    last: dict[tuple[int, Scope], int] = field(default_factory=lambda: {})
    input: bytes = b"null"
    seq: int = 0
    command: int = 0

    @property
    def counter(self) -> int:
        return len(self.tokens)

    def put(self, node: int, scope: Scope, token: Token) -> None:
        if (node, scope) in self.tokens:
            raise Corrupt(f"token {token_key(node, scope)} exists already")
        self.tokens[node, scope] = token

    def take(self, node: int, scope: Scope) -> Token:
        token = self.tokens.pop((node, scope), None)
        if token is None:
            raise Corrupt(f"token {token_key(node, scope)} does not exist")
        return token

    def apply(self, ir: Ir, effects: Iterable[Effect]) -> list[str]:
        """Apply the effects of one transition in order; return the codes of what they caused.

        In a run that drains, effects change nothing. Codes: see ``events``.
        """
        codes: list[str] = []
        for effect in effects:
            if self.phase is not RunPhase.RUNNING:
                break
            match effect:
                case Emit(node, scope, live, delay):
                    self.put(node, scope, Token(live=live))
                    if delay:
                        codes.append(f"P{node}:{scope_key(scope)}:")
                case Skip(node, scope, status):
                    self.put(node, scope, Token(kind=TokenKind.SKIP, extra=status))
                case Arrive(edge, scope, status):
                    self._arrive(ir, ir.edges[edge].target, scope, ir.edges[edge].slot, status, codes)
                case Tell(gate, scope, told):
                    self._tell(ir, gate, scope, told, codes)
                case Last(region, scope, iteration):
                    self.last[region, scope] = iteration
                case Drain(reason):
                    self.phase = RunPhase.DRAINING
                    self.reason = self.reason or reason
                    self.put(SWEEP_NODE, (), Token(kind=TokenKind.SWEEP))
                case Taint():
                    self.reason = self.reason or "failed"
        return codes

    def _arrive(self, ir: Ir, join: int, scope: Scope, slot: int, status: str, codes: list[str]) -> None:
        node = ir.nodes[join]
        record = self.joins.setdefault((join, scope), JoinRecord())
        if status == "l":
            record.live += 1
        else:
            record.dead += 1
            record.failed += status == "f"
        is_kept = (status == "l") == (node.join in (JoinPolicy.ANY, JoinPolicy.AT_LEAST))
        if is_kept and not record.is_settled and node.join is not JoinPolicy.EVERY and not node.is_gate:
            record.slots.append(slot)
        self._decide(ir, join, scope, record, codes)

    def _tell(self, ir: Ir, gate: int, scope: Scope, told: str, codes: list[str]) -> None:
        record = self.joins.setdefault((gate, scope), JoinRecord())
        if record.told:
            raise Corrupt(f"gate {token_key(gate, scope)} was told twice")
        record.told = told
        self._decide(ir, gate, scope, record, codes)

    def _decide(self, ir: Ir, join: int, scope: Scope, record: JoinRecord, codes: list[str]) -> None:
        node = ir.nodes[join]
        arity = 2 if node.is_gate else len(node.ins)
        arrived = record.live + record.dead + (1 if record.told else 0)
        if arrived > arity:
            raise Corrupt(f"join {token_key(join, scope)} has {arrived} arrivals of {arity}")
        if not record.is_settled:
            live = fires(node.join, node.join_need, arity, record)
            if live:
                record.is_settled = True
                self.put(join, scope, Token(live=live))
                codes.append(f"F{join}:{scope_key(scope)}:{live}")
            elif arrived == arity and record.told != "b":
                record.is_settled = True
                status = "f" if record.failed else "d"
                self.put(join, scope, Token(kind=TokenKind.SKIP, extra=status))
                codes.append(f"D{join}:{scope_key(scope)}:{status}")
            if record.is_settled:
                record.slots = []
        if arrived == arity:
            del self.joins[join, scope]


def fires(policy: JoinPolicy | None, need: int, arity: int, record: JoinRecord) -> str:
    """Return which in-edges came, if the join's policy is met now, else nothing (token-rules, section 3).

    ``*``: all of them; ``-1,2``: all but these slots; ``+0,3``: only these, in order of arrival.
    """
    slots = ",".join(map(str, record.slots))
    if record.told:
        return "*" if record.told == "x" and record.live == 1 else ""
    if policy is JoinPolicy.ALL:
        if record.live + record.dead == arity and record.live and not record.failed:
            return f"-{slots}" if slots else "*"
    elif policy is JoinPolicy.EVERY:
        return "*" if record.live == arity else ""
    elif record.live == need:
        return f"+{slots}"
    return ""
