"""Changes: which steps a change of the outside world makes out of date, by its type."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from .diagnostics import Path
from .findings import Findings, quote
from .reading import CHANGE_PATTERN, read_ids, read_pattern, wrong_type
from .workflow import Json

CHANGES_SCHEMA: dict[str, Json] = {
    "description": "By the type of a change of the outside world, the steps that it makes out of date.",
    "type": "object",
    "propertyNames": {"pattern": CHANGE_PATTERN},
    "additionalProperties": {
        "oneOf": [
            {"type": "string", "minLength": 1},
            {"type": "array", "minItems": 1, "items": {"type": "string"}},
        ]
    },
}
"""JSON Schema of what ``read_changes`` reads."""


def read_changes(value: Json, path: Path, findings: Findings) -> dict[str, tuple[str, ...]]:
    """Steps by the type of the change. Whether they exist is for ``check_changes``."""
    if not isinstance(value, dict):
        wrong_type(findings, path, "an object", value)
        return {}
    read: dict[str, tuple[str, ...]] = {}
    for change, steps in cast("dict[str, Json]", value).items():
        read_pattern(change, (*path, change), findings, CHANGE_PATTERN, "bad_id")
        read[change] = read_ids(steps, (*path, change), findings)
        if steps in ([], ""):
            findings.error("unknown_node", f"the change {quote(change)} names no node", (*path, change))
    return read


def check_changes(changes: Mapping[str, Collection[str]], known: Collection[str], findings: Findings) -> None:
    """Report the steps that do not exist."""
    for change, steps in changes.items():
        for step in steps:
            if step and step not in known:
                hint = findings.suggest(step, known)
                findings.error("unknown_node", f"there is no node {quote(step)}", ("changes", change), hint)
