"""From the syntax tree to nested Python closures, once per expression.

A closure takes the frame and gives a value or raises Fault. The frequent shapes (a comparison with a constant, two
operands of ``&&``) have closures of their own; each must agree with the general one, which the differential tests
check. Names are resolved here: comprehension variables to places in the frame, roots to the context.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from ..diagnostics import did_you_mean
from . import paths
from .calls import call
from .errors import ExpressionError, Fault
from .frame import Eval, Frame, Value, kind_of
from .logic import logic, negation, ternary
from .macros import MACROS, Parts
from .operators import ARITHMETIC, Binary, index, negate
from .relations import relation
from .syntax import (
    Call,
    Chain,
    Has,
    Index,
    ListNode,
    Literal,
    Logic,
    Macro,
    MapNode,
    Name,
    Node,
    Relation,
    Select,
    Ternary,
    Unary,
)
from .values import TYPES, MadeList, MadeMap, map_key

SECRET_ROOT = "secret()"  # noqa: S105 - a name, no secret
"""The root under which a context holds secrets, by name. No expression can write it but as ``secret('NAME')``."""


class Builder:
    """Compiles one expression.

    After ``build``: ``references`` are (offset, path) of every static path, ``slots`` the places the frame needs.
    """

    def __init__(self, roots: frozenset[str]) -> None:
        self.references: list[tuple[int, tuple[str, ...]]] = []
        self.slots = 0
        self._roots = roots
        self._variables: dict[str, int] = {}
        self._depth = 0
        self._cost = 0

    def build(self, node: Node) -> Eval:
        """Compile ``node``. Raises ExpressionError."""
        self._cost += 1
        match node:
            case Literal():
                value = node.value
                return lambda _frame: value
            case Name():
                return self._path(node, (), node.offset)
            case Select():
                return self._select(node)
            case Has():
                return self._has(node)
            case Index():
                return _binary(index, self.build(node.operand), self.build(node.index))
            case Call(function="secret"):
                return self._secret(node)
            case Call():
                return call(node, tuple(self.build(argument) for argument in node.arguments))
            case Macro():
                return self._macro(node)
            case Unary():
                operand = self.build(node.operand)
                return negation(operand) if node.operator == "!" else lambda frame: negate(operand(frame))
            case Chain():
                return self._chain(node)
            case Relation():
                return relation(node, self.build(node.left), self.build(node.right))
            case Logic():
                return logic(node.operator, tuple(self.build(operand) for operand in node.operands))
            case Ternary():
                return ternary(self.build(node.condition), self.build(node.then), self.build(node.otherwise))
            case ListNode():
                return _list(tuple(self.build(item) for item in node.items))
            case MapNode():
                return _map(tuple((self.build(key), self.build(value)) for key, value in node.entries))

    def _select(self, node: Select) -> Eval:
        operand = node.operand
        if isinstance(operand, Name):
            return self._path(operand, node.keys, node.offset)
        return paths.below(self.build(operand), node.keys, "the value")

    def _path(self, name: Name, keys: tuple[str, ...], offset: int) -> Eval:
        """Resolve a name: a comprehension variable, a root of the context, or the name of a type."""
        slot = None if name.is_absolute else self._variables.get(name.name)
        if slot is not None:
            return paths.variable_path(slot, keys, name.name) if keys else lambda frame: frame.slots[slot]
        path = (name.name, *keys)
        if name.name in self._roots:
            self.references.append((offset, path))
            return paths.context_path(path)
        constant = TYPES.get(".".join(path))
        if constant is not None:
            return lambda _frame: constant
        known = (*self._roots, *self._variables)
        raise ExpressionError(
            "expression_unknown_name",
            f"unknown name {name.name!r}",
            offset=name.offset,
            hint=did_you_mean(name.name, known) or f"known here: {', '.join(sorted(known))}",
        )

    def _secret(self, node: Call) -> Eval:
        """``secret('NAME')``: read by name like a path, so that what is read can be told from the source."""
        if SECRET_ROOT not in self._roots:
            hint = "it may stand in the config of a node of type http"
            message = "secret(...) can not be read here"
            raise ExpressionError("expression_unknown_function", message, offset=node.offset, hint=hint)
        name = node.arguments[0] if len(node.arguments) == 1 and not node.is_method else None
        if not isinstance(name, Literal) or not isinstance(name.value, str):
            hint = "write secret('NAME')"
            message = "secret takes the name of a secret, written out"
            raise ExpressionError("expression_bad_call", message, offset=node.offset, hint=hint)
        path = (SECRET_ROOT, name.value)
        self.references.append((node.offset, path))
        return paths.context_path(path)

    def _has(self, node: Has) -> Eval:
        before = len(self.references)
        found = paths.has(self.build(node.operand), node.key)
        base = node.operand.operand if isinstance(node.operand, Select) else node.operand
        if isinstance(base, Name) and len(self.references) > before:
            offset, path = self.references[-1]
            self.references[-1] = (offset, (*path, node.key))
        return found

    def _macro(self, node: Macro) -> Eval:
        operand = self.build(node.operand)
        slot = self._depth
        with self._variable(node.variable, slot):
            outside, self._cost = self._cost, 0
            body = tuple(self.build(part) for part in node.body)
            inside, self._cost = self._cost, outside
        return MACROS[node.macro](Parts(operand, slot, inside + 1, body))

    @contextmanager
    def _variable(self, name: str, slot: int) -> Generator[None]:
        shadowed = self._variables.get(name)
        self._variables[name] = slot
        self._depth += 1
        self.slots = max(self.slots, self._depth)
        yield
        self._depth -= 1
        if shadowed is None:
            del self._variables[name]
        else:
            self._variables[name] = shadowed

    def _chain(self, node: Chain) -> Eval:
        first = self.build(node.first)
        links = tuple((ARITHMETIC[operator], self.build(operand)) for operator, operand in node.rest)
        if len(links) == 1:
            return _binary(links[0][0], first, links[0][1])

        def run(frame: Frame) -> Value:
            value = first(frame)
            for operation, operand in links:
                value = operation(frame, value, operand(frame))
            return value

        return run


def _binary(operation: Binary, left: Eval, right: Eval) -> Eval:
    return lambda frame: operation(frame, left(frame), right(frame))


def _list(items: tuple[Eval, ...]) -> Eval:
    return lambda frame: MadeList([item(frame) for item in items])


def _map(entries: tuple[tuple[Eval, Eval], ...]) -> Eval:
    def run(frame: Frame) -> MadeMap:
        made = MadeMap()
        for key, value in entries:
            held = key(frame)
            name = map_key(held)
            if kind_of(held) is float:
                raise Fault("no_such_overload", "a double cannot be the key of a map")
            if name in made:
                raise Fault("invalid_argument", f"the map has the key {str(held)[:100]!r} twice")
            made[name] = value(frame)
        return made

    return run
