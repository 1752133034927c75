"""Workflows as they travel, and made of what the stores give."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ...compiler.ir import Ir
from ...compiler.workflow import Workflow
from ...sdk.moments import iso_text
from ...sdk.stores.workflows import WorkflowSummary, WorkflowVersion
from ...sdk.submissions.catalog import Registered
from .documents import Finding, finding_of
from .moments import Moment


class WorkflowLine(msgspec.Struct, frozen=True, kw_only=True):
    """``version``: the latest, that ``nodes`` and ``edges`` are of. ``versions``: how many there are."""

    id: str
    name: str
    version: int
    versions: int
    nodes: int
    edges: int
    created_at: Moment
    updated_at: Moment


class WorkflowPage(msgspec.Struct, frozen=True, kw_only=True):
    """``next``: the ``after`` of the next page; null on the last one."""

    workflows: list[WorkflowLine]
    next: str | None


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """``ir``: the hash of what the compiler has made of it."""

    version: int
    ir: str
    created_at: Moment


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """``compensate``: the one that undoes it, null where none does."""

    id: str
    type: str
    name: str
    compensate: str | None


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: normal, error, exhausted, milestone, or loop, which leads back. ``when``: an expression, null where it
    is always taken.
    """

    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    kind: str
    when: str | None


class WorkflowShown(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a workflow. ``changes``: by kind of change, the steps that it reaches.

    ``source``: its document as it was handed in, or normalized, where code built it. ``input_schema``: JSON Schema of a
    run's input, null where it takes any.
    """

    id: str
    name: str
    version: int
    ir: str
    versions: list[Version]
    nodes: list[Node]
    edges: list[Edge]
    changes: dict[str, list[str]]
    source: str
    input_schema: dict[str, Any] | None


class WorkflowRegistered(msgspec.Struct, frozen=True, kw_only=True):
    """``version``: the one that the document is; an old one where its content is known, and then it is not new."""

    workflow: str
    version: int
    ir: str
    is_new: bool
    warnings: list[Finding]


class Drawing(msgspec.Struct, frozen=True, kw_only=True):
    """``text``: in the language of ``format``."""

    format: str
    text: str


def workflow_page(found: Sequence[WorkflowSummary], limit: int) -> WorkflowPage:
    """limit: how many were asked for."""
    lines = [
        WorkflowLine(
            id=one.id,
            name=one.name,
            version=one.latest,
            versions=one.versions,
            nodes=one.nodes,
            edges=one.edges,
            created_at=iso_text(one.created_at),
            updated_at=iso_text(one.updated_at),
        )
        for one in found
    ]
    return WorkflowPage(workflows=lines, next=found[-1].id if found and len(found) == limit else None)


def workflow_shown(chosen: WorkflowVersion, versions: Iterable[WorkflowVersion], workflow: Workflow) -> WorkflowShown:
    """workflow: what the document of the chosen version says."""
    return WorkflowShown(
        id=chosen.workflow,
        name=chosen.name,
        version=chosen.version,
        ir=chosen.ir_hash,
        versions=[Version(version=v.version, ir=v.ir_hash, created_at=iso_text(v.created_at)) for v in versions],
        nodes=[Node(id=node.id, type=node.type, name=node.name, compensate=node.compensate) for node in workflow.nodes],
        edges=[
            *(edge_of(edge.source, edge.target, str(edge.kind), edge.when) for edge in workflow.edges),
            *(
                edge_of(node.id, node.loop.back_to, "loop", node.loop.condition)
                for node in workflow.nodes
                if node.loop is not None
            ),
        ],
        changes={change: list(steps) for change, steps in workflow.changes.items()},
        source=chosen.source or msgspec.json.format(chosen.document, indent=2).decode(),
        input_schema=workflow.input,
    )


def workflow_registered(found: Registered) -> WorkflowRegistered:
    return WorkflowRegistered(
        workflow=found.workflow,
        version=found.version,
        ir=found.ir_hash,
        is_new=found.is_new,
        warnings=[finding_of(each) for each in found.warnings],
    )


def edge_of(source: str, target: str, kind: str, when: str | None) -> Edge:
    return Edge(source=source, target=target, kind=kind, when=when)


def graph_of(ir: Ir) -> tuple[list[Node], list[Edge]]:
    """Return what a run goes by: its steps, without the engine's own nodes, and the ways between them."""
    nodes = [
        Node(
            id=node.id,
            type=str(node.type),
            name=node.name,
            compensate=ir.nodes[node.compensate].id if node.compensate >= 0 else None,
        )
        for node in ir.nodes
        if not node.is_gate
    ]
    edges = [
        edge_of(ir.nodes[edge.origin].id, ir.nodes[edge.target].id, str(edge.kind), edge.when)
        for edge in ir.edges
        if not ir.nodes[edge.target].is_gate
    ]
    edges += [
        edge_of(node.id, ir.nodes[ir.regions[node.loop_region].entry].id, "loop", node.loop.condition)
        for node in ir.nodes
        if node.loop is not None
    ]
    return nodes, edges
