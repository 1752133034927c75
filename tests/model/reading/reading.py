"""A recursive reading of sections 3, 4 and 5 of the token rules that knows no tokens.

Every fact about a run (did this node execute in this scope, how did this edge end) is a pure function of the
facts before it, asked for by name and remembered. There is no order, no queue, no counter and no record here;
so an engine that agrees with it in every interleaving owes nothing to the order of its own steps. A gate needs
no record either: an edge that leaves a loop is asked for its status in the iteration in which the loop ended.

The reading is of ``on_failure: continue``. Under ``fail_fast`` the final status is the same, and the executed
nodes are some of these, with one of ``unhandled`` among them if there is one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from .graph import Edge, Graph, Join, Kind
from .oracle import Oracle
from .regions import Region, RegionKind, levels

Scope = tuple[tuple[str, int], ...]
"""(region id, index), outermost first."""

Place = tuple[str, str]
"""Node and scope text."""


class Colour(StrEnum):
    LIVE = "live"
    DEAD = "dead"
    FAILED = "failed"


class End(StrEnum):
    """How a node ended in one scope. The first five executed."""

    OK = "ok"
    BACK = "back"
    EXHAUSTED = "exhausted"
    HANDLED = "handled"  # failed for good, the error edge is taken
    FAILED = "failed"  # failed for good, nobody handles it
    SKIPPED = "skipped"  # its ``when`` is false
    DEAD = "dead"
    LOST = "lost"  # dead by a failure that nobody handled


EXECUTED = frozenset({End.OK, End.BACK, End.EXHAUSTED, End.HANDLED, End.FAILED})


@dataclass(frozen=True, kw_only=True)
class Settled:
    """``dropped``: the targets that rules or an edge's ``when`` did not choose."""

    end: End
    dropped: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A whole run. ``edges``: final status by (edge number, scope text of its source); none after going back."""

    ends: dict[Place, End]
    edges: dict[tuple[int, str], Colour]
    iterations: dict[Place, int]

    @property
    def executed(self) -> frozenset[Place]:
        return frozenset(place for place, end in self.ends.items() if end in EXECUTED)

    @property
    def unhandled(self) -> frozenset[Place]:
        return frozenset(place for place, end in self.ends.items() if end is End.FAILED)

    @property
    def status(self) -> str:
        return "FAILED" if self.unhandled else "COMPLETED"


def scope_text(scope: Scope) -> str:
    """``poll#2/merge@1``; empty outside all regions."""
    return "/".join(f"{region}{index}" for region, index in scope)


def read(graph: Graph, oracle: Oracle) -> Reading:
    """Read a graph that ``refusal`` accepts. Terminates because ``max_iterations`` bounds every loop."""
    return _Reader(graph, oracle).read()


class _Reader:
    def __init__(self, graph: Graph, oracle: Oracle) -> None:
        self.graph = graph
        self.oracle = oracle
        self.levels = levels(graph)
        self._settled: dict[tuple[str, Scope], Settled] = {}
        self._last: dict[tuple[str, Scope], int] = {}

    def read(self) -> Reading:
        ends: dict[Place, End] = {}
        edges: dict[tuple[int, str], Colour] = {}
        for node in self.graph.nodes:
            for scope in self.scopes(self.levels[node]):
                settled = self.settle(node, scope)
                ends[node, scope_text(scope)] = settled.end
                for edge in self.graph.outs[node] if settled.end is not End.BACK else ():
                    edges[edge.number, scope_text(scope)] = _colour(edge, settled)
        iterations = {(owner, scope_text(outer)): last for (owner, outer), last in self._last.items()}
        return Reading(ends=ends, edges=edges, iterations=iterations)

    def scopes(self, regions: tuple[Region, ...]) -> Iterator[Scope]:
        """Every scope of these nested regions that comes to be."""
        if not regions:
            yield ()
            return
        *outside, inmost = regions
        for outer in self.scopes(tuple(outside)):
            for index in self.indices(inmost, outer):
                yield (*outer, (inmost.id, index))

    def indices(self, region: Region, outer: Scope) -> list[int]:
        if region.kind is RegionKind.LOOP:
            return list(range(1, self.last(region, outer) + 1))
        ins = self.graph.ins[region.owner]
        return [index for index, edge in enumerate(ins) if self.seen(edge, outer) is Colour.LIVE]

    def last(self, loop: Region, outer: Scope) -> int:
        """The iteration in which the loop ended: the first whose loop node did not go back."""
        key = (loop.owner, outer)
        if key not in self._last:
            iteration = 1
            while self.settle(loop.owner, (*outer, (loop.id, iteration))).end is End.BACK:
                iteration += 1
            self._last[key] = iteration
        return self._last[key]

    def seen(self, edge: Edge, scope: Scope) -> Colour:
        """The status of an edge as its target sees it from ``scope``.

        Regions shared by both ends keep their index; a loop that the edge leaves counts with its last iteration.
        """
        shared = dict(scope)
        origin: Scope = ()
        for region in self.levels[edge.source]:
            index = shared[region.id] if region.id in shared else self.last(region, origin)
            origin = (*origin, (region.id, index))
        return _colour(edge, self.settle(edge.source, origin))

    def came(self, node: str, scope: Scope) -> Colour:
        """What a node is told in a scope, before its own ``when``."""
        for region, (_, index) in zip(self.levels[node], scope, strict=True):
            if region.kind is RegionKind.LOOP and region.entry == node and index > 1:
                return Colour.LIVE
        if self.graph.is_entry(node):
            return Colour.LIVE
        ins = self.graph.ins[node]
        if self.graph.is_each(node):
            return self.seen(ins[dict(scope)[f"{node}{RegionKind.EACH}"]], scope)
        colours = [self.seen(edge, scope) for edge in ins]
        return join(self.graph.nodes[node].join, colours) if len(ins) > 1 else (*colours, Colour.DEAD)[0]

    def settle(self, node: str, scope: Scope) -> Settled:
        key = (node, scope)
        if key not in self._settled:
            self._settled[key] = self._settle(node, scope)
        return self._settled[key]

    def _settle(self, node: str, scope: Scope) -> Settled:
        came = self.came(node, scope)
        if came is not Colour.LIVE:
            return Settled(end=End.LOST if came is Colour.FAILED else End.DEAD)
        if self.graph.nodes[node].guarded and not self.oracle.when(node):
            return Settled(end=End.SKIPPED)
        outcome = self.oracle.outcome(node, scope_text(scope))
        loop = self.graph.nodes[node].loop
        if outcome.ok and outcome.again and loop is not None:
            return self._go_on(node, dict(scope)[f"{node}{RegionKind.LOOP}"], loop.limit)
        chosen = self._chosen(node, outcome.rules) if outcome.ok else None
        if chosen is None:
            return self._fail(node)
        false = {target for target, holds in outcome.edges.items() if not holds}
        guarded = {edge.target for edge in self.graph.outs[node] if edge.guarded}
        return Settled(end=End.OK, dropped=self._named(node) - chosen | guarded & false)

    def _go_on(self, node: str, iteration: int, limit: int) -> Settled:
        """A loop condition that holds: back, or exhausted, or a failure where no edge is there for that."""
        if iteration < limit:
            return Settled(end=End.BACK)
        leads = any(edge.kind is Kind.EXHAUSTED for edge in self.graph.outs[node])
        return Settled(end=End.EXHAUSTED) if leads else self._fail(node)

    def _fail(self, node: str) -> Settled:
        handled = any(edge.kind is Kind.ERROR for edge in self.graph.outs[node])
        return Settled(end=End.HANDLED if handled else End.FAILED)

    def _named(self, node: str) -> frozenset[str]:
        rules = self.graph.nodes[node].rules
        return rules.named if rules is not None else frozenset()

    def _chosen(self, node: str, true: tuple[bool, ...]) -> frozenset[str] | None:
        """The targets that the rules choose; None if there are rules and none leads anywhere (NO_ROUTE)."""
        rules = self.graph.nodes[node].rules
        if rules is None:
            return frozenset()
        holding = [targets for targets, holds in zip(rules.rules, true, strict=False) if holds]
        if not holding:
            return frozenset(rules.default) or None
        return frozenset[str]().union(*holding) if rules.every_rule else frozenset(holding[0])


def join(policy: Join, colours: list[Colour]) -> Colour:
    """What a join becomes, all its edges known (section 3)."""
    live, failed = colours.count(Colour.LIVE), colours.count(Colour.FAILED)
    fires = {
        "all": live > 0 and failed == 0,
        "every": live == len(colours),
        "at_least": live >= policy.n,
    }[policy.policy]
    if fires:
        return Colour.LIVE
    return Colour.FAILED if failed else Colour.DEAD


def _colour(edge: Edge, settled: Settled) -> Colour:
    """How an edge ended, from how its source did (section 4). Never asked of a loop node that went back."""
    assert settled.end is not End.BACK
    if settled.end in {End.FAILED, End.LOST}:
        return Colour.FAILED
    live = {
        End.OK: edge.kind is Kind.NORMAL and edge.target not in settled.dropped,
        End.HANDLED: edge.kind is Kind.ERROR,
        End.EXHAUSTED: edge.kind is Kind.EXHAUSTED,
    }
    return Colour.LIVE if live.get(settled.end, False) else Colour.DEAD
