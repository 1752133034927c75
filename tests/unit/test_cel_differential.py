"""Random expressions over random JSON, against the C++ implementation of CEL.

Both give the same value, of the same type, or both give an error. Deliberate differences are left out of what is
drawn, and are listed in ``docs/reference/expressions.md``: text of doubles and durations, white space in numbers,
names of time zones, and the extensions that the C++ package does not bring.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

from hypothesis import example, given, settings
from hypothesis import strategies as st

from courante.compiler.cel import EvaluationError, ExpressionError, compile_expression

ROOTS = frozenset({"input"})
CEL: Any = importlib.import_module("cel_expr_python.cel")
ORACLE: Any = CEL.NewEnv(variables={"input": CEL.Type.DYN})
ERROR = "an error"

INTS = ["0", "1", "2", "(-3)", "7", "9223372036854775807", "(-9223372036854775808)", "9007199254740993"]
UINTS = ["0u", "1u", "7u", "18446744073709551615u"]
DOUBLES = ["0.0", "1.0", "(-0.5)", "2.5", "1e300", "9007199254740992.0", "(0.0 / 0.0)", "(1.0 / 0.0)"]
STRINGS = ["''", "'a'", "'ab'", "'b'", "'\\u00e9'", "'\U0001f600'", "'7'", "'-1'", "'1.5'", "'true'", r"r'a\b'"]
BYTES = ["b''", "b'a'", "b'\\xff'", "b'\u00e9'"]
TIMES = [
    "timestamp(0)",
    "timestamp('2020-02-29T23:59:59.5Z')",
    "timestamp(-86400)",
    "timestamp('2021-06-01T00:00:00+05:30')",
]
DURATIONS = ["duration('0s')", "duration('90s')", "duration('-1.5s')", "duration('26h')"]
ZEROS = {"int": "0", "uint": "0u", "double": "0.0", "string": "''", "time": "duration('0s')"}
PATTERNS = ["'a'", "'^a'", "'b$'", "'[a-z]+'", "('(' + '')"]
KINDS = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null", "time", "duration", "type", "any"]
NUMBERS = ["int", "uint", "double"]
PATHS = [
    "input.i",
    "input.d",
    "input.s",
    "input.b",
    "input.l",
    "input.m",
    "input.n",
    "input.m.k",
    "input.none",
    "input.l[0]",
]
PARTS = [
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getSeconds",
]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.sampled_from([0.5, 1.0, -2.0])
    | st.sampled_from(["", "a", "ab"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["k", "x", "a"]), inner, max_size=3),
    max_leaves=6,
)
CONTEXTS = st.fixed_dictionaries(
    {
        "i": st.integers(-3, 3) | st.sampled_from([2**63 - 1, -(2**63)]),
        "d": st.floats(-3, 3, width=16),
        "s": st.sampled_from(["", "a", "ab", "\u00e9"]),
        "b": st.booleans(),
        "l": st.lists(JSON, max_size=3),
        "m": st.dictionaries(st.sampled_from(["k", "x"]), JSON, max_size=2),
        "n": st.none(),
    },
)


class Writer:
    """Draws one expression as text; mostly of the kind asked for, now and then of another, so errors occur."""

    def __init__(self, draw: Any) -> None:
        self._draw = draw
        self._variables: list[str] = []

    def one(self, choices: list[str]) -> str:
        return str(self._draw(st.sampled_from(choices)))

    def write(self, kind: str, depth: int) -> str:
        if kind == "any" or self._draw(st.integers(0, 39)) == 0:
            kind = self.one(KINDS[:-1])
        if depth > 0:
            general = self._draw(st.integers(0, 9))
            if general == 0:
                return (
                    f"({self.write('bool', depth - 1)} ? {self.write(kind, depth - 1)} : {self.write(kind, depth - 1)})"
                )
            if general == 1 and self._variables:
                return self.one(self._variables)
            if general == 2:
                index = self.one(["0", "0", "1", "1", "1.0", "0u", "2"])
                return f"[{self.write(kind, depth - 1)}, {self.write(kind, depth - 1)}][{index}]"
            if general == 3:
                return f"{{'k': {self.write(kind, depth - 1)}}}.{self.one(['k'] * 9 + ['x'])}"
        return str(getattr(self, f"_{kind}")(depth))

    def _leaf(self, constants: list[str], paths: list[str]) -> str:
        return self.one(constants + paths + self._variables)

    def _bool(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(["true", "false"], ["input.b"])
        less = depth - 1
        shape = self._draw(st.integers(0, 9))
        if shape <= 1:
            return f"({self.write('bool', less)} {self.one(['&&', '||'])} {self.write('bool', less)})"
        if shape == 2:
            return f"({self.write('any', less)} {self.one(['==', '!='])} {self.write('any', less)})"
        if shape == 3:
            left, right = self.one(NUMBERS), self.one(NUMBERS)
            return (
                f"({self.write(left, less)} {self.one(['<', '<=', '>', '>=', '==', '!='])} {self.write(right, less)})"
            )
        if shape == 4:
            kind = self.one(["string", "bytes", "bool", "time", "duration"])
            return f"({self.write(kind, less)} {self.one(['<', '<=', '>', '>=', '=='])} {self.write(kind, less)})"
        if shape == 5:
            return f"!({self.write('bool', less)})"
        if shape == 6:
            return f"({self.write('any', less)} in {self.write(self.one(['list', 'map']), less)})"
        if shape == 7:
            return self._macro(self.one(["all", "exists", "exists_one"]), "bool", less)
        if shape == 8:
            function = self.one(["contains", "startsWith", "endsWith"])
            return f"{self.write('string', less)}.{function}({self.write('string', less)})"
        return self.one(
            [
                f"has({self.one(['input', 'input.m', 'input.none', 'input.i'])}.{self.one(['k', 'x', 'm'])})",
                f"{self.write('string', less)}.matches({self.one(PATTERNS)})",
                f"bool({self.write('string', less)})",
            ]
        )

    def _sure(self, kinds: list[str], depth: int) -> str:
        """Draw an operand that has its kind or is an error: the oracle converts a bool, the standard does not."""
        kind = self.one(kinds)
        return f"({self.write(kind, depth)} + {ZEROS[kind]})"

    def _arithmetic(self, kind: str, operators: list[str], depth: int) -> str:
        return f"({self.write(kind, depth)} {self.one(operators)} {self.write(kind, depth)})"

    def _int(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(INTS, ["input.i"])
        shape = self._draw(st.integers(0, 5))
        if shape <= 1:
            return self._arithmetic("int", ["+", "-", "*", "/", "%"], depth - 1)
        if shape == 2:
            return f"(-({self.write('int', depth - 1)}))"
        if shape == 3:
            return f"size({self.write(self.one(['string', 'bytes', 'list', 'map']), depth - 1)})"
        if shape == 4:
            return f"{self.write(self.one(['time', 'duration']), depth - 1)}.{self.one(PARTS)}()"
        return f"int({self._sure(['double', 'string', 'uint', 'time'], depth - 1)})"

    def _uint(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(UINTS, [])
        if self._draw(st.booleans()):
            return self._arithmetic("uint", ["+", "-", "*", "/", "%"], depth - 1)
        return f"uint({self._sure(['double', 'string', 'int'], depth - 1)})"

    def _double(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(DOUBLES, ["input.d"])
        if self._draw(st.booleans()):
            return self._arithmetic("double", ["+", "-", "*", "/"], depth - 1)
        return f"double({self._sure(['int', 'string', 'uint'], depth - 1)})"

    def _string(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(STRINGS, ["input.s"])
        if self._draw(st.booleans()):
            return self._arithmetic("string", ["+"], depth - 1)
        return f"string({self.one(INTS + UINTS + STRINGS + BYTES + ['true', 'input.i', 'input.s', 'input.b'])})"

    def _bytes(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(BYTES, [])
        return self.one([self._arithmetic("bytes", ["+"], depth - 1), f"bytes({self.write('string', depth - 1)})"])

    def _list(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(["[]", "[1, 2]", "[1, 'a', null]", "[true, false]"], ["input.l"])
        shape = self._draw(st.integers(0, 3))
        if shape == 0:
            return f"[{self.write('any', depth - 1)}, {self.write('any', depth - 1)}]"
        if shape == 1:
            return self._arithmetic("list", ["+"], depth - 1)
        if shape == 2:
            return self._macro("filter", "bool", depth - 1)
        return self._macro("map", "any", depth - 1)

    def _map(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(["{}", "{'a': 1}", "{'k': [1.0]}", "{1: 2}"], ["input.m", "input"])
        key, one, two = self.write("string", depth - 1), self.write("any", depth - 1), self.write("any", depth - 1)
        return f"{{'a': {one}, {key}: {two}}}"

    def _macro(self, macro: str, kind: str, depth: int) -> str:
        """Draw a comprehension. ``filter`` and ``map`` only over lists: the oracle's maps have no order."""
        if macro in ("filter", "map"):
            over = f"({self.write('list', depth)} + [])"
        else:
            over = self.write(self.one(["list", "list", "map"]), depth)
        name = f"v{len(self._variables)}"
        self._variables.append(name)
        body = self.write(kind, depth)
        if macro == "map" and self._draw(st.booleans()):
            body = f"{self.write('bool', depth)}, {body}"
        self._variables.pop()
        return f"{over}.{macro}({name}, {body})"

    def _null(self, _depth: int) -> str:
        return self._leaf(["null"], ["input.n", self.one(PATHS)])

    def _time(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(TIMES, [])
        return f"({self.write('time', depth - 1)} {self.one(['+', '-'])} {self.write('duration', depth - 1)})"

    def _duration(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(DURATIONS, [])
        kind = self.one(["time", "duration"])
        return self._arithmetic(kind, ["-"], depth - 1)

    def _type(self, depth: int) -> str:
        if depth <= 0:
            return self._leaf(["int", "uint", "string", "null_type"], [])
        return f"type({self.write('any', depth - 1)})"


@st.composite
def expressions(draw: Any) -> str:
    return Writer(draw).write(draw(st.sampled_from(KINDS)), draw(st.integers(1, 4)))


def plain(value: Any) -> Any:
    """Make what the oracle gives comparable with JSON: (type name, value), containers inside too."""
    held, kind = value.plain_value(), value.type().name()
    if kind == "ERROR":
        return ERROR
    if kind in ("TYPE", "TIMESTAMP", "DURATION"):
        return kind
    return tagged(held)


def tagged(held: Any) -> Any:
    """Mark every value with its type, so that 1, 1.0 and true differ. Values that are not JSON become their type."""
    if isinstance(held, (bytes, bytearray)):
        return ("str", base64.b64encode(bytes(held)).decode())
    if isinstance(held, list):
        return [tagged(item) for item in cast("Sequence[Any]", held)]
    if isinstance(held, dict):
        entries = cast("Mapping[Any, Any]", held).items()
        return {(key if isinstance(key, str) else str(key).lower()): tagged(item) for key, item in entries}
    if isinstance(held, float) and not math.isfinite(held):
        raise NotJsonError
    return (type(held).__name__, held)


class NotJsonError(Exception):
    """The oracle's result is a number that JSON does not have: ours must be an error."""


def has_exotic(value: Any) -> bool:
    """Tell whether the oracle's result holds a time, a duration or a type, which come out as text here."""
    kind = value.type().name()
    if kind.startswith(("TYPE", "TIMESTAMP", "DURATION")):
        return True
    if kind.startswith("MAP"):
        return any(has_exotic(item) for item in value.value().values())
    return kind.startswith("LIST") and any(has_exotic(item) for item in value.value())


def ours(source: str, context: dict[str, Any]) -> Any:
    try:
        return compile_expression(source, roots=ROOTS).evaluate(context)
    except EvaluationError as error:
        return ERROR if error.code not in {"budget_exceeded", "too_deep"} else error.message
    except ExpressionError as error:
        return ERROR if error.code == "expression_bad_regex" else error.message


def theirs(source: str, context: dict[str, Any]) -> Any:
    """Ask the oracle; None for a map of constants with a key twice, which it refuses beforehand."""
    try:
        return ORACLE.compile(source, disable_check=True).eval(data=context)
    except RuntimeError as error:
        if "ALREADY_EXISTS" not in str(error):
            raise
        return None


@settings(max_examples=400)
@given(source=expressions(), held=CONTEXTS)
@example(source="(input.i == input.d)", held={"i": 1, "d": 1.0})
@example(source="[input.i, 1u, 1.0]", held={"i": 1})
def test_agrees_with_the_cpp_implementation(source: str, held: dict[str, Any]) -> None:
    """The same value of the same type, or an error on both sides."""
    context = {"input": held}
    result = ours(source, context)
    oracle = theirs(source, context)
    if oracle is None:
        return
    try:
        expected = plain(oracle)
    except NotJsonError:
        assert result == ERROR
        return
    if expected == ERROR:
        assert result == ERROR
    elif has_exotic(oracle):
        assert result != ERROR
    else:
        assert tagged(result) == expected


@settings(max_examples=300)
@given(source=st.text(alphabet="ab1.u'\"\\()[]{},:?!-+*/%<>=&| \nrx", max_size=24))
def test_any_text_compiles_or_is_refused(source: str) -> None:
    """No text whatever raises anything but ExpressionError, and what compiles evaluates or gives a coded error."""
    try:
        expression = compile_expression(source, roots=frozenset({"a", "b"}))
    except ExpressionError as error:
        place = error.offset
    else:
        place = len(source)
        with contextlib.suppress(EvaluationError):
            expression.evaluate({"a": 1, "b": [True, "x"]})
    assert -1 <= place <= len(source)
