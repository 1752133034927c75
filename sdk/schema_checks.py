"""Values held against the JSON Schemas of documents: a run's input, the form of an approval."""

from __future__ import annotations

from typing import Any, NoReturn

import jsonschema_rs

from ..compiler.json_schema import LINEAR

PROBLEMS_MAX = 20
PROBLEM_CHARS_MAX = 500
CACHED_MAX = 1_000
"""Validators that are kept; the oldest go first."""


class SchemaChecks:
    """Keeps validators by the key that its caller gives to each schema."""

    def __init__(self) -> None:
        self._validators: dict[object, Any] = {}

    def problems(self, key: object, schema: dict[str, Any], value: object, root: str) -> list[str]:
        """Return a line per violation with its place below ``root``, at most 20; none where the value fits."""
        validator = self._validators.get(key)
        if validator is None:
            validator = self._validators[key] = _validator(schema)
            while len(self._validators) > CACHED_MAX:
                del self._validators[next(iter(self._validators))]
        if validator.is_valid(value):
            return []
        problems: list[str] = []
        for problem in validator.iter_errors(value):
            place = ".".join(str(part) for part in problem.instance_path)
            problems.append(f"{root}{f'.{place}' if place else ''}: {problem.message[:PROBLEM_CHARS_MAX]}")
            if len(problems) >= PROBLEMS_MAX:
                break
        return problems


def _validator(schema: dict[str, Any]) -> Any:
    """Patterns that look ahead are in schemas of others' tools alone: documents with them are not registered."""
    try:
        return jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=LINEAR)
    except jsonschema_rs.ValidationError:
        return jsonschema_rs.validator_for(schema, retriever=_refuse)


def _refuse(uri: str) -> NoReturn:
    """A schema stands on its own: nothing is fetched (compiler/json_schema.py)."""
    raise ValueError(f"{uri} is outside of the document")
