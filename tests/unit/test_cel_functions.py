"""Functions: strings, conversions, regular expressions, timestamps and durations."""

from __future__ import annotations

import pytest

from courante.compiler.cel import EvaluationError, compile_expression

ROOTS = frozenset({"input"})


def evaluate(source: str) -> object:
    return compile_expression(source, roots=ROOTS).evaluate({"input": {"re": "a+b", "bad": "("}})


@pytest.mark.parametrize(
    "source",
    [
        "size('\u00e9\U0001f600') == 2 && size(b'\u00e9') == 2 && size([1]) == 1 && {'a': 1}.size() == 1",
        "'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo') && !'a'.contains('b')",
        "'\u00c9Ab'.lowerAscii() == '\u00c9ab' && '\u00e9aB'.upperAscii() == '\u00e9AB'",
        "' \\t a b\\n'.trim() == 'a b'",
        "'a,b,c'.split(',') == ['a', 'b', 'c'] && 'a,b,c'.split(',', 2) == ['a', 'b,c']",
        "'a,b'.split(',', 0) == [] && 'a,b'.split(',', 1) == ['a,b'] && 'a,b'.split(',', 9) == ['a', 'b']",
        "'abc'.split('') == ['a', 'b', 'c'] && 'abc'.split('', 2) == ['a', 'bc'] && ''.split(',') == ['']",
        "['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b' && [].join('-') == ''",
        "'aaa'.replace('a', 'b') == 'bbb' && 'aaa'.replace('a', 'b', 2) == 'bba' && 'aa'.replace('a', '', 0) == 'aa'",
        "'ab'.replace('', '-') == '-a-b-'",
        "'abc'.substring(1) == 'bc' && 'abc'.substring(1, 2) == 'b' && 'abc'.substring(3) == ''",
        "'abc'.charAt(1) == 'b' && 'abc'.charAt(3) == ''",
        "'abcabc'.indexOf('c') == 2 && 'abcabc'.indexOf('c', 3) == 5 && 'abc'.indexOf('x') == -1",
        "'abcabc'.lastIndexOf('c') == 5 && 'abcabc'.lastIndexOf('c', 4) == 2 && 'abcabc'.lastIndexOf('c', 5) == 5",
        "'xaab'.matches(input.re) && matches('ab', 'a.') && !'b'.matches('^a') && 'a\u00e9'.matches('^.\\\\pL$')",
        "int('-12') == -12 && int(1.9) == 1 && int(-1.9) == -1 && int(3u) == 3 && int(timestamp(5)) == 5",
        "uint('7') == 7u && uint(1.5) == 1u && double('1.5e2') == 150.0 && double(3) == 3.0 && double('inf') > 1.0",
        "string(1) == '1' && string(1u) == '1' && string(true) == 'true' && string('x') == 'x' && string(b'x') == 'x'",
        "string(1.0) == '1' && string(0.1) == '0.1' && string(-0.0) == '-0' && string(1.0 / 0.0) == '+Inf'",
        "bool('true') && bool('T') && !bool('0') && bool(true)",
        "bytes('\u00e9') == b'\\xc3\\xa9' && bytes(b'a') == b'a'",
        "dyn(1) == 1",
    ],
)
def test_functions(source: str) -> None:
    """Each function gives what its definition says."""
    assert evaluate(source) is True


@pytest.mark.parametrize(
    "source",
    [
        "timestamp('2020-02-29T23:30:00Z').getFullYear() == 2020",
        "timestamp('2020-02-29T23:30:00Z').getMonth() == 1 && timestamp('2020-02-29T23:30:00Z').getDate() == 29",
        "timestamp('2020-02-29T23:30:00Z').getDayOfMonth() == 28",
        "timestamp('2020-02-29T00:00:00Z').getDayOfWeek() == 6",
        "timestamp('2020-03-01T00:00:00Z').getDayOfYear() == 60",
        "timestamp('2020-02-29T23:30:00Z').getHours('+01:00') == 0",
        "timestamp('2020-02-29T23:30:00Z').getMonth('01:00') == 2 && timestamp(0).getHours('-02:30') == 21",
        "timestamp('2020-01-01T01:02:03.456Z').getMilliseconds() == 456 && timestamp(0).getMinutes('UTC') == 0",
        "timestamp('2020-01-01T00:00:00+02:00') == timestamp('2019-12-31T22:00:00Z')",
        "timestamp('2020-01-01T00:00:00Z') + duration('1h30m') == timestamp('2020-01-01T01:30:00Z')",
        "timestamp('2020-01-01T00:00:00Z') - duration('1s') < timestamp('2020-01-01T00:00:00Z')",
        "timestamp(10) - timestamp(5) == duration('5s') && duration('1s') + duration('1ms') == duration('1.001s')",
        "duration('1h') - duration('1m') == duration('59m') && duration('-1.5h') == duration('-90m')",
        "duration('3730s').getHours() == 1 && duration('3730s').getMinutes() == 62",
        "duration('-1.5s').getMilliseconds() == -500 && duration('-90s').getMinutes() == -1",
        "duration('1ns') > duration('0') && duration('1us') == duration('1000ns')",
        "duration('1\u00b5s') == duration('1us')",
        "string(timestamp('2020-01-01T00:00:00.000000001Z')) == '2020-01-01T00:00:00.000000001Z'",
        "string(duration('1m0.5s')) == '60.5s' && string(timestamp(-1)) == '1969-12-31T23:59:59Z'",
        "int(timestamp('1969-12-31T23:59:59.5Z')) == -1",
    ],
)
def test_times(source: str) -> None:
    """Timestamps and durations parse, compute, compare and take apart to the nanosecond."""
    assert evaluate(source) is True


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("size(1)", "no_such_overload"),
        ("'a'.contains(1)", "no_such_overload"),
        ("(1).startsWith('a')", "no_such_overload"),
        ("['a', 1].join()", "no_such_overload"),
        ("'a'.split(',', 1.0)", "no_such_overload"),
        ("'abc'.substring(2, 1)", "invalid_argument"),
        ("'abc'.substring(-1)", "invalid_argument"),
        ("'abc'.substring(4)", "invalid_argument"),
        ("(1).substring(0)", "no_such_overload"),
        ("'abc'.charAt(4)", "invalid_argument"),
        ("'abc'.indexOf('a', 4)", "invalid_argument"),
        ("'abc'.lastIndexOf('a', -1)", "invalid_argument"),
        ("'x'.matches(input.bad)", "bad_regex"),
        ("'x'.matches('a'.replace('a', '(?=a)'))", "bad_regex"),
        ("(1).matches('a')", "no_such_overload"),
        ("int('1.5')", "invalid_argument"),
        ("int(' 5')", "invalid_argument"),
        ("int('0x10')", "invalid_argument"),
        ("int('\u0661')", "invalid_argument"),
        ("int('9223372036854775808')", "overflow"),
        ("int(9223372036854775807.0)", "overflow"),
        ("int(-9223372036854775808.0)", "overflow"),
        ("int(0.0 / 0.0)", "overflow"),
        ("int(true)", "no_such_overload"),
        ("int(null)", "no_such_overload"),
        ("uint(-1)", "overflow"),
        ("uint(-0.5)", "overflow"),
        ("uint(18446744073709551615.0)", "overflow"),
        ("double('1_0')", "invalid_argument"),
        ("double('')", "invalid_argument"),
        ("double(true)", "no_such_overload"),
        ("string(null)", "no_such_overload"),
        ("string([1])", "no_such_overload"),
        ("string(b'\\xff')", "invalid_argument"),
        ("bool('yes')", "invalid_argument"),
        ("bool(1)", "no_such_overload"),
        ("bytes(1)", "no_such_overload"),
        ("timestamp('2020-13-01T00:00:00Z')", "invalid_argument"),
        ("timestamp('2020-02-30T00:00:00Z')", "invalid_argument"),
        ("timestamp('2020-01-01T24:00:00Z')", "invalid_argument"),
        ("timestamp('2020-01-01')", "invalid_argument"),
        ("timestamp(253402300800)", "overflow"),
        ("timestamp(1.5)", "no_such_overload"),
        ("timestamp('9999-12-31T23:59:59Z') + duration('1s')", "overflow"),
        ("timestamp(0) + 1", "no_such_overload"),
        ("timestamp(0) < duration('1s')", "no_such_overload"),
        ("timestamp('9999-12-31T23:59:59Z').getFullYear('+01:00')", "overflow"),
        ("timestamp(0).getHours('Europe/Paris')", "invalid_argument"),
        ("timestamp(0).getHours(1)", "no_such_overload"),
        ("duration('1s').getFullYear()", "no_such_overload"),
        ("duration('1d')", "invalid_argument"),
        ("duration('1')", "invalid_argument"),
        ("duration('')", "invalid_argument"),
        ("duration('-')", "invalid_argument"),
        ("duration(5)", "no_such_overload"),
        ("duration('99999999999999999h')", "overflow"),
    ],
)
def test_wrong_arguments(source: str, code: str) -> None:
    """A wrong type and a wrong value are coded errors, never a Python exception."""
    with pytest.raises(EvaluationError) as caught:
        evaluate(source)
    assert caught.value.code == code


def test_text_that_is_not_unicode_is_refused() -> None:
    """Half of a surrogate pair, which JSON may carry, is an error where bytes are needed."""
    for source in ("bytes(input.s)", "input.s.matches('a')", "'a'.matches(input.s)"):
        with pytest.raises(EvaluationError):
            compile_expression(source, roots=ROOTS).evaluate({"input": {"s": "\ud800"}})
