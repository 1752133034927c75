"""Caches: of which steps an output may be kept and taken again.

Those that end in one attempt in a worker, with an output that their input and config decide. What waits for a time, a
person, a signal or another run has not its output from there; a map opens items, and an aggregate has only what the
steps before it have made.
"""

from __future__ import annotations

from .workflow import Node

CACHEABLE = frozenset("""function http llm tool agent transform filter validate conditional noop echo sleep""".split())


def uncacheable(node: Node) -> str:
    """Return why nothing of a node can be cached, or nothing."""
    if node.cache is None or node.type in CACHEABLE or not node.type:
        return ""
    return f"{node.id!r} has a cache, but a node of type {node.type!r} has no attempt that could be left out"
