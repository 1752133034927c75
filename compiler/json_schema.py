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


def read_json_schema(value: Json, path: Path, findings: Findings) -> dict[str, Json]:
    """The schema. What makes it no JSON Schema is reported at its place."""
    schema = read_object(value, path, findings)
    try:
        jsonschema_rs.validator_for(schema, retriever=_refuse)
    except jsonschema_rs.ValidationError as error:
        message = error.message.splitlines()[0][:200]
        hint = (
            "put the other schema under $defs and refer to it as '#/$defs/name'"
            if "outside of the document" in message
            else ""
        )
        findings.error("bad_schema", f"no JSON Schema: {message}", (*path, *error.instance_path), hint)
    return schema


def _refuse(uri: str) -> NoReturn:
    raise ValueError(f"{uri} is outside of the document")
