"""JSON Schemas in a document (a run's input, the form of an approval): checked when it is read, so that no run finds
one broken.

A schema stands on its own: a ``$ref`` may only lead to a place inside it. Nothing is fetched.
"""

from __future__ import annotations

from typing import NoReturn

import jsonschema_rs

from .diagnostics import Path
from .findings import Findings
from .reading import read_object
from .workflow import Json

LINEAR = jsonschema_rs.RegexOptions()
"""Patterns cost time that grows with the text, whatever they are: what is held against them comes from anybody."""
_HINTS = {
    "outside of the document": "put the other schema under $defs and refer to it as '#/$defs/name'",
    'is not a "regex"': "patterns look neither ahead nor behind, and refer to no group: that may take time without end",
}


def read_json_schema(value: Json, path: Path, findings: Findings) -> dict[str, Json]:
    """The schema. What makes it no JSON Schema is reported at its place."""
    schema = read_object(value, path, findings)
    try:
        jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=LINEAR)
    except jsonschema_rs.ValidationError as error:
        message = error.message.splitlines()[0][:200]
        hint = next((hint for part, hint in _HINTS.items() if part in message), "")
        findings.error("bad_schema", f"no JSON Schema: {message}", (*path, *error.instance_path), hint)
    return schema


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside of the document")
