"""Templates in text and in JSON values."""

from __future__ import annotations

import pytest

from courante.compiler.cel import EvaluationError, ExpressionError
from courante.compiler.templates import MAX_RENDERED, compile_template, compile_value

ROOTS = frozenset({"input", "steps"})
CONTEXT: dict[str, object] = {
    "input": {
        "n": 1,
        "d": 1.5,
        "s": "text",
        "t": True,
        "none": None,
        "list": [1, {"a": None}],
        "braces": "{{ input.n }}",
        "half": "\ud800",
    }
}


def render(text: str) -> object:
    return compile_template(text, roots=ROOTS).render(CONTEXT)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("{{ input.n }}", 1),
        ("{{input.d}}", 1.5),
        ("{{ input.t }}", True),
        ("{{ input.none }}", None),
        ("{{ input.list }}", [1, {"a": None}]),
        ("{{ input.s }}", "text"),
        (" {{ input.n }}", " 1"),
        ("{{ input.n }}{{ input.d }}", "11.5"),
        ("a {{ input.s }} b {{ input.t }}", "a text b true"),
        ("none: {{ input.none }}", "none: null"),
        ("list: {{ input.list }}", 'list: [1,{"a":null}]'),
        ("{{ input.n + 1 }}!", "2!"),
        ("{{ '{{' }}", "{{"),
        ("{{ '{{' }} a {{ \"}}\" }}", "{{ a }}"),
        ("{{ '}}' + r'\\' + '''}}''' }}", "}}\\}}"),
        ("{{ {'a': {'b': 1}} }}", {"a": {"b": 1}}),
        ("{{ {'a': {'b': 1}}}}.", '{"a":{"b":1}}.'),
        ("{{{'a': 1}}}", {"a": 1}),
        ("{{ input.braces }}", "{{ input.n }}"),
        ("<{{ input.braces }}>", "<{{ input.n }}>"),
        ("{{\n  input.n // one\n}}", 1),
        ("{{ timestamp(0) }} {{ duration('90s') }}", "1970-01-01T00:00:00Z 90s"),
        ("\u00e9 {{ input.s }} \U0001f600", "\u00e9 text \U0001f600"),
    ],
)
def test_render(text: str, expected: object) -> None:
    """One expression alone keeps its type; beside text it becomes text; nothing is expanded twice."""
    result = render(text)
    assert (result, type(result)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("text", "code", "offset"),
    [
        ("{{", "expression_syntax", 0),
        ("ab {{ input.n", "expression_syntax", 3),
        ("ab {{ input.n }", "expression_syntax", 14),
        ("ab {{ 'input.n }}", "expression_syntax", 6),
        ("ab {{ (input.n }}", "expression_syntax", 15),
        ("ab {{ }}", "expression_syntax", 5),
        ("ab {{ input.n }} {{ 1 + }}", "expression_syntax", 24),
        ("ab {{ inptu.n }}", "expression_unknown_name", 6),
        ("ab {{ input.n // }}", "expression_syntax", 3),
        ("{{ " + "(" * 3_000 + " }}", "expression_too_deep", 67),
        ("{{ '" + "a" * 9_000 + "' }}", "expression_too_long", 2),
    ],
)
def test_refused(text: str, code: str, offset: int) -> None:
    """A template that does not compile says where in the text."""
    with pytest.raises(ExpressionError) as caught:
        compile_template(text, roots=ROOTS)
    assert (caught.value.code, caught.value.offset) == (code, offset)


def test_missing_values_are_errors() -> None:
    """What is missing is never rendered as nothing."""
    with pytest.raises(EvaluationError) as caught:
        render("to {{ input.nobody }}")
    assert (caught.value.code, caught.value.message) == ("missing_value", "input.nobody is missing: 'nobody'")


@pytest.mark.parametrize("text", ["{{ input.half }}", "a {{ input.half }}", "a {{ [input.half] }}"])
def test_rendered_text_is_unicode(text: str) -> None:
    """Half of a surrogate pair never gets into a text."""
    with pytest.raises(EvaluationError) as caught:
        render(text)
    assert caught.value.code == "invalid_argument"


def test_rendered_text_is_bounded() -> None:
    """A text that would become too long is an error before it is made."""
    template = compile_template("{{ input.s }}" * 20, roots=ROOTS)
    with pytest.raises(EvaluationError) as caught:
        template.render({"input": {"s": "a" * (MAX_RENDERED // 10)}})
    assert caught.value.code == "too_large"


def test_references_of_a_template() -> None:
    """References of all expressions, each once, in order."""
    template = compile_template("{{ steps.b.output }} {{ steps.a.output + input.n }} {{ steps.b.output }}", roots=ROOTS)
    assert [reference.path for reference in template.references] == [
        ("steps", "b", "output"),
        ("steps", "a", "output"),
        ("input", "n"),
    ]
    assert not template.is_constant
    assert compile_template("x", roots=ROOTS).is_constant


def test_values_are_walked() -> None:
    """Every string of a JSON value is a template; keys are not; constants stay as they are."""
    document = {
        "url": "https://example.test/{{ input.s }}",
        "deep": [{"n": "{{ input.n }}"}, "plain", 2, None],
        "{{ input.s }}": "{{ input.list }}",
        "constant": {"a": [1.5, True]},
    }
    value = compile_value(document, roots=ROOTS)
    assert not value.is_constant
    assert [reference.path for reference in value.references] == [("input", "s"), ("input", "n"), ("input", "list")]
    rendered = value.render(CONTEXT)
    assert rendered == {
        "url": "https://example.test/text",
        "deep": [{"n": 1}, "plain", 2, None],
        "{{ input.s }}": [1, {"a": None}],
        "constant": {"a": [1.5, True]},
    }
    assert list(rendered) == list(document)
    assert document["url"] == "https://example.test/{{ input.s }}"


def test_constant_values() -> None:
    """A value without templates is constant and is rendered as itself."""
    document = {"a": [1, "x", None]}
    value = compile_value(document, roots=ROOTS)
    assert value.is_constant
    assert value.references == ()
    assert value.render({}) is document
    assert not compile_value("{{ 1 + 1 }}", roots=ROOTS).is_constant


def test_errors_of_a_value_have_paths() -> None:
    """All errors of a value can be had at once, each with its path; otherwise the first is raised."""
    document = {"a": "{{", "b": [1, "{{ inptu }}"], "c": "{{ input.n }}"}
    errors: list[ExpressionError] = []
    value = compile_value(document, roots=ROOTS, errors=errors)
    assert [(error.path, error.code) for error in errors] == [
        (("a",), "expression_syntax"),
        (("b", 1), "expression_unknown_name"),
    ]
    assert value.render(CONTEXT) == {"a": "{{", "b": [1, "{{ inptu }}"], "c": 1}
    with pytest.raises(ExpressionError) as caught:
        compile_value(document, roots=ROOTS)
    assert caught.value.path == ("a",)


def test_values_nested_too_deep_are_refused() -> None:
    """A value is walked to a fixed depth, never to Python's limit."""
    document: object = "{{ input.n }}"
    for _ in range(5_000):
        document = [document]
    with pytest.raises(ExpressionError) as caught:
        compile_value(document, roots=ROOTS)
    assert caught.value.code == "expression_too_deep"
