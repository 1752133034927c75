"""The pure rules as an engine: ``settle`` and ``Marking.apply``, with outcomes from an oracle. No Redis, no fold.

Decisions are made from the oracle's answers, not from outputs and expressions; an engine that evaluates the
expressions of the document must come to the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from courante.compiler.workflow import EdgeKind
from courante.sdk.marking import rules
from courante.sdk.marking.marking import WOKEN, Marking, Place, RunPhase, Token, TokenKind
from courante.sdk.marking.scopes import (
    START_NODE,
    SWEEP_NODE,
    Scope,
    parse_scope_key,
    parse_token_key,
    scope_text,
    token_key,
)
from model.compiled import Parking

if TYPE_CHECKING:
    from courante.compiler.ir import Ir, Node
    from model.reading.oracle import Oracle, Outcome
    from model.reading.reading import Place as Ran


@dataclass
class PureEngine:
    """Satisfies ``Engine``, ``Lists`` and ``Redelivers``. A parked token is delivered by being released."""

    ir: Ir
    oracle: Oracle
    parking: Parking = field(default_factory=lambda: Parking(seed=0))
    marking: Marking = field(default_factory=Marking)
    ran: set[Ran] = field(default_factory=set["Ran"])

    def start(self) -> None:
        effects, following = rules.start(self.ir)
        self._apply(effects)
        if following >= 0:
            self.marking.put(START_NODE, (), Token(kind=TokenKind.CURSOR, extra=str(following)))

    def tokens(self) -> list[str]:
        return self.living()

    def living(self) -> list[str]:
        return [token_key(node, scope) for node, scope in self.marking.tokens]

    def counter(self) -> int:
        return self.marking.counter

    def executed(self) -> set[Ran]:
        return set(self.ran)

    def status(self) -> str:
        if self.marking.counter:
            return "RUNNING"
        if self.marking.phase is RunPhase.RUNNING and self.marking.unfinished:
            return "CORRUPT"
        return "FAILED" if self.marking.reason else "COMPLETED"

    def redeliver(self, token: str) -> None:
        if parse_token_key(token) in self.marking.tokens:
            self.deliver(token)

    def deliver(self, token: str) -> None:
        self.settle(token, self.marking.phase)

    def settle(self, key: str, seen: RunPhase) -> None:
        """Work a token off. ``seen``: the run's phase at its delivery; who has it in hand goes on with it."""
        number, scope = parse_token_key(key)
        token = self.marking.tokens[number, scope]
        if token.place is Place.TIMER:
            token.place, token.due = Place.FLOOR, 0
        elif token.kind is TokenKind.SWEEP:
            for place in [place for place, other in self.marking.tokens.items() if other.place is Place.TIMER]:
                del self.marking.tokens[place]
            self.marking.take(SWEEP_NODE, ())
        elif seen is RunPhase.DRAINING:
            self.marking.take(number, scope)
        elif number == START_NODE:
            self._enter(int(token.extra))
        elif token.kind is TokenKind.SKIP:
            self._decided(number, scope, rules.died(self.ir.nodes[number], token.extra))
        elif token.kind is TokenKind.CURSOR:
            position, _, decision = token.extra.partition(".")
            self._decided(number, scope, decision, int(position))
        elif self.ir.nodes[number].is_gate:
            self._decided(number, scope, rules.taken(self.ir.nodes[number], self.ir.edges))
        else:
            self._run(number, scope, token)

    def _enter(self, position: int) -> None:
        token = self.marking.take(START_NODE, ())
        if self.marking.phase is not RunPhase.RUNNING:
            return
        effects, following = rules.start(self.ir, position)
        self._apply(effects)
        if following >= 0:
            token.extra = str(following)
            self.marking.put(START_NODE, (), token)

    def _run(self, number: int, scope: Scope, token: Token) -> None:
        node = self.ir.nodes[number]
        where = scope_text(self.ir, number, scope)
        if node.when is not None and not self.oracle.when(node.id):
            self._decided(number, scope, rules.died(node, "d"))
            return
        if token.extra != WOKEN and self.parking.parks(node.id, where):
            self._park(number, scope, token)
            return
        place = (node.id, where)
        assert place not in self.ran, f"{node.id} runs twice in {where!r}"
        self.ran.add(place)
        outcome = self.oracle.outcome(node.id, where)
        decision = self._decide(node, scope, outcome) if outcome.ok else None
        if decision is None:
            self._fail(number, scope)
        else:
            self._decided(number, scope, decision)

    def _park(self, number: int, scope: Scope, token: Token) -> None:
        if self.marking.phase is RunPhase.RUNNING:
            token.extra, token.place, token.due = WOKEN, Place.TIMER, 1
        else:
            self.marking.take(number, scope)

    def _decide(self, node: Node, scope: Scope, outcome: Outcome) -> str | None:
        """The decision of a step that went well; None where it fails after all (no way out)."""
        edges = self.ir.edges
        if node.loop is not None and outcome.again:
            if scope[self.ir.regions[node.loop_region].depth] < node.loop.max_iterations:
                return rules.gone_back(node)
            leads = any(edges[e].kind is EdgeKind.EXHAUSTED for e in node.outs)
            return rules.exhausted(node, edges) if leads else None
        named, chosen = self._chosen(node, outcome.rules)
        if node.routing is not None and not chosen:
            return None
        targets = [self._target(e) for e in node.outs]
        return rules.taken(
            node,
            edges,
            [
                (target in chosen or target not in named) and (edges[e].when is None or outcome.edges.get(target, True))
                for e, target in zip(node.outs, targets, strict=True)
            ],
        )

    def _chosen(self, node: Node, true: tuple[bool, ...]) -> tuple[set[str], set[str]]:
        if node.routing is None:
            return set(), set()
        named = {*node.routing.default, *(target for rule in node.routing.rules for target in rule.next)}
        holding = [set(rule.next) for rule, holds in zip(node.routing.rules, true, strict=False) if holds]
        if not holding:
            return named, set(node.routing.default)
        return named, set[str]().union(*holding) if node.routing.mode == "all" else holding[0]

    def _target(self, edge: int) -> str:
        """The declared target: gates are looked through."""
        node = self.ir.nodes[self.ir.edges[edge].target]
        return self._target(node.outs[0]) if node.is_gate else node.id

    def _fail(self, number: int, scope: Scope) -> None:
        decision, effect = rules.failed(self.ir, self.ir.nodes[number])
        if not decision:
            self.marking.take(number, scope)
        if effect is not None:
            self._apply([effect])
        if decision:
            self._decided(number, scope, decision)

    def _decided(self, number: int, scope: Scope, decision: str, position: int = 0) -> None:
        token = self.marking.take(number, scope)
        if self.marking.phase is not RunPhase.RUNNING:
            return
        effects, following = rules.settle(self.ir, number, scope, decision, position)
        self._apply(effects)
        if following >= 0:
            token.kind, token.extra, token.live = TokenKind.CURSOR, f"{following}.{decision}", ""
            self.marking.put(number, scope, token)

    def _apply(self, effects: list[rules.Effect]) -> None:
        for code in self.marking.apply(self.ir, effects):
            if code.startswith("P"):
                number, scope, _ = code[1:].split(":")
                self.marking.tokens[int(number), parse_scope_key(scope)].due = 1
