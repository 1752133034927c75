"""The IR: what the compiler makes of one workflow version. Pure data, deterministic, addressed by its content hash.

Nodes, edges and regions are numbered; everything a worker or the fold needs later stands here precomputed, so that
the cost of a step depends on the node's own edges and on nothing else. The IR is linear in the document.

Scopes. A node's ``levels`` say which regions (loops, maps, ``each`` joins) it stands in, outermost first; a token's
scope gives one index per level (loop: iteration from 1; map: item from 0; each: number of the in-edge). The order is
static, so a scope is just the indexes: ``ScopeKey`` is ``""`` outside of all regions, else ``"1.3"``.
"""

from __future__ import annotations

import hashlib
from enum import IntEnum
from typing import NewType

import msgspec

from .workflow import (
    Approval,
    Budget,
    Cache,
    EdgeKind,
    JoinPolicy,
    Json,
    Loop,
    OnFailure,
    Pace,
    Retry,
    Routing,
    Share,
    Signal,
)

IR_VERSION = 3
"""Grows when the meaning of a field changes. A worker gives back tokens of an IR version it does not know."""
READABLE = frozenset({2, 3})
"""2 is the same without maps."""

IrHash = NewType("IrHash", str)

COPY_ENTER = -1
"""In ``Edge.scope``: the target enters this loop, at iteration 1."""
COPY_SLOT = -2
"""In ``Edge.scope``: the target is an ``each`` join, activated by this edge."""
COPY_ITEM = -3
"""In ``Edge.scope``: the target is in the body of the map that the edge leaves; the index is the item."""
LAST = -4
"""In ``Read.scope``: the last iteration of this loop, looked up when the value is read."""
PREVIOUS = -1000
"""In ``Read.scope``: ``PREVIOUS - k`` is level k of the reader, minus one (the iteration before)."""
FIXED = -2000
"""In ``Read.scope``: ``FIXED - i`` is the index i itself (an activation of an ``each`` join)."""
LOOP_ENDS = -1_000_000_000
"""In ``Ir.frontier``: ``LOOP_ENDS - region``."""


class RegionKind(IntEnum):
    LOOP = 0
    MAP = 1
    EACH = 2


class Region(msgspec.Struct, frozen=True, array_like=True):
    """``node``: the loop node, the map, or the ``each`` join. ``entry``: ``back_to``, or the same node.

    ``depth``: its place among the levels of the nodes inside. ``gates``: told when the loop goes back or ends.
    ``keeps_last``: its last iteration is read from outside.
    Of a map, else -1: ``aggregate``, and the nodes of its own tokens, which no edge leads to: ``cursor`` emits its
    first items, ``collector`` gathers results, ``sweeper`` clears up after a failure. ``window``: items at work at a
    time. ``batch``: how many values an item has, 0: it is one. ``chunk``: results that are kept as one. ``is_fast``:
    closed by its first failed item.
    """

    kind: RegionKind
    node: int
    entry: int
    depth: int
    gates: tuple[int, ...] = ()
    aggregate: int = -1
    keeps_last: bool = False
    cursor: int = -1
    collector: int = -1
    sweeper: int = -1
    window: int = 0
    batch: int = 0
    chunk: int = 0
    is_fast: bool = False


class Edge(msgspec.Struct, frozen=True, array_like=True):
    """``slot``: its number among the in-edges of its target. ``origin``: the declared source (a gate stands between).

    ``scope``: per level of the target, the level of the source to copy, or COPY_*.
    ``dead_from:dead_to``: its slice of ``Ir.frontier``.
    """

    source: int
    target: int
    kind: EdgeKind
    slot: int
    origin: int
    when: str | None = None
    scope: tuple[int, ...] = ()
    dead_from: int = 0
    dead_to: int = 0


class ReadKind(IntEnum):
    INPUT = 0
    OUTPUT = 1
    STEP_INPUT = 2
    STATUS = 3
    ERROR = 4
    TOKEN = 5
    ITEM = 6
    MAP = 7


class Read(msgspec.Struct, frozen=True, array_like=True):
    """One context value that a node needs: of which node, and per level of that node where its index comes from.

    TOKEN: the record of the node's own token, there as long as it has not settled. ITEM: of the items of a map, the
    reader's own. MAP: the record of a map around the reader that a failed item closes.
    """

    kind: ReadKind
    node: int = -1
    scope: tuple[int, ...] = ()


class Node(msgspec.Struct, frozen=True, array_like=True):
    """One vertex. ``sources``: declared predecessors in order, with the Read of each (-> ``reads``).

    ``join``: None unless the node has a join record. ``each``: activated once per in-edge.
    ``loop_region``: the region this node decides, or -1. ``dead_from:dead_to``: its slice of ``Ir.frontier``.
    ``retry``: None for gates only. ``outs``: the edges that settling decides; ``milestones``: those that parking does.
    ``mutex``: empty, or the name that no two nodes of the run hold at once.
    Numbers of nodes, -1 for none: ``compensate`` undoes this one, this one undoes ``compensates``, and runs only while
    ``waits_while`` waits. Those in ``cancels`` are withdrawn when it succeeds. ``map_region``: of a map, its
    aggregate and the nodes of its own tokens.
    """

    id: str
    type: str
    config: dict[str, Json]
    config_hash: str
    stream: str
    levels: tuple[int, ...]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    join: JoinPolicy | None = None
    join_need: int = 0
    is_gate: bool = False
    is_each: bool = False
    is_terminal: bool = False
    phase: int = 0
    input: str | dict[str, str] | None = None
    when: str | None = None
    routing: Routing | None = None
    loop: Loop | None = None
    loop_region: int = -1
    retry: Retry | None = None
    timeout_ms: int | None = None
    reads: tuple[Read, ...] = ()
    sources: tuple[tuple[str, int], ...] = ()
    keeps_input: bool = False
    keeps_status: bool = False
    dead_from: int = 0
    dead_to: int = 0
    has_error_edge: bool = False
    name: str = ""
    queue_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    approval: Approval | None = None
    signal: Signal | None = None
    mutex: str = ""
    compensate: int = -1
    compensates: int = -1
    waits_while: int = -1
    cancels: tuple[int, ...] = ()
    milestones: tuple[int, ...] = ()
    map_region: int = -1
    concurrency: Share | None = None
    rate_limit: Pace | None = None

    @property
    def is_map(self) -> bool:
        return self.type == "map"

    @property
    def is_aggregate(self) -> bool:
        """Of a map; an ``aggregate`` of none is an ordinary join."""
        return self.type == "aggregate" and self.map_region >= 0


def signals_of(node: Node) -> tuple[str, ...]:
    """Return the names of the signals that a node may wait for."""
    more = node.config.get("more") if node.is_map else None
    return (more["signal"],) if more else () if node.signal is None else node.signal.names


class Terminal(msgspec.Struct, frozen=True, array_like=True):
    """A node whose output is part of the run's. ``reads``: into ``Ir.output_reads``; several below ``each`` joins."""

    id: str
    reads: tuple[int, ...]
    is_list: bool = False


class Ir(msgspec.Struct, frozen=True, kw_only=True):
    """One compiled workflow version. ``frontier``: an edge number (arrival at its join), ``-1 - gate`` (a tell),
    or ``LOOP_ENDS - region``. ``retry_budget``, ``stuck_ms``, ``fails_when_stuck``, ``budget``: see
    ``workflow.Policy``; ``changes``: see ``Workflow``. ``caches``: by the ids of their nodes. What is not set of these
    leaves no trace in the bytes.
    """

    ir_version: int = IR_VERSION
    workflow: str
    name: str = ""
    on_failure: OnFailure
    timeout_ms: int | None = None
    max_parallel: int | None = None
    input_schema: dict[str, Json] | None = None
    output: str | None = None
    output_reads: tuple[Read, ...] = ()
    terminals: tuple[Terminal, ...] = ()
    entries: tuple[int, ...]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    regions: tuple[Region, ...]
    frontier: tuple[int, ...]
    phases: int = 0
    retry_budget: int | None = None
    stuck_ms: int | None = None
    fails_when_stuck: bool = False
    budget: Budget | msgspec.UnsetType = msgspec.UNSET
    workflow_budget: Budget | msgspec.UnsetType = msgspec.UNSET
    caches: dict[str, Cache] | msgspec.UnsetType = msgspec.UNSET
    changes: dict[str, tuple[str, ...]] | msgspec.UnsetType = msgspec.UNSET


def budget_of(ir: Ir) -> Budget | None:
    """What the calls of models of a run may take; None: no limit."""
    return None if ir.budget is msgspec.UNSET else ir.budget


def workflow_budget_of(ir: Ir) -> Budget | None:
    """What those of all runs of the workflow may take together; None: no limit."""
    return None if ir.workflow_budget is msgspec.UNSET else ir.workflow_budget


def caches_of(ir: Ir) -> dict[str, Cache]:
    """The caches of steps by their ids."""
    return {} if ir.caches is msgspec.UNSET else ir.caches


def changes_of(ir: Ir) -> dict[str, tuple[str, ...]]:
    """Which steps each change of the outside world makes out of date, by its type."""
    return {} if ir.changes is msgspec.UNSET else ir.changes


def currency_of(ir: Ir) -> str:
    """The currency of its budgets of money, or nothing."""
    return next((each.currency for each in (budget_of(ir), workflow_budget_of(ir)) if each and each.currency), "")


_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(Ir)


def encode_ir(ir: Ir) -> bytes:
    """Return the canonical bytes: the same document gives the same bytes on every machine."""
    return _encoder.encode(ir)


def decode_ir(content: bytes) -> Ir:
    """Raises msgspec.ValidationError where the bytes are no IR of this version."""
    return _decoder.decode(content)


def ir_hash(content: bytes) -> IrHash:
    """Return the address of an IR: BLAKE2b of its canonical bytes, 16 bytes as hex."""
    return IrHash(hashlib.blake2b(content, digest_size=16).hexdigest())
