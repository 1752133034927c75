"""``fold(ir, events) -> Marking``: the state of a run is a fold of its log. Pure; calls no handler, reads no clock.

The routing that an event states is applied by the same rules as on the hot path. What the scripts logged of
themselves (a join fired, a timer was set) is held against what the rules say must have happened.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

import msgspec

from ..compiler.ir import Ir, Node
from .events import Facts, RecordedEvent
from .marking import WOKEN, Corrupt, Marking, RunPhase, Token, TokenKind
from .rules import Drain, Effect, died, failed, settle, start, taken
from .scopes import START_NODE, SWEEP_NODE, Scope, parse_scope_key, token_key

FINAL = {
    "run.completed": "COMPLETED",
    "run.failed": "FAILED",
    "run.cancelled": "CANCELLED",
    "run.timed_out": "TIMED_OUT",
}


ENDS: dict[str, frozenset[str]] = {
    "": frozenset({"run.completed"}),
    "cancelled": frozenset({"run.cancelled"}),
    "timed_out": frozenset({"run.timed_out"}),
    "expired": frozenset({"run.timed_out"}),
}
"""How a run ends, by the reason it has then; any other reason is a failure."""

FAILED_END = frozenset({"run.failed"})

CODES = frozenset(
    {"join.fired", "join.died", "timer.set", "timer.released", "token.withdrawn", "run.swept", "run.halted"}
)
"""What the scripts say of themselves, after the events of a transition and before those of the next."""


def fold(ir: Ir, events: Iterable[RecordedEvent]) -> Marking:
    """Return the marking after the last event. Raises Corrupt, naming the event, where they contradict the rules."""
    folder = Folder(ir)
    for event in events:
        folder.add(event)
    return folder.marking


class Folder:
    """A fold in progress: ``add`` events in order, look at ``marking`` in between."""

    def __init__(self, ir: Ir) -> None:
        self.ir = ir
        self.marking = Marking()
        self.status = "PENDING"
        self._numbers = {node.id: number for number, node in enumerate(ir.nodes)}
        self._expected: deque[str] = deque()
        self._handlers: dict[str, Callable[[RecordedEvent], None]] = {
            "run.started": self._run_started,
            "run.entered": self._run_entered,
            "run.swept": self._run_swept,
            "run.halted": self._run_halted,
            "step.succeeded": self._step_succeeded,
            "step.input_kept": self._step_input_kept,
            "step.skipped": self._step_skipped,
            "step.failed": self._step_failed,
            "step.waiting": self._step_waiting,
            "path.died": self._path_died,
            "gate.passed": lambda event: self._settle(event, taken(self._node(event.facts), self.ir.edges)),
            "effects.continued": self._effects_continued,
            "timer.set": self._timer_set,
            "timer.released": self._timer_released,
            "token.withdrawn": self._token_gone,
            "token.dropped": self._token_gone,
            "join.fired": self._join_fired,
            "join.died": self._join_died,
        }

    def add(self, event: RecordedEvent) -> None:
        """Apply one event. Raises Corrupt."""
        if event.seq != self.marking.seq + 1:
            raise Corrupt(f"event {event.seq} follows event {self.marking.seq}")
        kind = event.facts.type
        try:
            self._check_order(kind)
            if kind in FINAL:
                self._run_ended(event)
            elif kind in self._handlers:
                self._handlers[kind](event)
        except Corrupt as error:
            raise Corrupt(f"event {event.seq} ({kind}): {error}") from error
        self.marking.seq = event.seq

    def _check_order(self, kind: str) -> None:
        if (kind == "run.started") != (self.marking.seq == 0):
            raise Corrupt("a run starts once, with its first event")
        if self.marking.phase is RunPhase.ENDED:
            raise Corrupt("the run has ended before")
        if self._expected and kind not in CODES:
            raise Corrupt(f"{self._expected[0]!r} is missing")

    def _place(self, facts: Facts) -> tuple[int, Scope]:
        number = {"": SWEEP_NODE, "(start)": START_NODE}.get(facts.node)
        if number is None:
            number = self._numbers.get(facts.node)
        if number is None:
            raise Corrupt(f"the IR has no node {facts.node!r}")
        try:
            scope = parse_scope_key(facts.scope)
        except ValueError as error:
            raise Corrupt(f"{facts.scope!r} is no scope") from error
        if len(scope) != (len(self.ir.nodes[number].levels) if number >= 0 else 0):
            raise Corrupt(f"{facts.node!r} has no scope {facts.scope!r}")
        return number, scope

    def _step(self, facts: Facts) -> tuple[int, Scope]:
        """The place of an event that only a node can have."""
        place = self._place(facts)
        if place[0] < 0:
            raise Corrupt("it names no node")
        return place

    def _node(self, facts: Facts) -> Node:
        return self.ir.nodes[self._step(facts)[0]]

    def _token(self, place: tuple[int, Scope], *kinds: TokenKind) -> Token:
        """The living token at a place, of one of ``kinds``, not parked."""
        token = self.marking.tokens.get(place)
        if token is None or token.kind not in kinds:
            raise Corrupt(f"no such token lives at {token_key(*place)}")
        if token.due:
            raise Corrupt(f"the token {token_key(*place)} is parked")
        return token

    def _take(self, node: int, scope: Scope) -> Token:
        return self.marking.take(node, scope)

    def _apply(self, effects: Iterable[Effect]) -> None:
        self._expected.extend(self.marking.apply(self.ir, effects))

    def _settle(self, event: RecordedEvent, decision: str, position: int = 0) -> None:
        number, scope = self._step(event.facts)
        self._token((number, scope), *TokenKind)
        token = self._take(number, scope)
        if self.marking.phase is not RunPhase.RUNNING:
            return
        effects, following = settle(self.ir, number, scope, decision, position)
        self._apply(effects)
        if following >= 0:
            token.kind, token.extra, token.live = TokenKind.CURSOR, f"{following}.{decision}", ""
            self.marking.put(number, scope, token)

    def _run_started(self, event: RecordedEvent) -> None:
        self.status = "PENDING" if event.facts.data.get("held") else "RUNNING"
        self.marking.command = 1
        self.marking.input = event.payload or b"null"
        if event.facts.data.get("held"):
            expires = event.facts.data.get("expires")
            self.marking.put(START_NODE, (), Token(kind=TokenKind.CURSOR, extra=f"0@{expires}" if expires else "0"))
            if event.facts.due:
                self._expected.append(f"P{START_NODE}::")
        else:
            self._enter(0)

    def _run_entered(self, event: RecordedEvent) -> None:
        token = self._token((START_NODE, ()), TokenKind.CURSOR)
        self._take(START_NODE, ())
        self.status = "RUNNING"
        if self.marking.phase is RunPhase.RUNNING:
            if event.facts.reason:
                self._apply([Drain(event.facts.reason)])
                self._keep_first_error(event.facts)
            else:
                self._enter(int(token.extra.partition("@")[0]))

    def _enter(self, position: int) -> None:
        effects, following = start(self.ir, position)
        self._apply(effects)
        if following >= 0:
            self.marking.put(START_NODE, (), Token(kind=TokenKind.CURSOR, extra=str(following)))

    def _step_succeeded(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        self._token(place, TokenKind.NORMAL)
        if event.payload is not None:
            self.marking.outputs[place] = event.payload
        self._keep_status(place, "SUCCEEDED")
        node = self.ir.nodes[place[0]]
        decision = event.facts.edges or taken(node, self.ir.edges)
        if not is_decision(node, decision):
            raise Corrupt(f"{decision!r} decides nothing at {node.id!r}")
        self._settle(event, decision)

    def _step_input_kept(self, event: RecordedEvent) -> None:
        if event.payload is not None:
            self.marking.inputs[self._step(event.facts)] = event.payload

    def _step_skipped(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        self._token(place, TokenKind.NORMAL)
        self._keep_status(place, "SKIPPED")
        self._settle(event, died(self.ir.nodes[place[0]], "d"))

    def _step_failed(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        self._token(place, TokenKind.NORMAL)
        self._keep_status(place, "FAILED")
        decision, effect = failed(self.ir, self.ir.nodes[place[0]])
        if effect is not None and self.marking.phase is RunPhase.RUNNING:
            self._apply([effect])
            self._keep_first_error(event.facts)
        if not decision:
            self._take(*place)
            return
        if event.facts.error is not None:
            self.marking.errors[place] = msgspec.json.encode(event.facts.error)
        self._settle(event, decision)

    def _keep_status(self, place: tuple[int, Scope], status: str) -> None:
        if self.ir.nodes[place[0]].keeps_status:
            self.marking.statuses[place] = status.encode()

    def _keep_first_error(self, facts: Facts) -> None:
        if self.marking.error is None and facts.error is not None:
            self.marking.error = msgspec.json.encode(facts.error)

    def _step_waiting(self, event: RecordedEvent) -> None:
        place = self._step(event.facts)
        token = self._token(place, TokenKind.NORMAL)
        if self.marking.phase is not RunPhase.RUNNING:
            self._take(*place)
            return
        token.extra = WOKEN
        self._expected.append(f"P{place[0]}:{event.facts.scope}:")

    def _path_died(self, event: RecordedEvent) -> None:
        token = self._token(self._step(event.facts), TokenKind.SKIP)
        self._settle(event, died(self._node(event.facts), token.extra))

    def _effects_continued(self, event: RecordedEvent) -> None:
        token = self._token(self._step(event.facts), TokenKind.CURSOR)
        position, _, decision = token.extra.partition(".")
        self._settle(event, decision, int(position))

    def _timer_set(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expect(f"P{place[0]}:{event.facts.scope}:")
        self._token(place, TokenKind.NORMAL, TokenKind.CURSOR).due = event.facts.due

    def _timer_released(self, event: RecordedEvent) -> None:
        token = self.marking.tokens.get(self._place(event.facts))
        if token is None or not token.due:
            raise Corrupt("no token is parked there")
        token.due = 0

    def _run_swept(self, _event: RecordedEvent) -> None:
        self._take(SWEEP_NODE, ())

    def _token_gone(self, event: RecordedEvent) -> None:
        if self.marking.phase is RunPhase.RUNNING:
            raise Corrupt("no token is taken from a run that goes on")
        token = self._take(*self._place(event.facts))
        if bool(token.due) != (event.facts.type == "token.withdrawn"):
            raise Corrupt("a sweep withdraws what is parked, a worker drops what is not")

    def _join_fired(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expect(f"F{place[0]}:{event.facts.scope}:{event.facts.data.get('live')}")

    def _join_died(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expect(f"D{place[0]}:{event.facts.scope}:{'f' if event.facts.reason == 'failed' else 'd'}")

    def _expect(self, code: str) -> None:
        if not self._expected or self._expected.popleft() != code:
            raise Corrupt(f"the rules say otherwise than {code!r}")

    def _run_halted(self, _event: RecordedEvent) -> None:
        if self.marking.counter or not self.marking.joins:
            raise Corrupt("halted without a half-filled join")
        self.marking.phase = RunPhase.HALTED

    def _run_ended(self, event: RecordedEvent) -> None:
        if self._expected:
            raise Corrupt(f"{self._expected[0]!r} is missing")
        if self.marking.counter:
            raise Corrupt(f"the run ended with {self.marking.counter} living tokens")
        if self.marking.phase is RunPhase.RUNNING and self.marking.joins:
            raise Corrupt("the run ended with a half-filled join")
        self._check_end(event.facts)
        if not self.marking.reason:
            self._keep_first_error(event.facts)
        self.marking.phase = RunPhase.ENDED
        self.status = FINAL[event.facts.type]

    def _check_end(self, facts: Facts) -> None:
        reason = self.marking.reason
        has_no_output = not reason and facts.error is not None and facts.error.type == "OUTPUT_ERROR"
        allowed = FAILED_END if has_no_output else ENDS.get(reason, FAILED_END)
        if facts.type not in allowed:
            raise Corrupt(f"the run ends otherwise, by the reason {reason!r}")


def is_decision(node: Node, decision: str) -> bool:
    """Whether a decision has a letter per outgoing edge of the node, and one for its loop."""
    ends = "-" if node.loop_region < 0 else "bx"
    letters = "-" if decision.endswith("b") else "ldf"
    return len(decision) == len(node.outs) + 1 and decision[-1] in ends and all(one in letters for one in decision[:-1])
