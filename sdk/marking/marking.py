"""The marking: the whole state of a run as plain data, and how effects change it.

This is the pure twin of a run's hash in Redis, without owners, fences and entry ids. ``apply`` raises ``Corrupt``
where the rules say that something cannot happen. What waits for others is in ``waiting``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from ...compiler.ir import Ir
from ...compiler.workflow import JoinPolicy
from ..corrupt import Corrupt as Corrupt  # noqa: PLC0414 - whoever needs a marking needs it too
from . import maps
from .joins import JoinRecord, fires
from .maps import ItemEnd, MapRecord
from .purse import Purse, paid
from .room import Room
from .rules import (
    Arrive,
    Collected,
    Complete,
    Drain,
    Effect,
    Emit,
    Fill,
    Forget,
    ItemError,
    Items,
    Last,
    Milestone,
    Skip,
    Taint,
    Tell,
    Withdraw,
)
from .scopes import CLOSING_NODE, SWEEP_NODE, Scope, scope_key, token_key
from .slot_words import SLOT


class TokenKind(StrEnum):
    NORMAL = "n"
    SKIP = "k"
    CURSOR = "c"
    SWEEP = "w"
    CLOSING = "x"
    WAKER = "u"
    FILL = "f"
    COLLECT = "g"
    CLEAR = "z"


class Place(StrEnum):
    """Where a token is, as far as a marking knows. FLOOR: queued, or with a worker."""

    FLOOR = ""
    TIMER = "t"
    SIGNAL = "w"
    MUTEX = "m"
    ROOM = "r"
    SLOT = "s"
    BUDGET = "b"
    HELD = "c"


class RunPhase(StrEnum):
    """The run as the scripts see it. COMPENSATING: only the closing token and what it emits move."""

    RUNNING = "R"
    PAUSED = "P"
    DRAINING = "D"
    COMPENSATING = "C"
    ENDED = "E"
    HALTED = "H"


GOES_ON = frozenset({RunPhase.RUNNING, RunPhase.PAUSED})
"""The phases in which effects change something."""
PARKS = GOES_ON | {RunPhase.COMPENSATING}
"""The phases in which a token may be parked; in any other one it is taken away instead."""

WOKEN = "woken"
APPROVED = "ok"
HOLDS = "held"
OVERDUE = "overdue"
FORCED = "forced"
EXPIRED = "s-"
OPEN = "open"
LASTING = frozenset({APPROVED, HOLDS, OPEN})


def is_lasting(word: str) -> bool:
    return word in LASTING or word.startswith(SLOT)


def lasting(extra: str) -> str:
    """Return the words of a normal token's ``extra`` that stay with it when it is parked again."""
    return "+".join(word for word in extra.split("+") if is_lasting(word)) if extra else ""


def with_word(extra: str, word: str) -> str:
    return f"{extra}+{word}" if extra else word


@dataclass(slots=True)
class Token:
    """One living token. ``live``: see ``Emit``. ``extra``: of a skip its status, of a cursor ``position.decision``,
    of a normal one what happened to it: APPROVED, HOLDS, OPEN (a map that waits for more items) and ``slot=<name>`` (of
    a concurrency key) last, and the last word says why it came back (WOKEN, PACED, ``s<k>`` the k-th of the names that
    it waited for, EXPIRED, OVERDUE, FORCED, ``paid=`` or BROKE of a budget), or what it waits for:
    ``asks=<name>.<limit>.<whose turn>``, ``wants=`` a part of the budget (``purse``).

    ``due``: ms since the epoch while a timer is set for it, else 0. ``waits``: names of signals, or of one mutex.
    ``deliveries``: takeovers from silent workers since it was put out or parked. ``escalates``: in ms, 0 never.
    """

    kind: TokenKind = TokenKind.NORMAL
    attempt: int = 1
    live: str = ""
    extra: str = ""
    place: Place = Place.FLOOR
    due: int = 0
    waits: tuple[str, ...] = ()
    deliveries: int = 0
    escalates: int = 0


@dataclass(slots=True)
class Mutex:
    """``waiters`` in the order in which they asked."""

    holder: tuple[int, Scope]
    waiters: list[tuple[int, Scope]] = field(default_factory=lambda: [])


@dataclass(slots=True)
class Marking:
    """The state of one run. ``outputs``, ``inputs``, ``statuses``, ``errors``: by (node, scope), JSON bytes.

    ``inputs`` and ``statuses`` hold only what other nodes read. ``reason`` and ``error``: the first failure, or why the
    run drains. ``last``: by (region, scope around it). ``waiting``: tokens by the name of the signal, in order of
    parking. ``signals``: those that came early, by name, as (command, value). ``values``: what a release brought.
    ``completed``: what is to be undone, in order of completion. ``marks``: (edge, scope) of milestones that were
    reached. ``started_ms``: the time of the first event. ``maps``: those that are open, and those that were closed by a
    failure; ``chunks``: how items ended whose results are not collected; ``results``: JSON bytes of those that are, by
    (map, scope and chunk); ``item_errors``: by (map, scope and item). ``room``, ``purse``: None where it has no bound.
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
    waiting: dict[str, list[tuple[int, Scope]]] = field(default_factory=lambda: {})
    signals: dict[str, list[tuple[int, bytes]]] = field(default_factory=lambda: {})
    values: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    mutexes: dict[str, Mutex] = field(default_factory=lambda: {})
    completed: list[tuple[int, Scope]] = field(default_factory=lambda: [])
    marks: set[tuple[int, Scope]] = field(default_factory=lambda: set())
    maps: dict[tuple[int, Scope], MapRecord] = field(default_factory=lambda: {})
    chunks: dict[tuple[int, Scope], list[ItemEnd]] = field(default_factory=lambda: {})
    results: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    item_errors: dict[tuple[int, Scope], bytes] = field(default_factory=lambda: {})
    room: Room | None = None
    purse: Purse | None = None
    input: bytes = b"null"
    started_ms: int = 0
    retries: int = 0
    seq: int = 0
    command: int = 0

    @property
    def counter(self) -> int:
        return len(self.tokens)

    @property
    def unfinished(self) -> int:
        """How many joins are half-filled and maps open. Where one is left and nothing lives, the run is corrupt."""
        return len(self.joins) + sum(not record.is_closed for record in self.maps.values())

    def put(self, node: int, scope: Scope, token: Token) -> None:
        if (node, scope) in self.tokens:
            raise Corrupt(f"token {token_key(node, scope)} exists already")
        self.tokens[node, scope] = token
        if self.room is not None and token.place is Place.FLOOR:
            self.land((node, scope))

    def put_own(self, node: int, scope: Scope, kind: str, live: str = "") -> None:
        """A token of a map's own, or of its aggregate."""
        self.put(node, scope, Token(kind=TokenKind(kind), live=live))

    def join_at(self, node: int, scope: Scope) -> JoinRecord:
        return self.joins.setdefault((node, scope), JoinRecord())

    def land(self, at: tuple[int, Scope]) -> None:
        """A token has come to the floor. In a bounded run it waits until ``let_in``, if it is not inside already."""
        room, token = self.room, self.tokens[at]
        if room is None or token.kind is not TokenKind.NORMAL or at in room.inside:
            return
        if self.phase in PARKS:
            token.place = Place.ROOM
            room.waiting[at] = None
        else:
            room.inside.add(at)

    def leave(self, at: tuple[int, Scope]) -> None:
        """A token has left the floor: it is parked, gone, or no step's any more."""
        if self.room is not None:
            self.room.leave(at)

    def let_in(self) -> list[tuple[int, Scope]]:
        """At the end of a transition: return the tokens for which there is room now."""
        found = self.room.let_in() if self.room is not None and self.phase in PARKS else []
        for at in found:
            self.tokens[at].place = Place.FLOOR
        return found

    def take(self, node: int, scope: Scope) -> Token:
        token = self.tokens.pop((node, scope), None)
        if token is None:
            raise Corrupt(f"token {token_key(node, scope)} does not exist")
        self.forget_wait((node, scope), token)
        self.values.pop((node, scope), None)
        self.leave((node, scope))
        return token

    def forget_wait(self, place: tuple[int, Scope], token: Token) -> None:
        """It waits for nothing any more."""
        if token.place is Place.BUDGET and self.purse is not None:
            self.purse.waiting.pop(place, None)
        for name in token.waits:
            if token.place is Place.SIGNAL:
                self.waiting[name].remove(place)
                if not self.waiting[name]:
                    del self.waiting[name]
            elif token.place is Place.MUTEX and name in self.mutexes and place in self.mutexes[name].waiters:
                self.mutexes[name].waiters.remove(place)
        token.waits, token.due, token.escalates, token.place = (), 0, 0, Place.FLOOR

    def lose(self, token: Token) -> None:
        """A token is taken away while its call may be under way: what was reserved for that counts as spent."""
        if self.purse is not None and (reserved := paid(token.extra)) is not None:
            self.purse.spend(reserved.tokens, reserved.cost)

    def apply(self, ir: Ir, effects: Iterable[Effect]) -> list[str]:
        """Apply the effects of one transition in order; return the codes of what they caused.

        In a run that drains, effects change nothing but the list of what is to be undone. Codes: see ``events``.
        """
        codes: list[str] = []
        for effect in effects:
            if isinstance(effect, Complete):
                self.completed.append((effect.node, effect.scope))
            elif self.phase in GOES_ON and not (self.maps and maps.is_below_closed(self, ir, effect)):
                self._apply(ir, effect, codes)
        return codes

    def _apply(self, ir: Ir, effect: Effect, codes: list[str]) -> None:
        match effect:
            case Emit(node, scope, live, delay):
                place = Place.TIMER if delay else Place.FLOOR
                self.put(node, scope, Token(live=live, place=place))
                if delay:
                    codes.append(f"P{node}:{scope_key(scope)}:")
            case Skip(node, scope, status):
                self.put(node, scope, Token(kind=TokenKind.SKIP, extra=status))
            case Arrive(edge) if ir.nodes[ir.edges[edge].target].is_aggregate:
                maps.arrive(self, ir, effect, codes)
            case Items():
                maps.put_items(self, ir, effect, codes)
            case ItemError(node, scope, error):
                self.item_errors.setdefault((node, scope), error)
            case Forget():
                maps.forget(self, ir, effect)
            case Arrive(edge, scope, status):
                self._arrive(ir, ir.edges[edge].target, scope, ir.edges[edge].slot, status, codes)
            case Milestone(edge, scope, status):
                self._reach(ir, edge, scope, status, codes)
            case Tell(gate, scope, told):
                self._tell(ir, gate, scope, told, codes)
            case Last(region, scope, iteration):
                self.last[region, scope] = iteration
            case Withdraw(node, scope):
                codes += self.withdraw(node, scope)
            case Drain(reason):
                self.drain(ir, reason)
            case Taint():
                self.reason = self.reason or "failed"
                self._hold_closing(ir)
            case Complete() | Fill() | Collected():
                raise AssertionError("applied elsewhere")

    def drain(self, ir: Ir, reason: str) -> None:
        """From now on nothing is emitted; a sweep takes away what is parked."""
        self.phase = RunPhase.DRAINING
        self.reason = self.reason or reason
        self.put(SWEEP_NODE, (), Token(kind=TokenKind.SWEEP))
        self._hold_closing(ir)

    def _hold_closing(self, ir: Ir) -> None:
        if (CLOSING_NODE, ()) not in self.tokens and any(node.compensate >= 0 for node in ir.nodes):
            self.put(CLOSING_NODE, (), Token(kind=TokenKind.CLOSING, place=Place.HELD))

    def release_closing(self) -> list[str]:
        """After a transition: where nothing but the closing token is left, it is its turn."""
        closing = self.tokens.get((CLOSING_NODE, ()))
        if closing is None or closing.place is not Place.HELD or len(self.tokens) > 1 or self.phase is RunPhase.PAUSED:
            return []
        closing.place = Place.FLOOR
        self.phase = RunPhase.COMPENSATING
        return ["B"]

    def withdraw(self, node: int, scope: Scope) -> list[str]:
        """A living token becomes a skip token, under the same id."""
        token = self.tokens.get((node, scope))
        if token is None or token.kind is not TokenKind.NORMAL:
            return []
        if OPEN in token.extra.split("+"):
            return self._shut(node, scope, token)
        self.forget_wait((node, scope), token)
        self.lose(token)
        self.values.pop((node, scope), None)
        self.leave((node, scope))
        self.tokens[node, scope] = Token(kind=TokenKind.SKIP, extra="d")
        return [f"V{node}:{scope_key(scope)}"]

    def _shut(self, node: int, scope: Scope, token: Token) -> list[str]:
        """A map that has opened is not withdrawn: no more items come."""
        if token.place is not Place.SIGNAL:
            return []
        self.forget_wait((node, scope), token)
        token.extra = with_word(token.extra, EXPIRED)
        self.land((node, scope))
        return [f"L{node}:{scope_key(scope)}:{EXPIRED}"]

    def _reach(self, ir: Ir, edge: int, scope: Scope, status: str, codes: list[str]) -> None:
        """A milestone is decided once: live when its source parks, else dead when that settles."""
        if status == "l":
            if (edge, scope) in self.marks:
                return
            self.marks.add((edge, scope))
        elif (edge, scope) in self.marks:
            self.marks.remove((edge, scope))
            return
        target = ir.edges[edge].target
        if ir.nodes[target].join is not None:
            self._arrive(ir, target, scope, ir.edges[edge].slot, status, codes)
        elif status == "l":
            self.put(target, scope, Token())
        else:
            self.put(target, scope, Token(kind=TokenKind.SKIP, extra="d"))

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
