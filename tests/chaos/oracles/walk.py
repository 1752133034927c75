"""The walk: the tokens of one run, followed event by event through its log by the token rules alone (O1, O2, O3).

Written from token-rules.md, sections 3 to 7; it shares nothing with the engine's own fold. A run that goes on from
another one is followed from what its log says that it takes over; ``oracles/restarts.py`` holds that against the other
one. Where it meets there what it does not know, it gives up on the run, which is said.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from chaos.oracles import decisions, maps, moves, restarts
from chaos.oracles.broken import Broken
from chaos.oracles.decisions import Cursor
from chaos.oracles.graph import LETTERS, Graph, Node, Scope
from chaos.oracles.joins import Record, verdict_of
from chaos.oracles.log import FINAL, Event

START, SWEEP, CLOSING, WAKER = -1, -2, -3, -4
NAMES = {"": SWEEP, "(start)": START, "(closing)": CLOSING, "(waker)": WAKER}
"""Tokens of the engine's own, by the node that their events name."""
BY_SCRIPT = ("join.", "timer.", "mutex.", "slot.")
BY_SCRIPT_TOO = frozenset(
    """closing.released command.ignored fanout.closed fanout.completed fanout.dropped run.draining run.halted run.swept
    run.woken step.withdrawn token.claimed token.dropped token.forced token.overdue token.released
    token.withdrawn""".split()
)
"""What follows from the event before it, in the same transition."""
Place = tuple[int, Scope]


@dataclass
class Walk:
    """``living``: what each token waits for: ``ready``, ``parked``, ``skip`` or ``cursor``. ``cursors``: how far those
    that go on with their effects have come. ``consumed``: how often each was.

    ``expected``: what the scripts must say next. ``reached``: milestones that are decided, by edge and scope.
    ``opened``: maps that are; ``closed``: those that a failure has closed. ``settled``: steps that are; ``outputs``: as
    they stand in the log. ``taken``: what the run has taken over from another one. ``ir``: the hash of its IR, and
    ``graphs`` those that it may move to.
    """

    graph: Graph
    graphs: Mapping[str, Graph] = field(default_factory=dict[str, Graph])
    ir: str = ""
    living: dict[Place, str] = field(default_factory=dict[Place, str])
    joins: dict[Place, Record] = field(default_factory=dict[Place, Record])
    cursors: dict[Place, Cursor] = field(default_factory=dict[Place, Cursor])
    consumed: Counter[Place] = field(default_factory=Counter[Place])
    expected: Counter[tuple[str, Place]] = field(default_factory=Counter[tuple[str, Place]])
    opened: dict[Place, maps.OpenMap] = field(default_factory=dict[Place, maps.OpenMap])
    closed: set[Place] = field(default_factory=set[Place])
    settled: set[Place] = field(default_factory=set[Place])
    outputs: dict[Place, bytes | None] = field(default_factory=dict[Place, "bytes | None"])
    taken: restarts.Taken | None = None
    is_draining: bool = False
    has_ended: bool = False
    reached: set[Place] = field(default_factory=set[Place])
    is_paused: bool = False
    unknown: set[str] = field(default_factory=set[str])

    def follow(self, events: list[Event]) -> None:
        """Take all events of the run. Raises Broken, GaveUp."""
        for event in events:
            try:
                self._take(event)
            except Broken as broken:
                raise Broken(broken.oracle, f"event {event.seq} ({event.type} {event.node}): {broken}") from broken

    def _take(self, event: Event) -> None:
        place = self._place(event)
        restarts.check_order(self, event.type)
        if event.type in restarts.SETTLING:
            self.settled.add(place)
        if self.expected and not event.type.startswith(BY_SCRIPT) and event.type not in BY_SCRIPT_TOO:
            raise Broken("O3", f"by the rules there should have been {_shown(self.expected)}")
        match event.type:
            case "run.started":
                self._start(event)
            case "run.entered":
                self.consume_own((START, ()))  # of a start in several parts
                if event.facts.get("reason"):
                    self._drain()
                else:
                    self._enter()
            case "step.succeeded":
                self.consume(place, "ready")
                self.outputs[place] = event.stored
                self._succeed(event, place)
            case "step.skipped":
                self.consume(place, "ready")
                self._settle(place, "dead")
            case "step.failed":
                self._fail(place)
            case "path.died":
                self.consume(place, "skip")
                self._settle(place, "failed" if event.facts.get("reason") == "upstream_failed" else "dead")
            case "gate.passed":
                self.consume(place, "ready")
                self._settle(place, "live")
            case "effects.continued":
                self.consume(place, "cursor")
                decisions.decide(self, place, self.cursors.pop(place))
            case "join.fired" | "join.died":
                self._join(event, place)
            case "step.waiting" | "step.retried":
                self._park(event, place)
            case "join.dropped":
                if self.joins.pop(place, None) is None or not maps.is_gone(self, place):
                    raise Broken("O2", "a join is taken away that goes on")
            case "run.draining":
                self._drain()
            case "run.swept":
                self.consume((SWEEP, ()))
            case "run.migrated":
                moves.move(self, event)
            case "run.woken":
                self.consume_own((WAKER, ()))  # a run may be paused again
            case "closing.released" | "compensation.started" | "run.compensated":
                self._undo(event.type, place)
            case "command.applied":
                self._command(str(event.facts.get("data", {}).get("type")))
            case "command.ignored" | "run.halted" | "run.rebuilt":
                pass
            case _ if event.type in FINAL:
                self._end(event)
            case _ if event.type in restarts.TYPES:
                restarts.take_over(self, event, place)
            case _:
                self._take_small(event, place)

    def _take_small(self, event: Event, place: Place) -> None:
        """What is about one token and settles no step, and what is about a map."""
        match event.type:
            case "timer.set" | "token.forced" | "step.withdrawn":
                self.must_live(place)
                if self.living[place] == "cursor":
                    raise Broken("O2", "its step is settled, and only goes on with its effects")
                self.living[place] = {"timer.set": "parked", "token.forced": "ready"}.get(event.type, "skip")
            case "timer.released" | "token.released" | "mutex.granted" | "slot.granted":
                if self.living.get(place) != "parked":
                    raise Broken("O2", "a token is released that is not parked")
                self.living[place] = "ready"
            case "token.dropped" | "token.withdrawn":
                self._take_away(place)
            case "fanout.continued" | "fanout.collected" | "fanout.swept":
                maps.go_on(self, event.type, place, event.facts.get("data", {}))
            case "fanout.closed" | "fanout.completed":
                self._map(event, place)
            case "fanout.dropped":
                maps.forget(self, place)
            case "step.input_kept" if self.taken is not None and not self.taken.is_told:
                pass
            case "step.started" | "step.input_kept" | "token.claimed" | "token.overdue":
                self.must_live(place)
            case "approval.granted" | "approval.rejected" | "approval.escalated":
                self.must_live(place)
            case _:
                self.unknown.add(event.type)

    def _place(self, event: Event) -> Place:
        number = NAMES.get(event.node)
        if number is None:
            number = self.graph.numbers.get(event.node)
        if number is None:
            raise Broken("O3", f"the graph has no node {event.node!r}")
        return number, tuple(int(part) for part in event.scope.split(".")) if event.scope else ()

    def _start(self, event: Event) -> None:
        data = event.facts.get("data", {})
        self.ir = str(data.get("ir"))
        if data.get("restored"):
            self.taken = restarts.Taken(str(data.get("base_run_id", "")), int(data.get("base_seq", 0)))
        elif data.get("held"):
            self.emit((START, ()))
        else:
            self._enter()

    def _enter(self) -> None:
        """Emit the first tokens; where they are many, the run's own token goes on."""
        start = (START, ())
        known = self.cursors.pop(start, None)
        first = known.position if known is not None else 0
        following = first + decisions.EFFECTS_MAX
        for number in self.graph.entries[first:following]:
            self.emit((number, (1,) * len(self.graph.nodes[number].levels)))
        if following < len(self.graph.entries) and not self.is_draining:
            self.living[start], self.cursors[start] = "ready", Cursor((), "", following)

    def emit(self, place: Place, state: str = "ready") -> None:
        if self.is_draining or maps.is_gone(self, place):
            return
        if place in self.living or self.consumed[place]:
            raise Broken("O2", f"a token is emitted twice at {place}")
        self.living[place] = state

    def must_live(self, place: Place) -> None:
        if place not in self.living:
            known = "it was consumed before" if self.consumed[place] else "nothing has emitted it"
            raise Broken("O2" if self.consumed[place] else "O3", f"no token lives at {place}: {known}")

    def consume(self, place: Place, state: str = "") -> None:
        self.must_be(place, state or self.living.get(place, ""))
        del self.living[place]
        self.consumed[place] += 1

    def consume_own(self, place: Place) -> None:
        """Consume one that may be emitted again: a waker, or a map's own."""
        self.consume(place)
        del self.consumed[place]

    def must_be(self, place: Place, state: str) -> None:
        self.must_live(place)
        if self.living[place] != state:
            raise Broken("O3", f"the token at {place} is {self.living[place]}, not {state}")

    def _drain(self) -> None:
        if self.is_draining:
            raise Broken("O2", "the run drains twice")
        self.living[SWEEP, ()] = "ready"
        self.is_draining, self.is_paused = True, False
        self._hold_closing()

    def _hold_closing(self) -> None:
        """Where anything may have to be undone, a token waits until nothing else is left."""
        if any(node.compensation >= 0 for node in self.graph.nodes):
            self.living.setdefault((CLOSING, ()), "parked")

    def _undo(self, kind: str, place: Place) -> None:
        closing = (CLOSING, ())
        if kind == "closing.released":
            if self.living != {closing: "parked"}:
                raise Broken("O1", f"the closing token is released beside {sorted(self.living)}")
            self.living[closing], self.is_draining = "ready", True
        elif kind == "run.compensated":
            self.consume(closing, "ready")
        else:
            undone = (self.graph.nodes[place[0]].compensation, place[1])
            if self.living.get(closing) != "ready" or not self.consumed[place] or self.consumed[undone]:
                raise Broken("O3", "it is not its turn to be undone")
            self.living[closing], self.living[undone] = "parked", "ready"

    def _command(self, kind: str) -> None:
        if kind == "pause" and not self.is_draining:
            self.is_paused = True
        elif kind == "resume" and self.is_paused:
            self.is_paused = False
            self.living[WAKER, ()] = "ready"

    def _park(self, event: Event, place: Place) -> None:
        """A token waits, or another attempt does; of a run that drains it is taken away instead, but what undoes."""
        self.must_live(place)
        undoing = {node.compensation for node in self.graph.nodes}
        if self.is_draining and place[0] not in undoing:
            self.consume(place)
            return
        if self.living[place] != "ready":
            raise Broken("O2", f"a token is parked that is {self.living[place]}")
        self.living[place] = "parked"
        reason, node = event.facts.get("reason"), self.graph.nodes[place[0]]
        if reason == "more" and event.type == "step.waiting":
            self.outputs[place] = event.stored
            maps.put_items(self, place, event.facts.get("data", {}), is_open=True)
            return
        beside = {"approval"} if node.asks else {"timer", "approval", "signal", "child"}
        if event.type == "step.waiting" and reason in beside:
            self.reach(place, "live")

    def reach(self, place: Place, status: str, *, is_far: bool = False) -> None:
        """Milestones of a node: live once it waits, dead when it settles without having waited.

        is_far: a dead path goes through it; else what is no join is told by a skip token.
        """
        for number in self.graph.nodes[place[0]].milestones:
            target = self.graph.nodes[self.graph.edges[number].target]
            if (number, place[1]) in self.reached:
                continue
            self.reached.add((number, place[1]))
            if status == "dead" and not target.join and not is_far:
                self.emit((target.number, place[1]), "skip")
            else:
                self.bring(number, place[1], status)

    def _take_away(self, place: Place) -> None:
        if not self.is_draining and not maps.is_gone(self, place):
            raise Broken("O2", "a token is taken from a run that goes on")
        is_own = place[0] >= 0 and self.graph.nodes[place[0]].map_region >= 0
        (self.consume_own if is_own else self.consume)(place)

    def _succeed(self, event: Event, place: Place) -> None:
        node, letters = self.graph.nodes[place[0]], str(event.facts.get("edges", ""))
        word = event.facts.get("loop", "")
        if node.is_map:
            maps.put_items(self, place, event.facts.get("data", {}), is_open=False)
            return
        statuses = [LETTERS[letter] for letter in letters[: len(node.outs)]]
        if not letters:
            statuses = ["live" if self.graph.edges[e].kind == "normal" else "dead" for e in node.outs]
        self._decide(place, statuses, "back" if word == "back" else "exit")

    def _fail(self, place: Place) -> None:
        self.consume(place, "ready")
        node = self.graph.nodes[place[0]]
        kinds = [self.graph.edges[e].kind for e in node.outs]
        if "error" in kinds:
            self._decide(place, ["live" if kind == "error" else "dead" for kind in kinds])
        elif self.graph.maps_over(*place):
            self._settle(place, "failed")
        elif self.graph.is_strict:
            if not self.is_draining:
                self._drain()
        else:
            if not self.is_draining:
                self._hold_closing()
            self._settle(place, "failed")

    def _settle(self, place: Place, status: str) -> None:
        self._decide(place, [status for _ in self.graph.nodes[place[0]].outs])

    def _decide(self, place: Place, statuses: list[str], word: str = "exit") -> None:
        decisions.decide(self, place, Cursor(tuple(statuses), word, 0))

    def bring(self, number: int, scope: Scope, status: str, item: int = -1) -> None:
        """An edge has its status in a scope of its source. item: of the map that it leaves."""
        edge = self.graph.edges[number]
        target = self.graph.nodes[edge.target]
        there = self.graph.carry(edge.source, scope, edge.target, edge.slot, item)
        if self.is_draining or (target.is_each and status != "live"):
            return
        if target.is_aggregate:
            if item < 0:
                item = scope[self.graph.nodes[edge.source].levels.index(target.map_region)]
            maps.arrive(self, edge.target, there, item, status)
        elif target.join or target.is_gate:
            self._arrive(target, there, status)
        elif status == "live":
            self.emit((edge.target, there))
        elif edge.span > decisions.WALK_MAX:
            self.emit((edge.target, there), "skip")
        else:
            decisions.pass_on(self, target, there, status)

    def tell(self, gate: int, scope: Scope, word: str) -> None:
        """Tell a gate of a loop that it goes back or ends. scope: of what decides it."""
        if not self.is_draining:
            self._arrive(self.graph.nodes[gate], scope[: len(self.graph.nodes[gate].levels)], "", word)

    def _arrive(self, node: Node, scope: Scope, status: str, told: str = "") -> None:
        place = (node.number, scope)
        if maps.is_gone(self, place):
            return
        record = self.joins.setdefault(place, Record())
        record.told = told or record.told
        record.add(status)
        arity = 2 if node.is_gate else len(node.ins)
        if record.count > arity:
            raise Broken("O3", f"{record.count} arrivals at {place}, which has {arity} edges")
        if not record.is_settled:
            verdict = verdict_of(node, record, arity)
            if verdict:
                record.is_settled = True
                self.expected[verdict, place] += 1
        if record.count == arity:
            del self.joins[place]

    def _join(self, event: Event, place: Place) -> None:
        verdict = "failed" if event.facts.get("reason") == "failed" else event.type.removeprefix("join.")
        if not self.expected[verdict, place]:
            raise Broken("O3", f"by the rules {_shown(self.expected) or 'no join'} settles here")
        del self.expected[verdict, place]
        self.emit(place, "ready" if verdict == "fired" else "skip")

    def _map(self, event: Event, place: Place) -> None:
        """What follows from the end of a map's items."""
        said = "closed" if event.type == "fanout.closed" else f"completed {event.facts.get('data', {}).get('live')}"
        if not self.expected[said, place]:
            raise Broken("O3", f"by the rules {_shown(self.expected) or 'nothing'} follows here")
        del self.expected[said, place]
        if event.type == "fanout.completed":
            self.emit(place)

    def _end(self, event: Event) -> None:
        if self.living:
            raise Broken("O1", f"the run ended with {len(self.living)} living tokens: {sorted(self.living)[:3]}")
        left = sorted((*self.joins, *self.opened))
        if not self.is_draining and left:
            raise Broken("O1", f"the run ended with half-filled joins or open maps: {left[:3]}")
        if event.type in ({"run.completed"} if self.is_draining else {"run.cancelled", "run.timed_out"}):
            raise Broken("O1", "the run did not end as it went")
        self.has_ended = True


def _shown(expected: Counter[tuple[str, Place]]) -> str:
    return ", ".join(f"{place} {verdict}" for verdict, place in expected)
