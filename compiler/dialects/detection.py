"""Detection: which dialect a document is written in, by the fields of its root and of its steps."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from ..findings import Findings
from ..workflow import Json
from .graph import translate_graph
from .relay import translate_relay
from .sequence import translate_sequence
from .translation import Fields, Translation, as_fields, as_items
from .typed_steps import translate_typed_steps


class Dialect(StrEnum):
    """The families of documents that are read."""

    NATIVE = "native"
    RELAY = "relay"
    GRAPH = "graph"
    TYPED_STEPS = "typed_steps"
    SEQUENCE = "sequence"


TRANSLATORS: dict[Dialect, Callable[[Fields, Findings], Translation]] = {
    Dialect.RELAY: translate_relay,
    Dialect.GRAPH: translate_graph,
    Dialect.TYPED_STEPS: translate_typed_steps,
    Dialect.SEQUENCE: translate_sequence,
}

_TYPED = frozenset(
    {"skill", "skillId", "stepId", "inputSelector", "dependencies", "dependsOn", "depends_on", "retryPolicy",
     "cachePolicy", "cacheScope"}
)  # fmt: skip
_GRAPH_TYPES = frozenset({"loop", "parallel"})


def detect(value: Json) -> Dialect | None:
    """The dialect of a document; None where nothing tells. ``courante:`` always means native."""
    fields = as_fields(value)
    if "courante" in fields:
        return Dialect.NATIVE
    if "tasks" in fields:
        return Dialect.RELAY
    if "steps" in fields:
        steps = [as_fields(step) for step in as_items(fields["steps"])]
        is_typed = "dependencies" in fields or any(_TYPED & step.keys() for step in steps)
        return Dialect.TYPED_STEPS if is_typed else Dialect.SEQUENCE
    if "nodes" in fields:
        nodes = [as_fields(node) for node in as_items(fields["nodes"])]
        is_graph = "edges" in fields or any(node.get("type") in _GRAPH_TYPES for node in nodes if _is_typed(node))
        return Dialect.GRAPH if is_graph else Dialect.NATIVE
    return None


def _is_typed(node: Fields) -> bool:
    return isinstance(node.get("type"), str)
