"""The native document -> ``Draft``. Source: ``docs/reference/workflow.schema.json`` says the same as a schema.

Every fault of a document is reported at once. Expressions and templates are carried, not compiled; shapes of the
graph (cycles, regions, joins) are not judged here. What cannot be read is left out of the draft, so that the analysis
can judge the rest of a document that is wrong.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from .budgets import check_currencies, read_budget
from .changes import check_changes, read_changes
from .diagnostics import Path
from .doubts import find_doubts
from .findings import Findings
from .guesses import ROOT_GUESSES
from .json_schema import read_json_schema
from .node_fields import Declared, read_defaults, read_node
from .reading import (
    WORKFLOW_ID_PATTERN,
    Reader,
    is_extension,
    read_choice,
    read_duration,
    read_enum,
    read_expression,
    read_fields,
    read_integer,
    read_list,
    read_object,
    read_pattern,
    read_text,
    wrong_type,
)
from .wiring import wire
from .workflow import Json, OnFailure, Policy, Workflow

SCHEMA_VERSION = 1
PARALLEL_MAX = 1_000_000
RETRY_BUDGET_MAX = 1_000_000
STUCK_ACTIONS = ("alert", "fail")
REQUIRED = ("courante", "id", "nodes")


class Draft(msgspec.Struct, frozen=True):
    """A workflow as far as its document can be read; the whole of it where that has no errors.

    ``workflow.nodes`` have the numbers of the document. ``doubted``: numbers of nodes that mean something else than
    they seem to, or that more may lead to; what is concluded from the ways to them may be wrong.
    """

    workflow: Workflow
    doubted: frozenset[int] = frozenset()


def read_native(value: Json, findings: Findings) -> Draft | None:
    """Read a native document; None where nothing can be made of it, and ``findings`` has received an error."""
    if not isinstance(value, dict):
        wrong_type(findings, (), "an object", value)
        return None
    document = cast("dict[str, Json]", value)
    made = read_fields(document, (), findings, _READERS, REQUIRED, guesses=ROOT_GUESSES)
    metadata = {name: below for name, below in document.items() if is_extension(name)}
    metadata.update(made.get("metadata", {}))
    if document.get("nodes") == []:
        findings.error("no_nodes", "the document has no nodes", ("nodes",), "a workflow has at least one node")
    declared = _nodes(made, findings)
    wired = wire(declared, made.get("edges", []), findings)
    check_changes(made.get("changes", {}), {each.node.id for each in declared}, findings)
    if findings.is_cut or not declared:
        return None
    workflow = Workflow(
        id=made.get("id", ""),
        name=made.get("name", ""),
        description=made.get("description", ""),
        input=made.get("input"),
        output=made.get("output"),
        policy=made.get("policy", Policy()),
        nodes=wired.nodes,
        edges=wired.edges,
        changes=made.get("changes", {}),
        metadata=metadata,
    )
    return Draft(workflow, wired.doubted | find_doubts(findings, wired, made.get("edges", [])))


def _nodes(made: dict[str, Json], findings: Findings) -> list[Declared]:
    written = cast("list[Json]", made.get("nodes", []))
    defaults = made.get("defaults", {})
    return [read_node(each, index, defaults, findings) for index, each in enumerate(written)]


def _version(value: Json, path: Path, findings: Findings) -> int:
    if isinstance(value, bool) or value != SCHEMA_VERSION:
        findings.error("unknown_version", f"this version reads documents of 'courante: {SCHEMA_VERSION}'", path)
    return SCHEMA_VERSION


def _workflow_id(value: Json, path: Path, findings: Findings) -> str:
    return read_pattern(value, path, findings, WORKFLOW_ID_PATTERN, "bad_id")


def _policy(value: Json, path: Path, findings: Findings) -> Policy:
    fields = read_fields(value, path, findings, _POLICY_READERS)
    stuck = fields.get("stuck", {})
    check_currencies(fields.get("budget"), fields.get("workflow_budget"), path, findings)
    return Policy(
        on_failure=fields.get("on_failure", OnFailure.FAIL_FAST),
        timeout_ms=fields.get("timeout"),
        max_parallel=fields.get("max_parallel"),
        retry_budget=fields.get("retry_budget"),
        stuck_ms=stuck.get("after"),
        fails_when_stuck=stuck.get("action") == "fail",
        budget=fields.get("budget"),
        workflow_budget=fields.get("workflow_budget"),
    )


def _on_failure(value: Json, path: Path, findings: Findings) -> OnFailure:
    return read_enum(value, path, findings, OnFailure, OnFailure.FAIL_FAST)


def _timeout(value: Json, path: Path, findings: Findings) -> int:
    return read_duration(value, path, findings, low_ms=1)


def _max_parallel(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=PARALLEL_MAX)


def _retry_budget(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=0, high=RETRY_BUDGET_MAX)


def _stuck(value: Json, path: Path, findings: Findings) -> dict[str, Any]:
    return read_fields(value, path, findings, _STUCK_READERS, ("after",))


def _stuck_action(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, STUCK_ACTIONS, "alert")


_STUCK_READERS = {"after": _timeout, "action": _stuck_action}
_POLICY_READERS = {
    "on_failure": _on_failure,
    "timeout": _timeout,
    "max_parallel": _max_parallel,
    "retry_budget": _retry_budget,
    "stuck": _stuck,
    "budget": read_budget,
    "workflow_budget": read_budget,
}
_READERS: dict[str, Reader] = {
    "courante": _version,
    "id": _workflow_id,
    "name": read_text,
    "description": read_text,
    "input": read_json_schema,
    "output": read_expression,
    "policy": _policy,
    "defaults": read_defaults,
    "nodes": read_list,
    "edges": read_list,
    "changes": read_changes,
    "metadata": read_object,
}
ROOT_FIELDS = tuple(_READERS)
