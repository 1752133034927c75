"""What is found in a document, as it travels."""

from __future__ import annotations

from typing import Any

import msgspec

from ...compiler.diagnostics import Diagnostic, Severity
from ..reading.documents import Compiled


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong in a document. ``path``: keys and indexes. ``line``, ``column``: from 1, 0 where there is none."""

    code: str
    message: str
    severity: Severity
    path: list[str | int]
    hint: str
    line: int
    column: int


class Validated(msgspec.Struct, frozen=True, kw_only=True):
    """``ok``: there is no error; there may be warnings. ``phases``: steps that wait for each other, one by one."""

    ok: bool
    diagnostics: list[Finding]
    nodes: int
    edges: int
    phases: int


def validated(compiled: Compiled) -> Validated:
    workflow = compiled.workflow
    return Validated(
        ok=compiled.is_valid,
        diagnostics=[finding_of(found) for found in compiled.diagnostics],
        nodes=0 if workflow is None else len(workflow.nodes),
        edges=0 if workflow is None else len(workflow.edges),
        phases=compiled.phases,
    )


def finding_of(found: Diagnostic) -> Finding:
    fields: dict[str, Any] = {**msgspec.structs.asdict(found), "path": list(found.path)}
    return Finding(**fields)
