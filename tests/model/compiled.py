"""Drawn documents through the real compiler, and how its refusals map to the reasons of the naive reading."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING

import msgspec

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import Severity
from courante.compiler.ir import encode_ir, ir_hash
from courante.compiler.normalize import normalize
from courante.sdk.marking.plan import Plan
from model.reading.regions import Reason

if TYPE_CHECKING:
    from courante.compiler.ir import Ir
    from model.reading.graph import Document

REASONS = {
    "cycle": Reason.CYCLE,
    "no_entry": Reason.CYCLE,
    "back_to_no_ancestor": Reason.BACK_TO,
    "at_least_out_of_range": Reason.AT_LEAST,
    "regions_overlap": Reason.OVERLAP,
    "loop_side_entry": Reason.INTO_LOOP,
    "each_region_entered": Reason.INTO_EACH,
    "each_in_region": Reason.EACH_INSIDE,
}
"""Codes of diagnostics, and what the reading calls the same thing."""


def compile_document(document: Document) -> tuple[Ir | None, set[str]]:
    """Return the IR, or None; and the codes of the errors."""
    workflow, diagnostics = normalize(dict(document))
    ir = None
    if workflow is not None:
        ir, more = compile_workflow(workflow)
        diagnostics = [*diagnostics, *more]
    return ir, {found.code for found in diagnostics if found.severity is Severity.ERROR}


def plan_of(document: Document) -> Plan:
    """The plan of an accepted document, by way of the IR's bytes."""
    ir, codes = compile_document(document)
    assert ir is not None, f"refused: {codes}"
    content = encode_ir(ir)
    return Plan.load(ir_hash(content), content)


@dataclass(frozen=True, kw_only=True)
class Parking:
    """Which steps wait for a timer before they run: a share of all places, drawn from the seed."""

    seed: int
    share: float = 0.0

    def parks(self, node: str, scope: str) -> bool:
        drawn = int.from_bytes(blake2b(f"{self.seed}|{node}|{scope}|park".encode(), digest_size=6).digest()) / 2**48
        return drawn < self.share


def with_delays(document: Document, seed: int) -> Document:
    """The document with a delay on every second loop, so that tokens come into being parked."""
    nodes = msgspec.convert(document["nodes"], list[dict[str, object]])
    return {**document, "nodes": [_delayed(node) if at % 2 == 0 else node for at, node in enumerate(nodes, start=seed)]}


def _delayed(node: dict[str, object]) -> dict[str, object]:
    if "loop" not in node:
        return node
    loop = msgspec.convert(node["loop"], dict[str, object])
    return {**node, "loop": {**loop, "delay": "1h"}}
