"""The walk: the tokens of one run, followed event by event through its log by the token rules alone (O1, O2, O3).

Written from token-rules.md, sections 3 to 5 and 7; it shares nothing with the engine's own fold. What it does not
follow yet (maps, effects that go on in a second transition) makes it give up on the run, which is said.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from chaos.oracles.graph import MAP, Graph, Node, Scope
from chaos.oracles.log import FINAL, Event

START, SWEEP, CLOSING, WAKER = -1, -2, -3, -4
NAMES = {"": SWEEP, "(start)": START, "(closing)": CLOSING, "(waker)": WAKER}
"""Tokens of the engine's own, by the node that their events name."""
BY_SCRIPT = ("join.", "timer.", "mutex.")
BY_SCRIPT_TOO = frozenset(
    {
        "closing.released",
        "command.ignored",
        "run.draining",
        "run.halted",
        "run.swept",
        "run.woken",
        "step.withdrawn",
        "token.claimed",
        "token.forced",
        "token.overdue",
        "token.released",
        "token.withdrawn",
    }
)
"""What follows from the event before it, in the same transition."""
Place = tuple[int, Scope]


class Broken(Exception):
    """The log says what the rules do not allow."""

    def __init__(self, oracle: str, what: str) -> None:
        super().__init__(what)
        self.oracle = oracle


class GaveUp(Exception):
    """The run has something in it that the walk does not follow."""


@dataclass
class Record:
    """Arrivals at a join. ``told``: a loop's word to a gate, ``back`` or ``exit``."""

    live: int = 0
    dead: int = 0
    failed: int = 0
    is_settled: bool = False
    told: str = ""

    @property
    def count(self) -> int:
        return self.live + self.dead + bool(self.told)


@dataclass
class Walk:
    """``living``: what each token waits for: ``ready``, ``parked`` or ``skip``. ``consumed``: how often each was.

    ``reached``: milestones that are decided, by edge and scope.
    """

    graph: Graph
    living: dict[Place, str] = field(default_factory=dict[Place, str])
    joins: dict[Place, Record] = field(default_factory=dict[Place, Record])
    consumed: Counter[Place] = field(default_factory=Counter[Place])
    expected: Counter[tuple[str, Place]] = field(default_factory=Counter[tuple[str, Place]])
    is_draining: bool = False
    has_ended: bool = False
    reached: set[Place] = field(default_factory=set[Place])
    is_paused: bool = False
    unknown: set[str] = field(default_factory=set[str])

    def follow(self, events: list[Event]) -> None:
        """Take all events of the run. Raises Broken, GaveUp."""
        if any(region.kind == MAP for region in self.graph.regions):
            raise GaveUp("it has a map")
        for event in events:
            try:
                self._take(event)
            except Broken as broken:
                raise Broken(broken.oracle, f"event {event.seq} ({event.type} {event.node}): {broken}") from broken

    def _take(self, event: Event) -> None:
        place = self._place(event)
        if self.expected and not event.type.startswith(BY_SCRIPT) and event.type not in BY_SCRIPT_TOO:
            raise Broken("O3", f"by the rules there should have been {_shown(self.expected)}")
        match event.type:
            case "run.started":
                self._start(event)
            case "run.entered":
                self._consume((START, ()))
                if event.facts.get("reason"):
                    self._drain()
                else:
                    self._enter()
            case "step.succeeded":
                self._consume(place, "ready")
                self._succeed(event, place)
            case "step.skipped":
                self._consume(place, "ready")
                self._die(self.graph.nodes[place[0]], place[1], "dead")
            case "step.failed":
                self._fail(place)
            case "path.died":
                self._consume(place, "skip")
                status = "failed" if event.facts.get("reason") == "upstream_failed" else "dead"
                self._die(self.graph.nodes[place[0]], place[1], status)
            case "gate.passed":
                self._consume(place, "ready")
                self._decide(place, ["live" for _ in self.graph.nodes[place[0]].outs])
            case "join.fired" | "join.died":
                self._join(event, place)
            case "step.waiting" | "step.retried":
                self._park(event, place)
            case "timer.set" | "token.forced" | "step.withdrawn":
                self._must_live(place)
                self.living[place] = {"timer.set": "parked", "token.forced": "ready"}.get(event.type, "skip")
            case "timer.released" | "token.released" | "mutex.granted":
                if self.living.get(place) != "parked":
                    raise Broken("O2", "a token is released that is not parked")
                self.living[place] = "ready"
            case "token.dropped" | "token.withdrawn":
                self._take_away(place)
            case "run.draining":
                self._drain()
            case "run.swept":
                self._consume((SWEEP, ()))
            case "run.woken":
                self._consume((WAKER, ()))
                del self.consumed[WAKER, ()]  # a run may be paused again
            case "closing.released" | "compensation.started" | "run.compensated":
                self._undo(event.type, place)
            case "command.applied":
                self._command(str(event.facts.get("data", {}).get("type")))
            case "effects.continued":
                raise GaveUp("its effects go on in a second transition")
            case "step.started" | "step.input_kept" | "token.claimed" | "token.overdue":
                self._must_live(place)
            case "approval.granted" | "approval.rejected" | "approval.escalated":
                self._must_live(place)
            case "command.ignored":
                pass
            case _ if event.type in FINAL:
                self._end(event)
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
        if event.facts.get("data", {}).get("held"):
            self._emit((START, ()))
        else:
            self._enter()

    def _enter(self) -> None:
        for number in self.graph.entries:
            self._emit((number, (1,) * len(self.graph.nodes[number].levels)))

    def _emit(self, place: Place, state: str = "ready") -> None:
        if self.is_draining:
            return
        if place in self.living or self.consumed[place]:
            raise Broken("O2", f"a token is emitted twice at {place}")
        self.living[place] = state

    def _must_live(self, place: Place) -> None:
        if place not in self.living:
            known = "it was consumed before" if self.consumed[place] else "nothing has emitted it"
            raise Broken("O2" if self.consumed[place] else "O3", f"no token lives at {place}: {known}")

    def _consume(self, place: Place, state: str = "") -> None:
        self._must_live(place)
        if state and self.living[place] != state:
            raise Broken("O3", f"the token at {place} is {self.living[place]}, not {state}")
        del self.living[place]
        self.consumed[place] += 1

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
            self._consume(closing, "ready")
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
        self._must_live(place)
        undoing = {node.compensation for node in self.graph.nodes}
        if self.is_draining and place[0] not in undoing:
            self._consume(place)
            return
        if self.living[place] != "ready":
            raise Broken("O2", f"a token is parked that is {self.living[place]}")
        self.living[place] = "parked"
        reason, node = event.facts.get("reason"), self.graph.nodes[place[0]]
        beside = {"approval"} if node.asks else {"timer", "approval", "signal"}
        if event.type == "step.waiting" and reason in beside:
            self._reach(place, "live")

    def _reach(self, place: Place, status: str) -> None:
        """Milestones of a node: live once it waits, dead when it settles without having waited."""
        for number in self.graph.nodes[place[0]].milestones:
            if (number, place[1]) not in self.reached:
                self.reached.add((number, place[1]))
                self._bring(number, place[1], status)

    def _take_away(self, place: Place) -> None:
        if not self.is_draining:
            raise Broken("O2", "a token is taken from a run that goes on")
        self._consume(place)

    def _succeed(self, event: Event, place: Place) -> None:
        node, letters = self.graph.nodes[place[0]], str(event.facts.get("edges", ""))
        word = event.facts.get("loop", "")
        if word == "back":
            self._go_back(node, place[1])
            return
        names = {"l": "live", "d": "dead", "f": "failed", "-": "dead"}
        statuses = [names[letter] for letter in letters[: len(node.outs)]]
        if not letters:
            statuses = ["live" if self.graph.edges[e].kind == "normal" else "dead" for e in node.outs]
        self._decide(place, statuses)

    def _fail(self, place: Place) -> None:
        self._consume(place, "ready")
        node = self.graph.nodes[place[0]]
        kinds = [self.graph.edges[e].kind for e in node.outs]
        if "error" in kinds:
            self._decide(place, ["live" if kind == "error" else "dead" for kind in kinds])
        elif self.graph.is_strict:
            if not self.is_draining:
                self._drain()
        else:
            if not self.is_draining:
                self._hold_closing()
            self._decide(place, ["failed" for _ in kinds])

    def _go_back(self, node: Node, scope: Scope) -> None:
        region = self.graph.regions[node.region]
        indexes = dict(zip(node.levels, scope, strict=True))
        indexes[node.region] += 1
        entry = self.graph.nodes[region.entry]
        self._tell(node, scope, "back")
        self._emit((region.entry, tuple(indexes.get(level, 1) for level in entry.levels)))

    def _decide(self, place: Place, statuses: list[str]) -> None:
        node = self.graph.nodes[place[0]]
        self._reach(place, "dead")
        for number, status in zip(node.outs, statuses, strict=True):
            self._bring(number, place[1], status)
        self._tell(node, place[1], "exit")

    def _die(self, node: Node, scope: Scope, status: str) -> None:
        self._decide((node.number, scope), [status for _ in node.outs])

    def _bring(self, number: int, scope: Scope, status: str) -> None:
        """An edge has its status in a scope of its source."""
        edge = self.graph.edges[number]
        target = self.graph.nodes[edge.target]
        there = self.graph.carry(edge.source, scope, edge.target, edge.slot)
        if self.is_draining or (target.is_each and status != "live"):
            return
        if target.join or target.is_gate:
            self._arrive(target, there, status)
        elif status == "live":
            self._emit((edge.target, there))
        else:
            self._die(target, there, status)

    def _tell(self, node: Node, scope: Scope, word: str) -> None:
        """Tell the gates of a loop that it goes back or ends."""
        if node.region < 0 or self.is_draining:
            return
        for gate in self.graph.regions[node.region].gates:
            self._arrive(self.graph.nodes[gate], scope[: len(self.graph.nodes[gate].levels)], "", word)

    def _arrive(self, node: Node, scope: Scope, status: str, told: str = "") -> None:
        place = (node.number, scope)
        record = self.joins.setdefault(place, Record())
        record.told = told or record.told
        record.live += status == "live"
        record.dead += status in {"dead", "failed"}
        record.failed += status == "failed"
        arity = 2 if node.is_gate else len(node.ins)
        if record.count > arity:
            raise Broken("O3", f"{record.count} arrivals at {place}, which has {arity} edges")
        if not record.is_settled:
            verdict = _verdict(node, record, arity)
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
        self._emit(place, "ready" if verdict == "fired" else "skip")

    def _end(self, event: Event) -> None:
        if self.living:
            raise Broken("O1", f"the run ended with {len(self.living)} living tokens: {sorted(self.living)[:3]}")
        if not self.is_draining and self.joins:
            raise Broken("O1", f"the run ended with half-filled joins: {sorted(self.joins)[:3]}")
        if event.type in ({"run.completed"} if self.is_draining else {"run.cancelled", "run.timed_out"}):
            raise Broken("O1", "the run did not end as it went")
        self.has_ended = True


def _verdict(node: Node, record: Record, arity: int) -> str:
    """How a join settles with these arrivals: fired, died or failed; empty: not yet."""
    if node.is_gate:
        if record.told == "exit" and record.live + record.dead:
            return "fired" if record.live else "failed" if record.failed else "died"
        return ""
    is_full = record.count == arity
    fires = {
        "all": is_full and record.live > 0 and not record.failed,
        "every": record.live == arity,
        "any": record.live >= 1,
        "at_least": record.live >= node.need,
    }[node.join]
    if fires:
        return "fired"
    return ("failed" if record.failed else "died") if is_full else ""


def _shown(expected: Counter[tuple[str, Place]]) -> str:
    return ", ".join(f"{place} {verdict}" for verdict, place in expected)
