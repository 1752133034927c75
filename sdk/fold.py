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
from .scopes import START_NODE, SWEEP_NODE, Scope, parse_scope_key

FINAL = {
    "run.completed": "COMPLETED",
    "run.failed": "FAILED",
    "run.cancelled": "CANCELLED",
    "run.timed_out": "TIMED_OUT",
}


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
            "run.swept": lambda event: self._take(SWEEP_NODE, ()),
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
            "token.withdrawn": lambda event: self._take(*self._place(event.facts)),
            "token.dropped": lambda event: self._take(*self._place(event.facts)),
            "join.fired": self._join_fired,
            "join.died": self._join_died,
        }

    def add(self, event: RecordedEvent) -> None:
        """Apply one event. Raises Corrupt."""
        if event.seq != self.marking.seq + 1:
            raise Corrupt(f"event {event.seq} follows event {self.marking.seq}")
        kind = event.facts.type
        try:
            if kind in FINAL:
                self._run_ended(event)
            elif kind in self._handlers:
                self._handlers[kind](event)
        except Corrupt as error:
            raise Corrupt(f"event {event.seq} ({kind}): {error}") from error
        self.marking.seq = event.seq

    def _place(self, facts: Facts) -> tuple[int, Scope]:
        number = {"": SWEEP_NODE, "(start)": START_NODE}.get(facts.node)
        if number is None:
            number = self._numbers.get(facts.node)
        if number is None:
            raise Corrupt(f"the IR has no node {facts.node!r}")
        return number, parse_scope_key(facts.scope)

    def _node(self, facts: Facts) -> Node:
        return self.ir.nodes[self._place(facts)[0]]

    def _take(self, node: int, scope: Scope) -> Token:
        return self.marking.take(node, scope)

    def _apply(self, effects: Iterable[Effect]) -> None:
        self._expected.extend(self.marking.apply(self.ir, effects))

    def _settle(self, event: RecordedEvent, decision: str, position: int = 0) -> None:
        number, scope = self._place(event.facts)
        token = self._take(number, scope)
        if self.marking.phase is not RunPhase.RUNNING:
            return
        effects, following = settle(self.ir, number, scope, decision, position)
        self._apply(effects)
        if following >= 0:
            token.kind, token.extra, token.live = TokenKind.CURSOR, f"{following}.{decision}", ""
            self.marking.put(number, scope, token)

    def _run_started(self, event: RecordedEvent) -> None:
        self.status = "RUNNING"
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
        token = self._take(START_NODE, ())
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
        place = self._place(event.facts)
        if event.payload is not None:
            self.marking.outputs[place] = event.payload
        self._keep_status(place, "SUCCEEDED")
        self._settle(event, event.facts.edges or taken(self.ir.nodes[place[0]], self.ir.edges))

    def _step_input_kept(self, event: RecordedEvent) -> None:
        if event.payload is not None:
            self.marking.inputs[self._place(event.facts)] = event.payload

    def _step_skipped(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._keep_status(place, "SKIPPED")
        self._settle(event, died(self.ir.nodes[place[0]], "d"))

    def _step_failed(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
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
        place = self._place(event.facts)
        if self.marking.phase is not RunPhase.RUNNING:
            self._take(*place)
            return
        self.marking.tokens[place].extra = WOKEN
        self._expected.append(f"P{place[0]}:{event.facts.scope}:")

    def _path_died(self, event: RecordedEvent) -> None:
        token = self.marking.tokens.get(self._place(event.facts))
        if token is None or token.kind is not TokenKind.SKIP:
            raise Corrupt("there is no skip token")
        self._settle(event, died(self._node(event.facts), token.extra))

    def _effects_continued(self, event: RecordedEvent) -> None:
        token = self.marking.tokens.get(self._place(event.facts))
        if token is None or token.kind is not TokenKind.CURSOR:
            raise Corrupt("there is no cursor")
        position, _, decision = token.extra.partition(".")
        self._settle(event, decision, int(position))

    def _timer_set(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expect(f"P{place[0]}:{event.facts.scope}:")
        self.marking.tokens[place].due = event.facts.due

    def _timer_released(self, event: RecordedEvent) -> None:
        token = self.marking.tokens.get(self._place(event.facts))
        if token is None or not token.due:
            raise Corrupt("no token is parked there")
        token.due = 0

    def _join_fired(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expect(f"F{place[0]}:{event.facts.scope}:{event.facts.data.get('live')}")

    def _join_died(self, event: RecordedEvent) -> None:
        place = self._place(event.facts)
        self._expect(f"D{place[0]}:{event.facts.scope}:{'f' if event.facts.reason == 'failed' else 'd'}")

    def _expect(self, code: str) -> None:
        if not self._expected or self._expected.popleft() != code:
            raise Corrupt(f"the rules say otherwise than {code!r}")

    def _run_halted(self, event: RecordedEvent) -> None:
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
        self.marking.phase = RunPhase.ENDED
        self.status = FINAL[event.facts.type]
