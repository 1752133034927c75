"""The syntax tree of an expression: immutable, without Python names, at most ``MAX_DEPTH`` deep.

Chains of one operator and chains of field names are flat (one node), whatever their length, so walking a tree
never recurses deeper than the brackets and calls a person wrote.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from .values import Uint

MAX_DEPTH = 64
"""Nodes from the root to a leaf."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: bool | int | Uint | float | str | bytes | None
    offset: int


@dataclass(frozen=True, slots=True)
class Name:
    """An identifier. ``is_absolute``: written ``.name``, so never a comprehension variable."""

    name: str
    offset: int
    is_absolute: bool = False


@dataclass(frozen=True, slots=True)
class Select:
    """``operand.a.b`` and ``operand["a"]["b"]``: the keys in order, at least one."""

    operand: Node
    keys: tuple[str, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Has:
    operand: Node
    key: str
    offset: int


@dataclass(frozen=True, slots=True)
class Index:
    operand: Node
    index: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Call:
    """``f(a, b)``, or ``a.f(b)`` with the target as first argument."""

    function: str
    arguments: tuple[Node, ...]
    is_method: bool
    offset: int


@dataclass(frozen=True, slots=True)
class Macro:
    """``operand.all(variable, body...)``. ``body``: one node; for ``map`` also (condition, result)."""

    macro: str
    operand: Node
    variable: str
    body: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Unary:
    """``!`` or ``-``."""

    operator: str
    operand: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Chain:
    """``first op node op node ...`` from the left: ``+ -``, or ``* / %``."""

    first: Node
    rest: tuple[tuple[str, Node], ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Relation:
    operator: str
    left: Node
    right: Node
    offset: int


@dataclass(frozen=True, slots=True)
class Logic:
    """``&&`` or ``||`` over two or more operands."""

    operator: str
    operands: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class Ternary:
    condition: Node
    then: Node
    otherwise: Node
    offset: int


@dataclass(frozen=True, slots=True)
class ListNode:
    items: tuple[Node, ...]
    offset: int


@dataclass(frozen=True, slots=True)
class MapNode:
    entries: tuple[tuple[Node, Node], ...]
    offset: int


Node: TypeAlias = (
    Literal
    | Name
    | Select
    | Has
    | Index
    | Call
    | Macro
    | Unary
    | Chain
    | Relation
    | Logic
    | Ternary
    | ListNode
    | MapNode
)
