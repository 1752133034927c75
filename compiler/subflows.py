"""Subflows in a document: the config of a node of type ``subflow``, which runs another workflow as its step.

``workflow`` names it, or is a template that does; ``version`` is a number, or ``latest``: the one that is the latest
when the child run is started. With ``detached`` the step ends when its child run is accepted, and does not mind it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from .diagnostics import Path
from .findings import Findings, quote
from .reading import (
    WORKFLOW_ID_PATTERN,
    is_extension,
    missing_field,
    read_boolean,
    read_fields,
    read_integer,
    read_pattern,
    read_text,
)
from .workflow import Json

Config = dict[str, Json]

LATEST = "latest"
SUBFLOW = "subflow"
VERSION_MAX = 2**31 - 1


def read_subflow(config: Config, path: Path, findings: Findings) -> Config:
    """What is not said is left out: ``version`` then is the latest one."""
    made = read_fields(config, path, findings, _READERS)
    if "workflow" not in made:
        missing_field("workflow", path, findings, "the id of the workflow that is run")
    if made.get("version") == LATEST:
        del made["version"]
    if made.get("detached") is False:
        del made["detached"]
    kept: dict[str, Any] = {name: below for name, below in config.items() if is_extension(name)}
    return {**made, **kept}


class _Node(Protocol):
    """A node of a workflow or of an IR."""

    @property
    def type(self) -> str: ...
    @property
    def config(self) -> Config: ...


def subflows_of(own: str, nodes: Sequence[_Node]) -> Iterator[tuple[int, str, int | None]]:
    """Yield (number of the node, workflow id, version or None for the latest) of each subflow whose document says them.

    own: id of the workflow whose nodes these are. One that a template chooses is left out, and so is its own latest
    version.
    """
    for number, node in enumerate(nodes):
        name, version = node.config.get("workflow"), node.config.get("version")
        if node.type != SUBFLOW or not isinstance(name, str) or "{{" in name:
            continue
        if name != own or version is not None:
            yield number, name, version if isinstance(version, int) else None


def _workflow(value: Json, path: Path, findings: Findings) -> str:
    if isinstance(value, str) and "{{" in value:
        return read_text(value, path, findings)
    return read_pattern(value, path, findings, WORKFLOW_ID_PATTERN, "bad_id")


def _version(value: Json, path: Path, findings: Findings) -> Json:
    if value == LATEST:
        return LATEST
    if isinstance(value, str):
        findings.error("wrong_type", f"{quote(value)} is no version", path, f"a number, or {LATEST}")
        return LATEST
    return read_integer(value, path, findings, low=1, high=VERSION_MAX)


_READERS = {"workflow": _workflow, "version": _version, "detached": read_boolean}
