"""From lark's tree to the syntax tree: macros recognised, chains made flat, numbers and depth checked.

Never recurses deeper than ``MAX_DEPTH``: chains of operators and links are followed in loops.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .errors import ExpressionError
from .scan import Scanned
from .syntax import (
    MAX_DEPTH,
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
from .values import INT_MAX, INT_MIN, UINT_MAX, Uint

if TYPE_CHECKING:
    from lark import Token, Tree

LarkTree: TypeAlias = "Tree[Token]"

RESERVED = frozenset(
    [
        "as",
        "break",
        "const",
        "continue",
        "else",
        "false",
        "for",
        "function",
        "if",
        "import",
        "in",
        "let",
        "loop",
        "namespace",
        "null",
        "package",
        "return",
        "true",
        "var",
        "void",
        "while",
    ]
)
_MACROS = {"all": (1,), "exists": (1,), "exists_one": (1,), "existsOne": (1,), "filter": (1,), "map": (1, 2)}
_RELATIONS = {
    "relation_lt": "<",
    "relation_le": "<=",
    "relation_gt": ">",
    "relation_ge": ">=",
    "relation_eq": "==",
    "relation_ne": "!=",
    "relation_in": "in",
}
_ARITHMETIC = {
    "addition_add": "+",
    "addition_sub": "-",
    "multiplication_mul": "*",
    "multiplication_div": "/",
    "multiplication_mod": "%",
}
_LOGIC = {"conditionalor": "||", "conditionaland": "&&"}
_MAX_DIGITS = 400


class Reader:
    """Turns lark's tree into ours. ``depth`` counts nodes from the root."""

    def __init__(self, scanned: Scanned) -> None:
        self._scanned = scanned

    def read(self, tree: LarkTree, depth: int) -> Node:
        tree = _inner(tree)
        offset = _offset(tree)
        if depth >= MAX_DEPTH:
            raise ExpressionError(
                "expression_too_deep", f"the expression is nested deeper than {MAX_DEPTH} levels", offset=offset
            )
        kind = str(tree.data)
        if kind == "expr":
            condition, then, otherwise = (self.read(child, depth + 1) for child in _trees(tree))
            return Ternary(condition, then, otherwise, offset)
        if kind in _LOGIC:
            return self._logic(tree, depth)
        if kind == "relation":
            return self._relation(tree, depth)
        if kind in ("addition", "multiplication"):
            return self._chain(tree, depth)
        if kind == "unary":
            return self._unary(tree, depth)
        if kind.startswith("member"):
            return self._member(tree, depth)
        return self._primary(kind, tree, depth)

    def _logic(self, tree: LarkTree, depth: int) -> Node:
        kind = tree.data
        operands: list[LarkTree] = []
        while tree.data == kind:
            left, right = _trees(tree)
            operands.append(right)
            tree = _inner(left)
        operands.append(tree)
        nodes = tuple(self.read(operand, depth + 1) for operand in reversed(operands))
        return Logic(_LOGIC[str(kind)], nodes, nodes[0].offset)

    def _relation(self, tree: LarkTree, depth: int) -> Node:
        relation, right = _trees(tree)
        left = self.read(_trees(relation)[0], depth + 1)
        return Relation(_RELATIONS[str(relation.data)], left, self.read(right, depth + 1), left.offset)

    def _chain(self, tree: LarkTree, depth: int) -> Node:
        kind = tree.data
        links: list[tuple[str, LarkTree]] = []
        while tree.data == kind:
            operation, right = _trees(tree)
            links.append((_ARITHMETIC[str(operation.data)], right))
            tree = _inner(_trees(operation)[0])
        first = self.read(tree, depth + 1)
        rest = tuple((operator, self.read(link, depth + 1)) for operator, link in reversed(links))
        return Chain(first, rest, first.offset)

    def _unary(self, tree: LarkTree, depth: int) -> Node:
        """Pairs of ``!!`` or ``--`` stay as written: each checks its operand's type."""
        operators: list[tuple[str, int]] = []
        while tree.data == "unary":
            sign, operand = _trees(tree)
            operators.append(("!" if sign.data == "unary_not" else "-", _offset(tree)))
            tree = _inner(operand)
        if tree.data == "literal" and operators[-1][0] == "-":
            token = _token(tree, 0)
            if token.type in ("INT_LIT", "FLOAT_LIT") and not token.startswith("-"):
                sign_offset = operators.pop()[1]
                number = self._number(token.type, f"-{token}", sign_offset)
                return self._signed(number, operators, depth)
        node = self.read(tree, depth + len(operators))
        return self._signed(node, operators, depth)

    def _signed(self, node: Node, operators: list[tuple[str, int]], depth: int) -> Node:
        if depth + len(operators) >= MAX_DEPTH:
            raise ExpressionError("expression_too_deep", "too many signs in a row", offset=node.offset)
        for operator, offset in reversed(operators):
            node = Unary(operator, node, offset)
        return node

    def _member(self, tree: LarkTree, depth: int) -> Node:
        """Read ``base.a["b"][0].f(x)``: from the outside to the base, then build from the base."""
        links: list[tuple[str, LarkTree, str | None]] = []
        height = 0
        while str(tree.data).startswith("member"):
            kind = str(tree.data)
            if kind == "member_object":
                raise ExpressionError(
                    "expression_unsupported",
                    "messages cannot be made in an expression",
                    offset=_offset(tree),
                    hint="write a map: {'key': value}",
                )
            key = self._key(kind, tree)
            height += key is None or not links or links[-1][2] is None
            links.append((kind, tree, key))
            tree = _inner(_trees(tree)[0])
        node = self.read(tree, depth + height)
        for kind, link, key in reversed(links):
            if key is not None:
                node = _select(node, key)
            else:
                node = self._link(kind, link, node, depth + height)
                height -= 1
        return node

    def _key(self, kind: str, tree: LarkTree) -> str | None:
        """Read the key of ``x.key`` and ``x["key"]``; None for any other link."""
        if kind == "member_dot":
            return str(_token(tree, 1))
        index = _inner(_trees(tree)[1]) if kind == "member_index" else tree
        value = self._scanned.strings.get(_offset(index)) if index.data == "literal" else None
        return value if isinstance(value, str) else None

    def _link(self, kind: str, tree: LarkTree, node: Node, depth: int) -> Node:
        offset = node.offset
        if kind == "member_index":
            return Index(node, self.read(_trees(tree)[1], depth), offset)
        name = _token(tree, 1)
        arguments = _listed(tree)
        if name in _MACROS:
            return self._macro(name, node, arguments, depth)
        nodes = tuple(self.read(argument, depth) for argument in arguments)
        return Call(str(name), (node, *nodes), is_method=True, offset=int(name.start_pos or 0))

    def _macro(self, name: Token, operand: Node, arguments: list[LarkTree], depth: int) -> Node:
        offset = int(name.start_pos or 0)
        variable = _inner(arguments[0]) if arguments else None
        is_name = variable is not None and variable.data == "ident" and str(_token(variable, 0)) not in RESERVED
        if not is_name or len(arguments) - 1 not in _MACROS[name]:
            shape = "x, condition, result" if name == "map" and len(arguments) > 2 else "x, condition"
            raise ExpressionError(
                "expression_bad_call",
                f"{name} is written .{name}({'x, result' if shape == 'x, condition' and name == 'map' else shape})",
                offset=offset,
                hint="x is a name of your choice that stands for each item",
            )
        assert variable is not None, "checked above"
        body = tuple(self.read(argument, depth) for argument in arguments[1:])
        macro = "exists_one" if name == "existsOne" else str(name)
        return Macro(macro, operand, str(_token(variable, 0)), body, offset)

    def _primary(self, kind: str, tree: LarkTree, depth: int) -> Node:
        offset = _offset(tree)
        if kind in ("ident", "dot_ident"):
            return Name(str(_token(tree, 0)), offset, is_absolute=kind == "dot_ident")
        if kind == "literal":
            token = _token(tree, 0)
            return self._literal(token, offset)
        if kind == "list_lit":
            return ListNode(tuple(self.read(item, depth + 1) for item in _listed(tree)), offset)
        if kind == "map_lit":
            nodes = [self.read(item, depth + 1) for item in _listed(tree)]
            return MapNode(tuple(zip(nodes[::2], nodes[1::2], strict=True)), offset)
        name, arguments = _token(tree, 0), _listed(tree)
        if name == "has":
            return self._has(arguments, offset, depth)
        return Call(str(name), tuple(self.read(item, depth + 1) for item in arguments), is_method=False, offset=offset)

    def _has(self, arguments: list[LarkTree], offset: int, depth: int) -> Node:
        field = _inner(arguments[0]) if len(arguments) == 1 else None
        if field is None or field.data != "member_dot":
            raise ExpressionError(
                "expression_bad_call",
                "has() takes one field, such as has(output.score)",
                offset=offset,
                hint="for a key with other characters write 'a-key' in output",
            )
        return Has(self.read(_trees(field)[0], depth + 1), str(_token(field, 1)), offset)

    def _literal(self, token: Token, offset: int) -> Node:
        if offset in self._scanned.strings:
            return Literal(self._scanned.strings[offset], offset)
        if token.type == "BOOL_LIT":
            return Literal(str(token) == "true", offset)
        if token.type == "NULL_LIT":
            return Literal(None, offset)
        return self._number(token.type, str(token), offset)

    def _number(self, kind: str, text: str, offset: int) -> Literal:
        if len(text) <= _MAX_DIGITS:
            if kind == "FLOAT_LIT":
                double = float(text)
                if double - double == 0.0:
                    return Literal(double, offset)
            else:
                digits = text.rstrip("uU")
                number = int(digits, 16 if "x" in digits else 10)
                if kind == "UINT_LIT" and 0 <= number <= UINT_MAX and text[0] != "-":
                    return Literal(Uint(number), offset)
                if kind == "INT_LIT" and INT_MIN <= number <= INT_MAX:
                    return Literal(number, offset)
        raise ExpressionError("expression_syntax", f"the number {text[:40]} is out of range", offset=offset)


_WRAPPERS = frozenset(
    [
        "expr",
        "conditionalor",
        "conditionaland",
        "relation",
        "addition",
        "multiplication",
        "unary",
        "member",
        "primary",
        "paren_expr",
    ]
)


def _inner(tree: LarkTree) -> LarkTree:
    """Step through the grammar's levels and parentheses that hold one thing, down to a node with a meaning."""
    while str(tree.data) in _WRAPPERS and len(tree.children) == 1:
        child = tree.children[0]
        if isinstance(child, str):
            break
        tree = child
    return tree


def _trees(tree: LarkTree) -> list[LarkTree]:
    return [child for child in tree.children if not isinstance(child, str)]


def _token(tree: LarkTree, index: int) -> Token:
    child = tree.children[index]
    assert isinstance(child, str), "the grammar has a token here"
    return child


def _listed(tree: LarkTree) -> list[LarkTree]:
    """List the expressions of a call's arguments, a list or a map."""
    found = [child for child in _trees(tree) if child.data in ("exprlist", "mapinits")]
    return _trees(found[0]) if found else []


def _offset(tree: LarkTree) -> int:
    return tree.meta.start_pos


def _select(operand: Node, key: str) -> Node:
    if isinstance(operand, Select):
        return Select(operand.operand, (*operand.keys, key), operand.offset)
    return Select(operand, (key,), operand.offset)
