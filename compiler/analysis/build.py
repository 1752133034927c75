"""Put the IR together: checks first, then numbers."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import NamedTuple

import msgspec

from ..caches import CACHEABLE, uncacheable
from ..diagnostics import Diagnostic, has_errors
from ..ir import COPY_ENTER, COPY_ITEM, COPY_SLOT, Edge, Ir, Node, Read, Region, RegionKind, Terminal
from ..llm_config import PROVIDERS, chat_only_fields, has_unknown_provider, needs_model
from ..workflow import EdgeKind, Join, JoinPolicy, Workflow
from ..workflow import Node as Written
from .bonds import check_bonds, check_scopes
from .compensations import Compensations, find_compensations
from .frontier import Frontiers, find_frontiers
from .gates import Gates, insert_gates
from .graph import Findings, Graph, build_graph, components, sort_graph, spread_doubts
from .map_nodes import MapNodes, check_map
from .reads import NodeReads, Reads
from .regions import Regions, find_regions

NODES_MAX = 100_000
EDGES_MAX = 500_000
ITERATIONS_MAX = 1_000_000

ASKING = frozenset({"llm", "agent"})
"""Node types that call models."""

TRACED = frozenset({"tool"})
"""Node types whose input is kept, for the trace of what was asked."""


def compile_workflow(workflow: Workflow, *, nodes_key: str = "nodes") -> tuple[Ir | None, list[Diagnostic]]:
    """Return the IR, or None and at least one error. Warnings may come with either.

    nodes_key: where the document keeps its nodes (for the paths of diagnostics).
    Pure; linear in nodes and edges (times the nesting of regions).
    """
    findings = Findings(workflow, nodes_key)
    judged = _judge(findings)
    if judged is None or has_errors(findings.found):
        return None, findings.found
    return _ir(workflow, judged), findings.found


def find_faults(workflow: Workflow, doubted: Collection[int]) -> list[Diagnostic]:
    """Return what is wrong with a workflow whose document could not be read as a whole.

    doubted: numbers of nodes, see ``native.Draft``; what follows from the ways to them is not told.
    """
    findings = Findings(workflow, doubted=set(doubted), unread=frozenset(doubted))
    _judge(findings)
    return findings.found


class _Judged(NamedTuple):
    graph: Graph
    compensations: Compensations
    regions: Regions
    reads: Reads
    gates: Gates
    output_reads: list[Read]
    terminals: list[Terminal]


def _judge(findings: Findings) -> _Judged | None:
    """Find everything that is wrong; None where it is too large to be looked at.

    A stage leaves out what it has refused, and doubts the nodes that the next ones would misunderstand for it.
    """
    _check_sizes(findings)
    if findings.found:
        return None
    graph = build_graph(findings.workflow)
    compensations = find_compensations(graph, findings)
    _check_nodes(graph, findings)
    sort_graph(graph, findings)
    is_sound = not findings.doubted and not has_errors(findings.found)
    spread_doubts(graph, findings)
    check_bonds(graph, findings, compensations)
    if is_sound and components(graph, compensations.undoes.items()) > 1:
        findings.add("disconnected", "parts of the graph are not connected", -1, findings.nodes_key, warning=True)
    regions = find_regions(graph, findings)
    spread_doubts(graph, findings)
    check_scopes(graph, regions, findings)
    for compensation, undone in compensations.undoes.items():
        regions.levels[compensation] = regions.levels[undone]
        graph.phase[compensation] = graph.phase[undone]
    reads = Reads(graph, regions, findings, compensations, [NodeReads() for _ in findings.workflow.nodes])
    output_reads, terminals = reads.collect()
    gates = insert_gates(graph, regions, findings)
    for _ in gates.ids:
        reads.of.append(NodeReads())
    return _Judged(graph, compensations, regions, reads, gates, output_reads, terminals)


def _ir(workflow: Workflow, judged: _Judged) -> Ir:
    graph, regions = judged.graph, judged.regions
    parts = _Parts(workflow, graph, regions, judged.gates, judged.reads, judged.compensations)
    return Ir(
        workflow=workflow.id,
        name=workflow.name,
        on_failure=workflow.policy.on_failure,
        timeout_ms=workflow.policy.timeout_ms,
        max_parallel=workflow.policy.max_parallel,
        input_schema=workflow.input,
        output=workflow.output,
        output_reads=tuple(judged.output_reads),
        terminals=tuple(judged.terminals),
        entries=parts.entries(),
        nodes=(*(parts.node(n) for n in range(len(graph.ins))), *parts.maps.nodes),
        edges=tuple(parts.edge(e) for e in range(len(graph.links))),
        regions=tuple(parts.region(a) for a in range(len(regions.areas))),
        frontier=tuple(parts.frontiers.entries),
        phases=max(graph.phase, default=-1) + 1,
        retry_budget=workflow.policy.retry_budget,
        stuck_ms=workflow.policy.stuck_ms,
        fails_when_stuck=workflow.policy.fails_when_stuck,
        budget=workflow.policy.budget or msgspec.UNSET,
        workflow_budget=workflow.policy.workflow_budget or msgspec.UNSET,
        caches={node.id: node.cache for node in workflow.nodes if node.cache is not None} or msgspec.UNSET,
        changes=workflow.changes or msgspec.UNSET,
    )


def _check_sizes(findings: Findings) -> None:
    workflow = findings.workflow
    if not workflow.nodes:
        findings.add("no_nodes", "a workflow has at least one node", -1, findings.nodes_key)
    if len(workflow.nodes) > NODES_MAX:
        findings.add("too_many_nodes", f"{len(workflow.nodes)} nodes; at most {NODES_MAX}", -1, findings.nodes_key)
    if len(workflow.edges) > EDGES_MAX:
        findings.add("too_many_edges", f"{len(workflow.edges)} edges; at most {EDGES_MAX}", -1, "edges")


def _check_nodes(graph: Graph, findings: Findings) -> None:
    nodes = findings.workflow.nodes
    for number, node in enumerate(nodes):
        arity = len(graph.ins[number])
        if node.type in ASKING:
            _check_model(findings, number)
        refused = uncacheable(node)
        if refused:
            findings.add(
                "cache_impossible",
                refused,
                number,
                "cache",
                hint=f"leave it out; of these it may be: {', '.join(sorted(CACHEABLE))}",
            )
        if node.join is not None and node.join.policy is JoinPolicy.AT_LEAST and not 1 <= node.join.n <= max(arity, 1):
            findings.conclude(
                "at_least_out_of_range",
                f"{node.id!r} waits for at least {node.join.n} of its {arity} incoming edges",
                number,
                "join",
                hint=f"1 to {max(arity, 1)}",
            )
        check_map(graph, findings, number)
        if node.loop is not None and not 1 <= node.loop.max_iterations <= ITERATIONS_MAX:
            findings.add("max_iterations_out_of_range", f"1 to {ITERATIONS_MAX}", number, "loop", "max_iterations")
        _warn_join(graph, findings, number)


def _check_model(findings: Findings, number: int) -> None:
    node = findings.workflow.nodes[number]
    config = node.config
    for place in chat_only_fields(config, has_tools=node.type == "agent" and bool(config.get("tools"))):
        message = f"{config['model']!r:.100} is asked by OpenAI's responses, which do not know {place[-1]!r}"
        hint = "leave it out, or take a model of chat completions"
        findings.conclude("field_impossible", message, number, "config", *place, hint=hint)
    if has_unknown_provider(config):
        message, hint = f"Unknown provider: {config['provider']!r:.100}", f"one of: {', '.join(PROVIDERS)}"
        findings.conclude("provider_unknown", message, number, "config", "provider", hint=hint)
    elif needs_model(config):
        hint = "the name of a model, as its provider writes it"
        findings.conclude("model_missing", "the field 'model' is missing in config", number, "config", hint=hint)


def _warn_join(graph: Graph, findings: Findings, number: int) -> None:
    """Left-out policy where one in-edge can die by a choice and another cannot (token-rules, section 2)."""
    nodes = findings.workflow.nodes
    node = nodes[number]
    if node.join is not None or node.while_waiting or len(graph.ins[number]) < 2 or node.type == "aggregate":
        return
    if number in findings.doubted:
        return
    links = [graph.links[e] for e in graph.ins[number]]
    may_die = [
        link.when is not None
        or nodes[link.source].when is not None
        or (nodes[link.source].routing is not None and _is_chosen(findings, link.source, number))
        for link in links
        if link.kind is EdgeKind.NORMAL
    ]
    if any(may_die) and not all(may_die):
        findings.add(
            "join_ambiguous",
            f"{nodes[number].id!r} waits for paths of which some may not be taken",
            number,
            hint="write 'join: all' (run with those that come) or 'join: every' (run only if all come)",
            warning=True,
        )


def _is_chosen(findings: Findings, source: int, target: int) -> bool:
    """Whether a rule of the source names the target; a dependent that no rule names is always taken."""
    routing = findings.workflow.nodes[source].routing
    name = findings.id(target)
    return routing is not None and (name in routing.default or any(name in rule.next for rule in routing.rules))


class _Parts:
    """The numbered pieces of one IR."""

    def __init__(
        self,
        workflow: Workflow,
        graph: Graph,
        regions: Regions,
        gates: Gates,
        reads: Reads,
        compensations: Compensations,
    ) -> None:
        self._workflow = workflow
        self._graph = graph
        self._regions = regions
        self._gates = gates
        self._reads = reads
        self._compensations = compensations
        count = len(graph.ins)
        self._is_each = [self._join(n).policy is JoinPolicy.EACH and len(graph.ins[n]) > 1 for n in range(count)]
        self._is_join = [
            n >= len(workflow.nodes) or self._type(n) == "aggregate" or len(graph.ins[n]) > 1 for n in range(count)
        ]
        self._is_join = [join and not each for join, each in zip(self._is_join, self._is_each, strict=True)]
        self._kept_last = reads.areas_read_last()
        is_map = [self._type(n) == "map" for n in range(count)]
        self.frontiers: Frontiers = find_frontiers(
            graph, regions, gates, self._kept_last, self._is_join, self._is_each, is_map
        )
        self._slot = {e: slot for ins in graph.ins for slot, e in enumerate(ins)}
        self.maps = MapNodes(workflow, regions, graph)

    def _type(self, node: int) -> str:
        return self._workflow.nodes[node].type if node < len(self._workflow.nodes) else "gate"

    def _join(self, node: int) -> Join:
        if node < len(self._workflow.nodes):
            written = self._workflow.nodes[node]
            return Join(policy=JoinPolicy.EVERY) if written.while_waiting is not None else written.join or Join()
        return Join()

    def entries(self) -> tuple[int, ...]:
        undoes = self._compensations.undoes
        return tuple(n for n, ins in enumerate(self._graph.ins) if not ins and n not in undoes)

    def region(self, number: int) -> Region:
        area = self._regions.areas[number]
        gates = tuple(self._gates.told_by.get(number, ()))
        region = Region(area.kind, area.node, area.entry, area.depth, gates, area.aggregate, number in self._kept_last)
        return region if area.kind is not RegionKind.MAP else self.maps.complete(number, region)

    def edge(self, number: int) -> Edge:
        link = self._graph.links[number]
        source, target = self._regions.levels[link.source], self._regions.levels[link.target]
        dead_from, dead_to = self.frontiers.edge[number]
        return Edge(
            link.source,
            link.target,
            link.kind,
            self._slot[number],
            link.origin,
            link.when,
            tuple(self._copy(area, source, link.target) for area in target),
            dead_from,
            dead_to,
        )

    def _copy(self, area: int, source: tuple[int, ...], target: int) -> int:
        if area in source:
            return source.index(area)
        region = self._regions.areas[area]
        if region.kind is RegionKind.EACH and region.node == target:
            return COPY_SLOT
        return COPY_ITEM if region.kind is RegionKind.MAP else COPY_ENTER

    def node(self, number: int) -> Node:
        if number >= len(self._workflow.nodes):
            return self._gate(number)
        node = self._workflow.nodes[number]
        join = self._join(number)
        outs = self._graph.ways_out(number)
        index = self._graph.index
        reads = self._reads.of[number]
        dead_from, dead_to = self.frontiers.node[number]
        return Node(
            id=node.id,
            type=node.type,
            config=node.config,
            config_hash=_config_hash(node),
            stream=f"{node.queue}:{node.priority}",
            levels=self._regions.levels[number],
            ins=tuple(self._graph.ins[number]),
            outs=tuple(outs),
            join=join.policy if self._is_join[number] else None,
            join_need=1 if join.policy is JoinPolicy.ANY else join.n,
            is_each=self._is_each[number],
            is_terminal=not outs and number not in self._compensations.undoes,
            phase=self._graph.phase[number],
            input=node.input,
            when=node.when,
            routing=node.routing,
            loop=node.loop,
            loop_region=self._regions.loop_of.get(number, -1),
            retry=node.retry,
            timeout_ms=node.timeout_ms,
            reads=tuple(reads.numbers),
            sources=tuple(reads.sources),
            keeps_input=number in self._reads.kept_inputs or node.type in TRACED,
            keeps_status=number in self._reads.kept_statuses,
            dead_from=dead_from,
            dead_to=dead_to,
            has_error_edge=any(self._graph.links[e].kind is EdgeKind.ERROR for e in outs),
            name=node.name,
            queue_timeout_ms=node.queue_timeout_ms,
            heartbeat_timeout_ms=node.heartbeat_timeout_ms,
            approval=node.approval,
            signal=node.signal,
            mutex=node.mutex or "",
            compensate=self._compensations.of.get(number, -1),
            compensates=self._compensations.undoes.get(number, -1),
            waits_while=-1 if node.while_waiting is None else index[node.while_waiting],
            cancels=tuple(index[name] for name in node.cancels),
            milestones=tuple(self._graph.milestones.get(number, ())),
            map_region=self.maps.region_of.get(number, -1),
            concurrency=node.concurrency,
            rate_limit=node.rate_limit,
        )

    def _gate(self, number: int) -> Node:
        dead_from, dead_to = self.frontiers.node[number]
        return Node(
            id=self._gates.ids[number - len(self._workflow.nodes)],
            type="gate",
            config={},
            config_hash="",
            stream="system:normal",
            levels=self._regions.levels[number],
            ins=tuple(self._graph.ins[number]),
            outs=tuple(self._graph.outs[number]),
            join=JoinPolicy.ALL,
            is_gate=True,
            phase=self._graph.phase[number],
            dead_from=dead_from,
            dead_to=dead_to,
        )


def _config_hash(node: Written) -> str:
    """Address of what a node does: BLAKE2b of its type and config in canonical JSON, 8 bytes as hex."""
    parts: list[object] = [node.type, node.config]
    parts += [part for part in (node.signal, node.approval if node.type == "approval" else None) if part is not None]
    content = msgspec.json.encode(parts, order="deterministic")
    return hashlib.blake2b(content, digest_size=8).hexdigest()


__all__ = ["compile_workflow", "find_faults"]
