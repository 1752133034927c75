"""Reads: which context values each node needs, and in which scope, so that they can travel with its token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice, product
from math import prod

from ..cel import Reference
from ..diagnostics import did_you_mean
from ..ir import FIXED, LAST, PREVIOUS, Read, ReadKind, RegionKind, Terminal
from ..workflow import EdgeKind
from .ancestors import Ancestors
from .compensations import Compensations
from .graph import Findings, Graph
from .regions import Regions
from .sites import AFTER, LOOP_FIELDS, RUN_FIELDS, Site, node_sites, output_references, site_references

FIELDS = {
    "output": ReadKind.OUTPUT,
    "input": ReadKind.STEP_INPUT,
    "status": ReadKind.STATUS,
    "error": ReadKind.ERROR,
}
HINTS_MAX = 20
"""Looking for the nearest of all names takes time: only the first findings get that hint."""
ACTIVATIONS_MAX = 1_000
"""How many activations of a terminal node below ``each`` joins the run's output may list."""


@dataclass(slots=True)
class NodeReads:
    """``numbers``: the reads in order, each once. ``sources``: declared predecessor -> number of its read."""

    numbers: dict[Read, int] = field(default_factory=lambda: {})
    sources: list[tuple[str, int]] = field(default_factory=lambda: [])

    def add(self, read: Read) -> int:
        return self.numbers.setdefault(read, len(self.numbers))


@dataclass(slots=True)
class Wish:
    """One reference to another step, to be checked against the graph."""

    reader: int
    place: tuple[str | int, ...]
    step: int
    kind: ReadKind
    after: bool


@dataclass(slots=True)
class Reads:
    """Collects the reads of all nodes (``of``) and of the run's output."""

    graph: Graph
    regions: Regions
    findings: Findings
    compensations: Compensations
    of: list[NodeReads]
    wishes: list[Wish] = field(default_factory=lambda: [])
    _output_reads: list[Read] = field(default_factory=lambda: [])
    _loops_at: dict[int, set[str]] = field(default_factory=lambda: {})
    kept_inputs: set[int] = field(default_factory=lambda: set())
    kept_statuses: set[int] = field(default_factory=lambda: set())

    def areas_read_last(self) -> set[int]:
        """Return the loops whose body is read from outside: their last iteration has to be kept."""
        areas: set[int] = set()
        everything = [read for node in self.of for read in node.numbers] + self._output_reads
        for read in everything:
            if LAST in read.scope:
                levels = self.regions.levels[read.node]
                areas.update(area for area, index in zip(levels, read.scope, strict=True) if index == LAST)
        for node in self.regions.aggregates:
            for number in self.graph.ins[node]:
                inside = set(self.regions.levels[self.graph.links[number].origin]) - set(self.regions.levels[node])
                areas |= {area for area in inside if self.regions.areas[area].kind is RegionKind.LOOP}
        return areas

    def collect(self) -> tuple[list[Read], list[Terminal]]:
        """Return what the run's output reads, and its terminal nodes."""
        nodes = self.findings.workflow.nodes
        for node in range(len(nodes)):
            self._sources(node)
            if "input_selector" in nodes[node].config and nodes[node].type == "function":
                self.of[node].add(Read(ReadKind.INPUT))
            in_map = node in self.findings.doubted or self._map_over(node) >= 0
            for site in node_sites(nodes[node], in_map):
                self._refer(node, site.place, site.after, site_references(site, node, self.findings))
        for number, link in enumerate(self.graph.links):
            if link.when is not None:
                self._edge_when(number)
        output = NodeReads()
        self._output(output)
        place = self.compensations.place
        ancestors = Ancestors(self.graph, ((wish.step, place(wish.reader)) for wish in self.wishes))
        for wish in self.wishes:
            self._grant(wish, ancestors)
        terminals = self._terminals(output)
        self._output_reads = list(output.numbers)
        return self._output_reads, terminals

    def _sources(self, node: int) -> None:
        """The declared predecessors; of a compensation, the node that it undoes. Who waits is none: no output."""
        for number in self.graph.ins[node]:
            link = self.graph.links[number]
            if link.kind is EdgeKind.MILESTONE:
                continue
            if self._leaves_map(link.origin, node):
                continue  # an aggregate reads what its map has gathered
            if self._is_map(link.origin) and link.kind is EdgeKind.NORMAL:
                self.of[node].sources.append((self.findings.id(link.origin), self._item(node, link.origin)))
                continue
            kind = ReadKind.ERROR if link.kind is EdgeKind.ERROR else ReadKind.OUTPUT
            read = Read(kind, link.origin, self._scope(node, link.origin, previous=False))
            self.of[node].sources.append((self.findings.id(link.origin), self.of[node].add(read)))
        if node in self.compensations.undoes:
            undone = self.compensations.undoes[node]
            read = Read(ReadKind.OUTPUT, undone, self._scope(node, undone, previous=False))
            self.of[node].sources.append((self.findings.id(undone), self.of[node].add(read)))
        if self.findings.workflow.nodes[node].config.get("more") is not None and self._is_map(node):
            self.of[node].add(Read(ReadKind.OUTPUT, node, self._scope(node, node, previous=False)))
        if not self.of[node].sources and not self._is_aggregate(node):
            self.of[node].add(Read(ReadKind.INPUT))
        for area in self.regions.levels[node]:
            region = self.regions.areas[area]
            if region.kind is RegionKind.MAP and self._is_fast(region.aggregate):
                self.of[node].add(Read(ReadKind.MAP, region.node, self._scope(node, region.node, previous=False)))
        waiting = self._waits_while(node)
        if waiting >= 0:
            self.of[node].add(Read(ReadKind.TOKEN, waiting, self._scope(node, waiting, previous=False)))

    def _is_fast(self, aggregate: int) -> bool:
        return self.findings.workflow.nodes[aggregate].config.get("policy") == "fail_fast"

    def _is_aggregate(self, node: int) -> bool:
        return node in self.regions.aggregates

    def _is_map(self, node: int) -> bool:
        return self.findings.workflow.nodes[node].type == "map"

    def _leaves_map(self, source: int, node: int) -> bool:
        return self._is_aggregate(node) and source != node

    def _item(self, node: int, source: int) -> int:
        """The item that a node in the body of the map ``source`` is run for."""
        return self.of[node].add(Read(ReadKind.ITEM, source, self._scope(node, source, previous=False)))

    def _map_over(self, node: int) -> int:
        """The innermost map around a node, or -1."""
        areas = (self.regions.areas[area] for area in reversed(self.regions.levels[node]))
        return next((area.node for area in areas if area.kind is RegionKind.MAP), -1)

    def _waits_while(self, node: int) -> int:
        name = self.findings.workflow.nodes[node].while_waiting
        return -1 if name is None else self.graph.index[name]

    def _edge_when(self, number: int) -> None:
        link = self.graph.links[number]
        site = Site(("edges", self.findings.id(link.target), "when"), link.when, AFTER, True)
        self._refer(link.source, site.place, True, site_references(site, link.source, self.findings))

    def _refer(self, node: int, place: tuple[str | int, ...], after: bool, references: Iterable[Reference]) -> None:
        for reference in references:
            root, *rest = reference.path
            if root == "input":
                self.of[node].add(Read(ReadKind.INPUT))
            elif root in ("steps", "tasks", "outputs"):
                self._step(node, place, after, root, rest)
            elif root == "inputs":
                self._inputs(node, place, rest)
            elif root == "item" and (source := self._map_over(node)) >= 0:
                self._item(node, source)
            elif root in ("run", "loop"):
                known = RUN_FIELDS if root == "run" else LOOP_FIELDS
                if rest and rest[0] not in known:
                    self._unknown(node, place, f"{root}.{rest[0]}", rest[0], known)

    def _unknown(self, node: int, place: tuple[str | int, ...], what: str, word: str, known: Iterable[str]) -> None:
        hint = did_you_mean(word, known) if len(self.findings.found) < HINTS_MAX else ""
        self.findings.add("unknown_name", f"{what} does not exist", node, *place, hint=hint)

    def _step(self, node: int, place: tuple[str | int, ...], after: bool, root: str, rest: list[str]) -> None:
        if not rest:
            self.findings.add(
                "step_not_named", f"{root!r} is only readable by step", node, *place, hint=f"write {root}.<id>"
            )
            return
        step = self.graph.index.get(rest[0])
        if step is None:
            self._unknown(node, place, f"the step {rest[0]!r}", rest[0], self.graph.index)
            return
        if root == "outputs":
            kinds = [ReadKind.OUTPUT]
        elif len(rest) == 1:
            kinds = [ReadKind.OUTPUT] if step == node and after else [ReadKind.OUTPUT, ReadKind.STATUS]
        elif rest[1] in FIELDS:
            kinds = [FIELDS[rest[1]]]
        else:
            self._unknown(node, place, f"{root}.{rest[0]}.{rest[1]}", rest[1], FIELDS)
            return
        self.wishes.extend(Wish(node, place, step, kind, after) for kind in kinds)

    def _inputs(self, node: int, place: tuple[str | int, ...], rest: list[str]) -> None:
        known = {name for name, _ in self.of[node].sources}
        if not self._loops_at:
            for area in self.regions.areas:
                self._loops_at.setdefault(area.entry, set()).add(self.findings.id(area.node))
        if rest and self.graph.index.get(rest[0]) in self.findings.unread:
            return
        if rest and rest[0] not in known | self._loops_at.get(node, set()):
            self.findings.conclude(
                "no_predecessor",
                f"inputs.{rest[0]}: {rest[0]!r} is no predecessor of {self.findings.id(node)!r}",
                node,
                *place,
                hint=did_you_mean(rest[0], known) or f"write steps.{rest[0]}.output",
            )

    def _grant(self, wish: Wish, ancestors: Ancestors) -> None:
        reader, step = wish.reader, wish.step
        if step in self.findings.unread:
            return  # it may come before in a way that could not be read
        if reader == step and wish.after:
            self._check_own(wish)
            return
        forward = self._is_before(step, reader, ancestors)
        if step in self.compensations.undoes or not (forward or self._share_a_loop(reader, step)):
            self.findings.conclude(
                "step_cannot_have_run",
                f"{self.findings.id(step)!r} cannot have run when {self.findings.id(reader)!r} reads it",
                reader,
                *wish.place,
                hint=f"let {self.findings.id(reader)!r} depend on {self.findings.id(step)!r}",
            )
            return
        if not self._is_visible(reader, step):
            self.findings.conclude(
                "step_not_visible",
                f"{self.findings.id(step)!r} runs once per item or activation; {self.findings.id(reader)!r} stands "
                "outside of that",
                reader,
                *wish.place,
                hint="read the aggregate's output",
            )
            return
        self._keep(step, wish.kind)
        self.of[reader].add(Read(wish.kind, step, self._scope(reader, step, previous=not forward)))

    def _is_before(self, step: int, reader: int, ancestors: Ancestors) -> bool:
        """Whether the step may have its output, in the reader's own iterations, when the reader starts."""
        place = self.compensations.place(reader)
        if step == place:
            return place != reader
        return step != self._waits_while(reader) and ancestors.leads(step, place)

    def _check_own(self, wish: Wish) -> None:
        """When a step has run it has its own output in hand, and nothing else of itself."""
        if wish.kind is not ReadKind.OUTPUT:
            self.findings.add(
                "step_cannot_have_run",
                f"{self.findings.id(wish.step)!r} has only its output when its own ways out are decided",
                wish.reader,
                *wish.place,
                hint="write output",
            )

    def _keep(self, step: int, kind: ReadKind) -> None:
        if kind is ReadKind.STEP_INPUT:
            self.kept_inputs.add(step)
        elif kind is ReadKind.STATUS:
            self.kept_statuses.add(step)

    def _share_a_loop(self, one: int, other: int) -> bool:
        shared = set(self.regions.levels[one]) & set(self.regions.levels[other])
        return any(self.regions.areas[a].kind is RegionKind.LOOP for a in shared)

    def _is_visible(self, reader: int, step: int) -> bool:
        missing = set(self.regions.levels[step]) - set(self.regions.levels[reader])
        return all(self.regions.areas[a].kind is RegionKind.LOOP for a in missing)

    def _scope(self, reader: int, step: int, *, previous: bool) -> tuple[int, ...]:
        levels = self.regions.levels[reader]
        scope = [levels.index(a) if a in levels else LAST for a in self.regions.levels[step]]
        if previous:
            shared = [i for i, a in enumerate(self.regions.levels[step]) if a in levels]
            loops = [i for i in shared if self.regions.areas[self.regions.levels[step][i]].kind is RegionKind.LOOP]
            scope[loops[-1]] = PREVIOUS - scope[loops[-1]]
        return tuple(scope)

    def _output(self, output: NodeReads) -> None:
        workflow = self.findings.workflow
        for reference in output_references(workflow, self.findings):
            root, *rest = reference.path
            if root == "input":
                output.add(Read(ReadKind.INPUT))
            elif root in ("steps", "tasks", "outputs") and rest and rest[0] in self.graph.index:
                step = self.graph.index[rest[0]]
                if step in self.compensations.undoes:
                    message = f"{rest[0]!r} never runs in a run that has an output: it compensates"
                    self.findings.add("step_cannot_have_run", message, -1, "output")
                kind = FIELDS.get(rest[1], ReadKind.OUTPUT) if root != "outputs" and len(rest) > 1 else ReadKind.OUTPUT
                self._keep(step, kind)
                output.add(Read(kind, step, tuple(LAST for _ in self.regions.levels[step])))
            elif root in ("steps", "tasks", "outputs"):
                word = rest[0] if rest else ""
                self._unknown(-1, ("output",), f"the step {word!r}", word, self.graph.index)

    def _terminals(self, output: NodeReads) -> list[Terminal]:
        workflow = self.findings.workflow
        if workflow.output is not None:
            return []
        terminals: list[Terminal] = []
        for node in range(len(workflow.nodes)):
            if self.graph.ways_out(node) or node in self.compensations.undoes:
                continue
            scopes = self._terminal_scopes(node)
            reads = tuple(output.add(Read(ReadKind.OUTPUT, node, scope)) for scope in scopes)
            is_list = any(self.regions.areas[a].kind is RegionKind.EACH for a in self.regions.levels[node])
            terminals.append(Terminal(self.findings.id(node), reads, is_list))
        return terminals

    def _terminal_scopes(self, node: int) -> list[tuple[int, ...]]:
        choices: list[list[int]] = []
        for area in self.regions.levels[node]:
            region = self.regions.areas[area]
            if region.kind is RegionKind.EACH:
                choices.append([FIXED - i for i in range(len(self.graph.ins[region.node]))])
            else:
                choices.append([LAST])
        count = prod(len(each) for each in choices)
        if count > ACTIVATIONS_MAX:
            self.findings.conclude(
                "too_many_activations",
                f"{self.findings.id(node)!r} may run {count} times below 'each' joins; at most {ACTIVATIONS_MAX}",
                node,
            )
        return list(islice(product(*choices), ACTIVATIONS_MAX))
