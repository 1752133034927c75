"""Refused sources, and limits: whatever is written, compiling and evaluating end soon, with a code."""

from __future__ import annotations

import time

import pytest

from courante.compiler.cel import DEFAULT_BUDGET, MAX_SOURCE, EvaluationError, ExpressionError, compile_expression

ROOTS = frozenset({"input", "output", "loop"})
FORTY = "[" + ", ".join(str(number) for number in range(40)) + "]"
DOUBLING = "['aaaaaaaa']" + ".map(x, x + x)" * 60
CPU_SECONDS_MAX = 2.0
"""Of this thread alone, whoever else is at work on the machine; far above what each needs (under 0.3 s here): a bomb
that goes off takes minutes.
"""


def refused(source: str) -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        compile_expression(source, roots=ROOTS)
    return caught.value


@pytest.mark.parametrize(
    ("source", "code", "offset", "hint"),
    [
        ("", "expression_syntax", 0, ""),
        ("  ", "expression_syntax", 0, ""),
        ("// only a comment", "expression_syntax", 17, ""),
        ("1 +", "expression_syntax", 3, ""),
        ("1 2", "expression_syntax", 2, ""),
        ("(1", "expression_syntax", 0, ""),
        ("1)", "expression_syntax", 1, ""),
        ("[1)", "expression_syntax", 2, ""),
        ("[,]", "expression_syntax", 1, ""),
        ("{,}", "expression_syntax", 1, ""),
        ("size(input,)", "expression_syntax", 11, ""),
        ("'abc", "expression_syntax", 0, ""),
        ("1 + 'a\\'", "expression_syntax", 4, ""),
        ("'''abc''", "expression_syntax", 0, ""),
        ("'a\nb'", "expression_syntax", 0, ""),
        ("'a\\qb'", "expression_syntax", 2, "backslash"),
        ("'\\ud800'", "expression_syntax", 1, ""),
        ("b'\\u00e9'", "expression_syntax", 2, ""),
        ("'\ud800'", "expression_syntax", 1, ""),
        ("input and output", "expression_syntax", 6, "&&"),
        ("input or output", "expression_syntax", 6, "||"),
        ("input = 1", "expression_syntax", 6, "=="),
        ("input.`a-b`", "expression_syntax", 6, "x["),
        ("input $ 1", "expression_syntax", 6, ""),
        ("\u00e9", "expression_syntax", 0, ""),
        ("9223372036854775808", "expression_syntax", 0, ""),
        ("-9223372036854775809", "expression_syntax", 0, ""),
        ("18446744073709551616u", "expression_syntax", 0, ""),
        ("-1u", "expression_syntax", 0, ""),
        ("1e999", "expression_syntax", 0, ""),
        ("inptu.a", "expression_unknown_name", 0, "'input'"),
        ("1 + x", "expression_unknown_name", 4, "input"),
        ("[1].map(x, x)[0] + x", "expression_unknown_name", 19, ""),
        ("__import__('os')", "expression_unknown_function", 0, ""),
        ("input.strat()", "expression_unknown_function", 6, ""),
        ("input.startWith('a')", "expression_unknown_function", 6, "'startsWith'"),
        ("map(input, 1)", "expression_unknown_function", 0, "list.map"),
        ("contains('a', 'b')", "expression_bad_call", 0, "x.contains(y)"),
        ("(1).int()", "expression_bad_call", 4, "int(x)"),
        ("size()", "expression_bad_call", 0, "size(x)"),
        ("size(1, 2)", "expression_bad_call", 0, "size(x)"),
        ("input.all(x)", "expression_bad_call", 6, ""),
        ("input.all(1, true)", "expression_bad_call", 6, ""),
        ("input.all(input.x, true)", "expression_bad_call", 6, ""),
        ("input.map(if, 1)", "expression_bad_call", 6, ""),
        ("input.filter(x, true, 1)", "expression_bad_call", 6, ""),
        ("has(input)", "expression_bad_call", 0, ""),
        ("has(input['a'])", "expression_bad_call", 0, ""),
        ("has(input.a, 1)", "expression_bad_call", 0, ""),
        ("input.matches('(')", "expression_bad_regex", 14, ""),
        ("input.matches(1)", "expression_bad_call", 6, ""),
        ("input.matches('" + "a" * 1001 + "')", "expression_bad_regex", 14, ""),
        ("Message{a: 1}", "expression_unsupported", 0, "map"),
    ],
)
def test_refusals_have_code_place_and_hint(source: str, code: str, offset: int, hint: str) -> None:
    """Every refused source says what, where, and where it can, what to write instead."""
    error = refused(source)
    assert (error.code, error.offset) == (code, offset)
    assert hint in error.hint
    assert error.message


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("(" * 3_000 + "1" + ")" * 3_000, "expression_too_deep"),
        ("(" * 65 + "1" + ")" * 65, "expression_too_deep"),
        ("[" * 3_000, "expression_too_deep"),
        ("'" + "a" * 100_000 + "'", "expression_too_long"),
        ("input" + ".a" * 100_000, "expression_too_long"),
        ("!" * 8_000 + "true", "expression_too_deep"),
        ("- " * 4_000 + "input", "expression_too_deep"),
        ("input" + "[0]" * 2_000, "expression_too_deep"),
        ("input" + ".trim()" * 1_000, "expression_too_deep"),
        ("input" + ".a[0]" * 1_000, "expression_too_deep"),
        ("1 < " * 2_000 + "1", "expression_too_deep"),
        ("true ? 1 : " * 700 + "1", "expression_too_deep"),
        ("true ? 1 : " * 64 + "1", "expression_too_deep"),
        ("input.map(x, " * 100 + "1" + ")" * 100, "expression_too_deep"),
        ('"' + "\\n" * 4_000, "expression_syntax"),
        ("'''" + "\\n''" * 2_000, "expression_syntax"),
        ("1" * 8_000, "expression_syntax"),
        ("0x" + "f" * 8_000, "expression_syntax"),
        ("/" * 8_192, "expression_syntax"),
    ],
    ids=lambda value: value[:24],
)
def test_sources_that_would_hurt_are_refused(source: str, code: str) -> None:
    """Depth, length and slow patterns are refused before they can recurse or take time."""
    started = time.thread_time()
    assert refused(source).code == code
    assert time.thread_time() - started < CPU_SECONDS_MAX


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("0" + "+1" * 3_000, 3_000),
        ("1" + "*1" * 3_000, 1),
        ("false" + "||false" * 1_100 + "||true", True),
        ("true" + "&&true" * 1_100, True),
        ("size([" + "1," * 4_000 + "1])", 4_001),
        ("has(input" + ".a" * 4_000 + ") || true", True),
        ("(" * 60 + "1" + ")" * 60, 1),
        ("true ? 1 : " * 50 + "1", 1),
        ("input" + ".map(x, [x])" * 50 + ".size()", 1),
    ],
    ids=lambda value: str(value)[:24],
)
def test_long_and_flat_is_fine(source: str, expected: object) -> None:
    """Long chains and wide lists neither recurse nor fail."""
    assert compile_expression(source, roots=ROOTS).evaluate({"input": [1]}) == expected


@pytest.mark.parametrize(
    "source",
    [
        f"{FORTY}.map(a, {FORTY}.map(b, {FORTY}.map(c, a * b * c)))",
        f"{FORTY}.all(a, {FORTY}.all(b, {FORTY}.all(c, {FORTY}.all(d, true))))",
        f"{FORTY}.exists(a, {FORTY}.exists(b, {FORTY}.exists(c, {FORTY}.exists(d, 1 / 0 == 1)))) || true",
        f"{FORTY}.filter(a, {FORTY}.filter(b, {FORTY}.filter(c, {FORTY}.exists_one(d, true)) == []) == []) == []",
        DOUBLING,
        DOUBLING.replace("x + x", "x.replace('a', 'aa')"),
        DOUBLING.replace("x + x", "[x, x, x].join(x)"),
        "[[1]]" + ".map(x, x + x)" * 60,
        "[[1]]" + ".map(x, [x, x])" * 60,
        "[[1]]" + ".map(x, {'a': x, 'b': x})" * 60,
        "['a']"
        + ".map(x, [x, x])" * 40
        + " == [1]"
        + " || ['a']"
        + ".map(x, [x, x])" * 40
        + " == ['a']"
        + ".map(x, [x, x])" * 40,
        "input.list.all(x, !input.big.matches('b'))",
        "input.texts.all(x, input.texts.all(y, x == y))",
        "input.texts.all(x, x.contains('b') || x.size() > 0 && x < x + 'a')",
        "input.list.all(x, input.list == input.other)",
        "input.list.all(x, !(5 in input.list))",
        "input.list.map(x, 'a'.matches('(a{100}){9}|' + string(x)))",
        "input.texts.map(x, x.split('').join())",
        "[input.big].map(x, x.matches('(?:a?){400}a{400}$'))",
    ],
    ids=lambda source: source[:40],
)
def test_bombs_end_with_the_budget(source: str) -> None:
    """Nested comprehensions, doubling, shared structures and long texts stop with ``budget_exceeded``, soon."""
    context = {
        "input": {
            "big": "a" * 5_000_000 if "input.big" in source else "",
            "texts": ["".join(["a"] * 100_000) for _ in range(200)],
            "list": [0] * 2_000,
            "other": [0] * 2_000,
        }
    }
    expression = compile_expression(source, roots=ROOTS)
    started = time.thread_time()
    with pytest.raises(EvaluationError) as caught:
        expression.evaluate(context)
    assert caught.value.code == "budget_exceeded"
    assert time.thread_time() - started < CPU_SECONDS_MAX


def test_the_budget_is_the_callers() -> None:
    """A larger budget lets a large and honest expression through, a smaller one stops a small one."""
    expression = compile_expression("input.filter(x, x > 1).size()", roots=ROOTS)
    context = {"input": list(range(200_000))}
    with pytest.raises(EvaluationError, match=f"more than {DEFAULT_BUDGET:,} steps"):
        expression.evaluate(context)
    assert expression.evaluate(context, budget=10_000_000) == 199_998
    with pytest.raises(EvaluationError, match="more than 10 steps"):
        expression.evaluate({"input": [1, 2, 3, 4]}, budget=10)


def test_nothing_absorbs_a_spent_budget() -> None:
    """``||`` and ``exists`` absorb errors, but not the end of the budget."""
    for source in ("input.all(x, x > 0) || true", "[1].exists(y, input.all(x, x > 0)) || true"):
        with pytest.raises(EvaluationError) as caught:
            compile_expression(source, roots=ROOTS).evaluate({"input": [1] * 1_000}, budget=500)
        assert caught.value.code == "budget_exceeded"


def test_values_nested_too_deep_are_an_error() -> None:
    """Comparing values that are deeper than Python can follow is a coded error."""
    one: list[object] = []
    two: list[object] = []
    for _ in range(5_000):
        one, two = [one], [two]
    with pytest.raises(EvaluationError) as caught:
        compile_expression("input.a == input.b", roots=ROOTS).evaluate({"input": {"a": one, "b": two}})
    assert caught.value.code == "too_deep"


def test_the_longest_source_compiles() -> None:
    """The limit itself is allowed, one more is not."""
    source = "'" + "a" * (MAX_SOURCE - 2) + "'"
    assert compile_expression(source, roots=ROOTS).evaluate({}) == source[1:-1]
    assert refused(source + " ").code == "expression_too_long"


def test_reserved_words_of_the_standard_can_be_roots() -> None:
    """``loop`` is reserved in the standard and a root here."""
    assert compile_expression("loop.iteration + 1", roots=ROOTS).evaluate({"loop": {"iteration": 1}}) == 2
