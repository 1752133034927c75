"""Golden runs: a whole document each, with what must come of it, and short words to write them with."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from integration.floor import Command

MAPS = "maps and aggregates do not run yet"


@dataclass(frozen=True, kw_only=True)
class Case:
    """``completed``: the steps that succeed, ``node scope``. ``before``: pairs, in each the first comes first.

    ``apart``: never worked on at the same time. ``output``: of the run, not looked at when it is ``...``.
    ``commands``: given while the run goes on. ``wait``: why it cannot run yet.
    """

    name: str
    nodes: list[dict[str, Any]]
    completed: list[str]
    before: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    apart: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    edges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failed: list[str] = field(default_factory=list[str])
    input: Any = None
    output: Any = ...
    status: str = "COMPLETED"
    policy: str = "fail_fast"
    commands: list[Command] = field(default_factory=list[Command])
    wait: str = ""

    @property
    def document(self) -> dict[str, Any]:
        return {
            "courante": 1,
            "id": self.name,
            "policy": {"on_failure": self.policy},
            "nodes": self.nodes,
            "edges": self.edges,
        }


def node(
    id: str, *depends_on: str, type: str = "noop", config: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {"id": id, "type": type, **more}
    if depends_on:
        made["depends_on"] = list(depends_on)
    if config is not None:
        made["config"] = config
    return made


def says(id: str, *depends_on: str, value: Any = None, **more: Any) -> dict[str, Any]:
    """A node whose output is a constant; its id where none is given."""
    return node(id, *depends_on, type="echo", config={"value": id if value is None else value}, **more)


def chooses(
    id: str, *depends_on: str, rules: dict[str, list[str]], default: list[str] | None = None, **more: Any
) -> Any:
    """A conditional: ``rules`` by their expression."""
    config: dict[str, Any] = {"rules": [{"when": when, "next": names} for when, names in rules.items()]}
    if default is not None:
        config["default"] = default
    if "mode" in more:
        config["mode"] = more.pop("mode")
    return node(id, *depends_on, type="conditional", config=config, **more)


def fails(id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="function", config={"handler": "fail"}, **more)


def waits(id: str, *depends_on: str, name: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="signal", config={"name": name, "expires": "1h"}, **more)


def signal(name: str, payload: Any = None) -> Command:
    return Command("signal", {"name": name, "data": payload})
