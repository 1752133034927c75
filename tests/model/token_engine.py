"""A token engine as small as can be: sections 3 to 5 and 7 of the token rules, in plain dicts, without maps.

Not the engine of anything: it exists to prove that ``interleave`` and the reading notice a broken rule. Each
rule can be left out by its name (``RULES``), and a test shows that leaving it out is found. It shares the graph
and the levels with the reading, and nothing of how the reading decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model.reading.graph import Edge, Graph, Kind
from model.reading.oracle import Oracle, Outcome
from model.reading.reading import Place, Scope, scope_text
from model.reading.regions import Region, RegionKind, levels

RULES = frozenset({"gate", "iteration", "late", "colour", "counted", "back", "activation"})


@dataclass
class Record:
    """Arrivals at one join in one scope. ``told``: what the loop node told a gate."""

    live: int = 0
    dead: int = 0
    failed: int = 0
    settled: bool = False
    told: str = ""


@dataclass(frozen=True)
class Token:
    """``gate``: how many gates of ``edge`` are behind it; a token without an edge is a node's."""

    node: str
    scope: Scope
    status: str = "live"
    edge: Edge | None = None
    gate: int = 0


@dataclass
class TokenEngine:
    """Satisfies ``Engine``, ``Lists`` and ``Redelivers``. ``without``: a rule of ``RULES`` that it ignores."""

    graph: Graph
    oracle: Oracle
    without: str = ""
    ledger: dict[str, Token] = field(default_factory=dict[str, Token])
    records: dict[tuple[str, Scope], Record] = field(default_factory=dict[tuple[str, Scope], Record])
    ran: set[Place] = field(default_factory=set[Place])
    count: int = 0
    failed: bool = False

    def __post_init__(self) -> None:
        assert self.without in RULES | {""}
        self.levels = levels(self.graph)

    def start(self) -> None:
        for node in self.graph.nodes:
            if self.graph.is_entry(node):
                scope = tuple((region.id, 1) for region in self.levels[node])
                self._emit(Token(node, scope))

    def tokens(self) -> list[str]:
        return list(self.ledger)

    def living(self) -> list[str]:
        return list(self.ledger)

    def counter(self) -> int:
        return self.count

    def executed(self) -> set[Place]:
        return set(self.ran)

    def status(self) -> str:
        if self.count:
            return "RUNNING"
        return "FAILED" if self.failed else "CORRUPT" if self.records and not self.failed else "COMPLETED"

    def redeliver(self, token: str) -> None:
        if token in self.ledger:
            self.deliver(token)

    def deliver(self, token: str) -> None:
        held = self.ledger.pop(token)
        self.count -= 1
        if self.failed and self.graph.drains:
            return
        if held.edge is not None:
            self._pass(held.edge, held.scope, held.status, held.gate)
        elif held.status != "live":
            self._node_dead(held.node, held.scope, held.status)
        else:
            self._run(held.node, held.scope)

    def _emit(self, token: Token) -> None:
        key = f"{token.node}[{scope_text(token.scope)}]"
        if token.edge is not None:
            key = f"gate {token.gate} of {token.edge.source}>{token.edge.target} {token.edge.kind}" + key
        assert key not in self.ledger, f"{key} lives already"
        self.ledger[key] = token
        self.count += 1

    def _run(self, node: str, scope: Scope) -> None:
        outs = self.graph.outs[node]
        if self.graph.nodes[node].guarded and not self.oracle.when(node):
            self._decide(node, scope, dict.fromkeys(outs, "dead"))
            return
        assert (node, scope_text(scope)) not in self.ran, f"{node} runs twice in {scope_text(scope)}"
        self.ran.add((node, scope_text(scope)))
        outcome = self.oracle.outcome(node, scope_text(scope))
        loop = self.graph.nodes[node].loop
        kinds = {edge.kind for edge in outs}
        taken = self._taken(node, outcome)
        exhausted = False
        if outcome.ok and loop is not None and outcome.again:
            if scope[-1][1] < loop.limit:
                self._back(node, scope, loop.back_to)
                return
            exhausted = True
        if exhausted and Kind.EXHAUSTED in kinds:
            status = {edge: "live" if edge.kind is Kind.EXHAUSTED else "dead" for edge in outs}
        elif outcome.ok and not exhausted and taken is not None:
            status = {edge: "live" if edge in taken else "dead" for edge in outs}
        elif Kind.ERROR in kinds:
            status = {edge: "live" if edge.kind is Kind.ERROR else "dead" for edge in outs}
        else:
            self.failed = True
            status = dict.fromkeys(outs, "dead" if self.without == "colour" else "failed")
            if self.graph.drains:
                return
        self._decide(node, scope, status)

    def _taken(self, node: str, outcome: Outcome) -> set[Edge] | None:
        rules = self.graph.nodes[node].rules
        named = rules.named if rules is not None else frozenset[str]()
        chosen: list[str] = []
        if rules is not None:
            for index, targets in enumerate(rules.rules):
                if outcome.rules[index : index + 1] == (True,):
                    chosen += targets
                    if not rules.every_rule:
                        break
            else:
                if not any(outcome.rules[: len(rules.rules)]):
                    if not rules.default:
                        return None
                    chosen += rules.default
        return {
            edge
            for edge in self.graph.outs[node]
            if edge.kind is Kind.NORMAL
            and (edge.target in chosen or edge.target not in named)
            and (not edge.guarded or outcome.edges.get(edge.target, True))
        }

    def _back(self, node: str, scope: Scope, back_to: str) -> None:
        region, iteration = scope[-1]
        inner = [(level.id, 1) for level in self.levels[back_to][len(scope) :]]
        if self.without == "back":
            for edge in self.graph.outs[node]:
                self._leave(edge, scope, "dead")
        self._tell(node, scope, "back")
        self._emit(Token(back_to, (*scope[:-1], (region, iteration + 1), *inner)))

    def _decide(self, node: str, scope: Scope, status: dict[Edge, str]) -> None:
        for edge, colour in status.items():
            self._leave(edge, scope, colour)
        self._tell(node, scope, "exit")

    def _node_dead(self, node: str, scope: Scope, status: str) -> None:
        self._decide(node, scope, dict.fromkeys(self.graph.outs[node], status))

    def _gates(self, edge: Edge) -> list[Region]:
        """The loops whose end an edge waits for, innermost first."""
        if self.without == "gate":
            return []
        left = [level for level in self.levels[edge.source] if edge.target not in level.nodes]
        return [level for level in reversed(left) if level.owner != edge.source]

    def _leave(self, edge: Edge, scope: Scope, status: str) -> None:
        self._pass(edge, scope, status, 0)

    def _pass(self, edge: Edge, scope: Scope, status: str, gate: int) -> None:
        """Bring an edge to its next gate, or to its target."""
        gates = self._gates(edge)
        if gate < len(gates):
            depth = self.levels[edge.source].index(gates[gate]) + 1
            self._at_gate(edge, scope[:depth], gate, status=status)
            return
        target, kept = edge.target, dict(scope)
        ins = self.graph.ins[target]
        if self.graph.is_each(target) and status != "live":
            return
        here: Scope = ()
        for level in self.levels[target]:
            at_join = ins.index(edge) if self.without != "activation" else 0
            fresh = 1 if level.kind is RegionKind.LOOP else at_join
            here = (*here, (level.id, kept.get(level.id, fresh)))
        if self.graph.is_each(target) or (len(ins) == 1 and status == "live"):
            self._emit(Token(target, here))
        elif len(ins) == 1:
            self._node_dead(target, here, status)
        else:
            self._arrive(target, here, status)

    def _arrive(self, node: str, scope: Scope, status: str) -> None:
        if self.without == "iteration":
            key = (node, tuple((region, 1 if region.endswith("#") else index) for region, index in scope))
        else:
            key = (node, scope)
        record = self.records.setdefault(key, Record())
        record.live += status == "live"
        record.dead += status != "live"
        record.failed += status == "failed"
        policy, arity = self.graph.nodes[node].join, len(self.graph.ins[node])
        full = record.live + record.dead == arity
        if self.without == "counted":
            self.count += 1 - arity * full
        if not record.settled:
            fires = {
                "all": full and record.live > 0 and record.failed == 0,
                "every": record.live == arity,
                "at_least": record.live == policy.n,
            }[policy.policy]
            record.settled = fires or full
            if record.settled:
                self._emit(Token(node, scope, "live" if fires else "failed" if record.failed else "dead"))
        if full or (self.without == "late" and record.settled):
            del self.records[key]

    def _tell(self, node: str, scope: Scope, decision: str) -> None:
        """Tell the gates of a loop node that its loop goes back or ends."""
        loop = self.graph.nodes[node].loop
        if loop is None:
            return
        for edge in self.graph.edges:
            for gate, level in enumerate(self._gates(edge)):
                if level.owner == node:
                    self._at_gate(edge, scope, gate, told=decision)

    def _at_gate(self, edge: Edge, scope: Scope, gate: int, *, status: str = "", told: str = "") -> None:
        key = (f"gate {gate} of {edge.number}", scope)
        record = self.records.setdefault(key, Record())
        record.told = told or record.told
        record.live += status == "live"
        record.dead += status in {"dead", "failed"}
        record.failed += status == "failed"
        if record.told and record.live + record.dead:
            del self.records[key]
            if record.told == "exit":
                colour = "live" if record.live else "failed" if record.failed else "dead"
                self._emit(Token(edge.target, scope[:-1], colour, edge, gate + 1))
