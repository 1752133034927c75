"""Map nodes: what a map's region says in the IR, and the nodes of the map's own tokens, which no edge leads to."""

from __future__ import annotations

import msgspec

from ..ir import Node, Region, RegionKind
from ..maps import WINDOW_DEFAULT
from ..workflow import EdgeKind, Workflow
from .graph import Findings, Graph
from .regions import Regions

CHUNK_MAX = 100
"""Results of items that are kept as one value, where the body is small."""
FIELDS_MAX = 1_000
"""About how many values of items one transition may take away."""
OWN_NODES = ("fill", "results", "sweep")


def check_map(graph: Graph, findings: Findings, number: int) -> None:
    """Refuse what maps and aggregates cannot have."""
    node = findings.workflow.nodes[number]
    if node.type == "map":
        if node.routing is not None or node.loop is not None:
            findings.add("map_routes", f"the map {node.id!r} can have neither rules nor a loop", number)
        for edge in graph.outs[number]:
            link = graph.links[edge]
            if link.kind is EdgeKind.NORMAL and link.when is not None:
                findings.add(
                    "map_edge_when",
                    f"the edge {node.id!r} -> {findings.id(link.target)!r} enters the body of a map and can have no "
                    "'when'",
                    number,
                    hint=f"write 'when' at {findings.id(link.target)!r}: there it is asked for each item",
                )
    elif node.type == "aggregate":
        if node.join is not None:
            findings.add("aggregate_joins", f"the aggregate {node.id!r} has its own policy, not a join", number, "join")
        if node.input is not None:
            findings.add(
                "aggregate_input",
                f"the aggregate {node.id!r} reads what its map or its predecessors came to, and no 'input'",
                number,
                "input",
                hint="shape them with merge, group or reduce",
            )


class MapNodes:
    """``nodes``: of the tokens of all maps, numbered after the workflow's own nodes and gates.

    ``region_of``: of maps and aggregates.
    """

    def __init__(self, workflow: Workflow, regions: Regions, graph: Graph) -> None:
        self._workflow = workflow
        self._regions = regions
        self.nodes: list[Node] = []
        self.region_of: dict[int, int] = {}
        self._first: dict[int, int] = {}
        for number, area in enumerate(regions.areas):
            if area.kind is not RegionKind.MAP:
                continue
            self.region_of[area.node] = self.region_of[area.aggregate] = number
            self._first[number] = len(graph.ins) + len(self.nodes)
            self.nodes += (self._own_node(name, area.node, number, graph.phase[area.node]) for name in OWN_NODES)

    def _own_node(self, name: str, node: int, region: int, phase: int) -> Node:
        return Node(
            id=f"{name}:{self._workflow.nodes[node].id}",
            type=name,
            config={},
            config_hash="",
            stream="system:normal",
            levels=self._regions.levels[node],
            ins=(),
            outs=(),
            is_gate=True,
            phase=phase,
            map_region=region,
        )

    def complete(self, number: int, region: Region) -> Region:
        """Return the region with all that is a map's."""
        config = self._workflow.nodes[region.node].config
        policy = self._workflow.nodes[region.aggregate].config.get("policy")
        inside = (*self._regions.levels[region.node], number)
        plain = sum(1 for levels in self._regions.levels if levels == inside)
        cursor = self._first[number]
        return msgspec.structs.replace(
            region,
            cursor=cursor,
            collector=cursor + 1,
            sweeper=cursor + 2,
            window=config.get("max_concurrency", WINDOW_DEFAULT),
            batch=config.get("batch_size", 0),
            chunk=max(1, min(CHUNK_MAX, FIELDS_MAX // (2 * plain + 1))),
            is_fast=policy == "fail_fast",
        )
