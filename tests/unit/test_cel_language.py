"""The language: operators, types, comprehensions, errors and their absorption."""

from __future__ import annotations

from typing import Any

import pytest

from courante.compiler.cel import EvaluationError, compile_expression

ROOTS = frozenset({"input", "output", "steps", "outputs", "inputs", "tasks", "run", "item", "index", "loop"})
CONTEXT: dict[str, object] = {
    "input": {"n": 3, "d": 2.5, "s": "text", "t": True, "nothing": None, "list": [1, 2, 3], "map": {"k": "v"}},
    "output": {"score": 1, "class": "gold", "lambda": 1, "__class__": "key"},
    "loop": {"iteration": 4},
}


def evaluate(source: str, **context: object) -> Any:
    return compile_expression(source, roots=ROOTS).evaluate({**CONTEXT, **context})


def code(source: str) -> str:
    with pytest.raises(EvaluationError) as caught:
        evaluate(source)
    assert caught.value.expression == source
    assert caught.value.message
    return caught.value.code


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("1 + 2 * 3 - 4", 3),
        ("(1 + 2) * 3", 9),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("7 / -2", -3),
        ("7 % -2", 1),
        ("7u / 2u", 3),
        ("1.0 / 4.0", 0.25),
        ("- input.n", -3),
        ("-(-3)", 3),
        ("- 9223372036854775808", -(2**63)),
        ("0x1F", 31),
        ("1e3", 1000.0),
        ("'a' + \"b\"", "ab"),
        ("[1] + [2.5]", [1, 2.5]),
        ("b'a' + b'b'", "YWI="),
        ("true ? 1 : 2", 1),
        ("false ? 1 : true ? 2 : 3", 2),
        ("!input.t", False),
        ("!!input.t", True),
        ("[1, 2,]", [1, 2]),
        ("{'a': 1,}", {"a": 1}),
        ("{1: 'a', 2u: 'b', true: 'c'}", {"1": "a", "2": "b", "true": "c"}),
        ("[1, 2][1]", 2),
        ("[1, 2][1.0]", 2),
        ("{1: 'a', true: 'b'}[1.0]", "a"),
        ("{1: 'a', true: 'b'}[true]", "b"),
        ("1 // the rest is a comment: '", 1),
        ("r'\\d' + '\\n\\u00e9\\x41\\101'", "\\d\n\u00e9AA"),
        ("'''it's\nlong'''", "it's\nlong"),
        ("size(r'\\') + size(r\"\\\")", 2),
        (".input.n", 3),
    ],
)
def test_operators_and_literals(source: str, expected: object) -> None:
    """Arithmetic, literals and escapes give what the language definition says, with the right type."""
    result = evaluate(source)
    assert (result, type(result)) == (expected, type(expected))


@pytest.mark.parametrize(
    "source",
    [
        "1 == 1.0",
        "output.score > 0.8",
        "1u < 1.5",
        "9007199254740993 > 9007199254740992.0",
        "9007199254740993 != 9007199254740992.0",
        "[1, [2]] == [1.0, [2u]]",
        "{'a': 1} == {'a': 1.0}",
        "!(1 == true)",
        "!(0 == false)",
        "!(1 == '1')",
        "!(null == false)",
        "null == input.nothing",
        "input.t == true",
        "input.nothing != 0",
        "false < true",
        "'Z' < 'a'",
        "b'a' < b'b'",
        "!(0.0 / 0.0 == 0.0 / 0.0)",
        "1.0 / 0.0 > 1e300",
        "-1.0 / 0.0 < 0.0",
        "1 in [1.0]",
        "!(1 in [true])",
        "!(input.t in [1])",
        "'k' in input.map",
        "!('v' in input.map)",
        "!(1 in input.map)",
        "input.s in ['other', 'text']",
        "!(input.n in ['other', 'text'])",
        "type(1) == int && type(1u) == uint && type(1.0) == double && type('') == string && type(true) == bool",
        "type(null) == null_type && type([]) == list && type({}) == map && type(int) == type && type(b'') == bytes",
        "type(timestamp(0)) == google.protobuf.Timestamp && type(duration('1s')) == google.protobuf.Duration",
        "{true: 1} == {true: 1} && {true: 1} != {1: 1}",
    ],
)
def test_comparisons(source: str) -> None:
    """Numbers compare by value across types; nothing else is equal across types, bools least of all."""
    assert evaluate(source) is True


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[1, 2, 3].all(x, x > 0)", True),
        ("[1, 2, 3].exists(x, x == 2)", True),
        ("[1, 2, 3].exists_one(x, x > 2)", True),
        ("[1, 2, 3].exists_one(x, x > 1)", False),
        ("[1, 2, 3].existsOne(x, x > 2)", True),
        ("[1, 2, 3].filter(x, x != 2)", [1, 3]),
        ("[1, 2, 3].map(x, x * 2)", [2, 4, 6]),
        ("[1, 2, 3].map(x, x > 1, x * 2)", [4, 6]),
        ("input.map.map(key, key)", ["k"]),
        ("{true: 1, 2: 3}.map(key, key)", [True, 2]),
        ("[].all(x, x)", True),
        ("[].exists(x, x)", False),
        ("[[1, 2], [3]].map(x, x.map(y, y + size(x)))", [[3, 4], [4]]),
        ("[1].map(input, input + 1)", [2]),
        ("[1].map(input, .input.n + input)", [4]),
        ("[1].map(x, [2].map(x, x)[0] + x)", [3]),
        ("[{'a': 1}, {'a': 2}].filter(x, x.a == 2)", [{"a": 2}]),
        ("[0, 2].exists(x, 2 / x == 1)", True),
        ("[0, 2].all(x, 2 / x == 9)", False),
        ("[1, true].exists(x, x)", True),
    ],
)
def test_comprehensions(source: str, expected: object) -> None:
    """Macros bind their variable, nest, shadow, go through keys of maps, and absorb errors as && and || do."""
    assert evaluate(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("false && input.x", False),
        ("input.x && false", False),
        ("true || input.x", True),
        ("input.x || true", True),
        ("1 || true", True),
        ("1 && false", False),
        ("input.x || input.y || true", True),
        ("input.x && input.y && true && false", False),
        ("has(input.x) && input.x > 1", False),
        ("has(input.n) ? input.n : 0", 3),
        ("has(input.nothing)", True),
    ],
)
def test_errors_are_absorbed_from_both_sides(source: str, expected: object) -> None:
    """An error beside an operand that decides alone does not matter."""
    assert evaluate(source) is expected or evaluate(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("input.x", "missing_value"),
        ("item.x", "missing_value"),
        ("input.x.y || false", "missing_value"),
        ("input.list.map(x, x.y)", "no_such_overload"),
        ("input.map['x' + 'y']", "missing_value"),
        ("has(input.x.y)", "missing_value"),
        ("has(input.n.y)", "no_such_overload"),
        ("has(input.nothing.y)", "no_such_overload"),
        ("input.n.y", "no_such_overload"),
        ("input.s.y", "no_such_overload"),
        ("input.list.y", "no_such_overload"),
        ("input.list[3]", "invalid_argument"),
        ("input.list[-1]", "invalid_argument"),
        ("input.list[0.5]", "invalid_argument"),
        ("input.list['0']", "no_such_overload"),
        ("input.s[0]", "no_such_overload"),
        ("input.s + 1", "no_such_overload"),
        ("1 + 1.0", "no_such_overload"),
        ("1 + 1u", "no_such_overload"),
        ("true + true", "no_such_overload"),
        ("1.5 % 1.0", "no_such_overload"),
        ("-(1u)", "no_such_overload"),
        ("-'a'", "no_such_overload"),
        ("!1", "no_such_overload"),
        ("1 ? 2 : 3", "no_such_overload"),
        ("input.nothing ? 2 : 3", "no_such_overload"),
        ("1 && true", "no_such_overload"),
        ("1 || false", "no_such_overload"),
        ("'a' < 1", "no_such_overload"),
        ("null < null", "no_such_overload"),
        ("[1] < [2]", "no_such_overload"),
        ("true < 1", "no_such_overload"),
        ("1 in 'a'", "no_such_overload"),
        ("null in {}", "no_such_overload"),
        ("[] in input.map", "no_such_overload"),
        ("[1].filter(x, x)", "no_such_overload"),
        ("[true, 1].all(x, x)", "no_such_overload"),
        ("1.map(x, x)", "no_such_overload"),
        ("9223372036854775807 + 1", "overflow"),
        ("-9223372036854775808 - 1", "overflow"),
        ("9223372036854775807 * 2", "overflow"),
        ("-9223372036854775808 / -1", "overflow"),
        ("-9223372036854775808 % -1", "overflow"),
        ("-(-9223372036854775808)", "overflow"),
        ("0u - 1u", "overflow"),
        ("18446744073709551615u + 1u", "overflow"),
        ("1 / 0", "divide_by_zero"),
        ("1u % 0u", "divide_by_zero"),
        ("{'a': 1, 'a': 2}", "invalid_argument"),
        ("{1: 1, 1u: 2}", "invalid_argument"),
        ("{1: 1, '1': 2}", "invalid_argument"),
        ("{1.5: 1}", "no_such_overload"),
        ("{null: 1}", "no_such_overload"),
        ("1.0 / 0.0", "invalid_argument"),
        ("[0.0 / 0.0]", "invalid_argument"),
    ],
)
def test_errors_have_codes(source: str, expected: str) -> None:
    """What has no value ends with a coded error that names the expression."""
    if source == "1.map(x, x)":
        source = "(1).map(x, x)"
    assert code(source) == expected


def test_results_are_json() -> None:
    """Values that JSON does not have become text or numbers on the way out."""
    source = "[1u, b'hi', timestamp('2020-01-02T03:04:05.6Z'), duration('3.5s'), int, {'d': duration('-1ms')}]"
    assert evaluate(source) == [1, "aGk=", "2020-01-02T03:04:05.6Z", "3.5s", "int", {"d": "-0.001s"}]
    assert type(evaluate("1u")) is int
    assert type(evaluate("[1, 2].filter(x, true)")) is list
    assert type(evaluate("{'a': {'b': 1}}")["a"]) is dict


@pytest.mark.parametrize("name", ["class", "lambda", "__class__"])
def test_python_words_are_plain_keys(name: str) -> None:
    """A field called like a Python word or attribute is a key of JSON, in every lane."""
    held = CONTEXT["output"]
    assert isinstance(held, dict)
    assert evaluate(f"output.{name}") == held[name]
    assert evaluate(f"[output].map(x, x.{name})") == [held[name]]
    assert evaluate(f"has(output.{name})") is True


@pytest.mark.parametrize(
    "source", ["input.s.__class__", "input.list.append", "(1).__class__", "input.__dict__", "type(1).name"]
)
def test_python_attributes_are_out_of_reach(source: str) -> None:
    """No name in an expression reaches an attribute of a Python object."""
    assert code(source) in {"missing_value", "no_such_overload"}


def test_conditions_are_bools() -> None:
    """A condition that gives something else is an error, never truthy."""
    assert compile_expression("output.score == 1", roots=ROOTS).test(CONTEXT) is True
    with pytest.raises(EvaluationError) as caught:
        compile_expression("output.score", roots=ROOTS).test(CONTEXT)
    assert caught.value.code == "not_a_bool"
    assert "int" in caught.value.message


def test_integers_beyond_64_bits_pass_through_but_do_not_compute() -> None:
    """A larger JSON integer is kept and compared as it is; arithmetic on it overflows."""
    big = {"n": 2**70}
    assert evaluate("input.n", input=big) == 2**70
    assert evaluate("input.n > 1.0", input=big) is True
    with pytest.raises(EvaluationError, match="out of range"):
        evaluate("input.n + 0", input=big)
