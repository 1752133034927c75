"""Places: the node and scope that an event is about."""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.ir import Ir
from ..corrupt import Corrupt
from ..events import Facts
from ..marking.scopes import NODE_NAMES, Scope, parse_scope_key

ENGINE_NODES = {name: node for node, name in NODE_NAMES.items()}


def place_of(ir: Ir, numbers: Mapping[str, int], facts: Facts) -> tuple[int, Scope]:
    """Return (node, scope). numbers: of the nodes by id. Raises Corrupt."""
    number = ENGINE_NODES.get(facts.node)
    if number is None:
        number = numbers.get(facts.node)
    if number is None:
        raise Corrupt(f"the IR has no node {facts.node!r}")
    try:
        scope = parse_scope_key(facts.scope)
    except ValueError as error:
        raise Corrupt(f"{facts.scope!r} is no scope") from error
    if len(scope) != (len(ir.nodes[number].levels) if number >= 0 else 0):
        raise Corrupt(f"{facts.node!r} has no scope {facts.scope!r}")
    return number, scope
