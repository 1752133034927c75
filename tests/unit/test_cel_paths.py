"""Plain paths, what is missing, lazy contexts, and the references of an expression."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping

import pytest

from courante.compiler.cel import EvaluationError, compile_expression

ROOTS = frozenset({"input", "steps", "output", "item"})


class Lazy(Mapping[str, object]):
    """A mapping that is no dict and counts its reads."""

    def __init__(self, held: dict[str, object]) -> None:
        self.reads: list[str] = []
        self._held = held

    def __getitem__(self, key: str) -> object:
        self.reads.append(key)
        return self._held[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._held)

    def __len__(self) -> int:
        return len(self._held)


def references(source: str) -> list[str]:
    return ["/".join(found.path) for found in compile_expression(source, roots=ROOTS).references]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("steps.fetch.output.body", 1),
        ("steps['fetch'].output[\"body\"]", 1),
        ("  steps . fetch . output . body  // read", 1),
        ("(steps.fetch).output['bo' + 'dy']", 1),
        ("steps['a-b'].output", [1]),
        ("steps", {"fetch": {"output": {"body": 1}}, "a-b": {"output": [1]}}),
    ],
)
def test_both_lanes_read_the_same(source: str, expected: object) -> None:
    """A path means the same whether the parser reads it or not."""
    context = {"steps": {"fetch": {"output": {"body": 1}}, "a-b": {"output": [1]}}}
    assert compile_expression(source, roots=ROOTS).evaluate(context) == expected
    assert compile_expression(f"({source}\n)", roots=ROOTS).evaluate(context) == expected


def test_plain_paths_do_not_load_the_parser() -> None:
    """The fast lane imports neither lark nor celpy; the other lane does not import celpy either."""
    script = (
        "import sys; from courante.compiler.cel import compile_expression as c; r = frozenset({'steps'});"
        "c('steps.a[\"b\"].c', roots=r); print('lark' in sys.modules, 're2' in sys.modules);"
        "c('steps.a + 1', roots=r); print('lark' in sys.modules, 'celpy' in sys.modules, 're2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True", "False", "False"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("steps.fetch.output.body", "steps.fetch.output.body is missing: 'body'"),
        ("steps.other.output.body", "steps.other is missing: 'other'"),
        ('steps["a-b"].c', "steps[\"a-b\"] is missing: 'a-b'"),
        ("steps.fetch.output.n.x", "steps.fetch.output.n is int and has no field 'x'"),
        ("steps.fetch.output.none.x", "steps.fetch.output.none is null_type and has no field 'x'"),
        ("item.a", "item is missing: there is no 'item' here"),
        ("[steps.fetch].map(s, s.body)", "s.body is missing: 'body'"),
        ("[steps.fetch].map(s, s.output.body)", "s.output.body is missing: 'body'"),
        ("[steps.fetch][0].output.body", "the value.output.body is missing: 'body'"),
    ],
)
def test_a_missing_value_is_named(source: str, message: str) -> None:
    """The error says which key of which path is not there."""
    with pytest.raises(EvaluationError) as caught:
        compile_expression(source, roots=ROOTS).evaluate({"steps": {"fetch": {"output": {"n": 1, "none": None}}}})
    assert caught.value.message == message


def test_lazy_mappings_are_read_as_maps() -> None:
    """Any Mapping below a root works in paths, has, in, size, comprehensions, comparison and results."""
    lazy = Lazy({"a": Lazy({"output": 1}), "b": {"output": 2}})
    context = {"steps": lazy}

    def evaluate(source: str) -> object:
        return compile_expression(source, roots=ROOTS).evaluate(context)

    assert evaluate("steps.a.output") == 1
    assert lazy.reads == ["a"]
    assert evaluate("has(steps.a) && !has(steps.c) && 'b' in steps && size(steps) == 2") is True
    assert evaluate("steps.map(id, steps[id].output)") == [1, 2]
    assert evaluate("steps == {'a': {'output': 1.0}, 'b': {'output': 2u}}") is True
    assert evaluate("type(steps) == map") is True
    assert evaluate("steps") == {"a": {"output": 1}, "b": {"output": 2}}
    assert type(evaluate("steps.a")) is dict


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("steps.fetch.output.body", ["steps/fetch/output/body"]),
        ("steps['a-b'].output[0].x", ["steps/a-b/output"]),
        ("input.b + input.a + input.b", ["input/b", "input/a"]),
        ("steps[input.name].x", ["steps", "input/name"]),
        ("steps.a.output.items.map(x, x.y + input.z)", ["steps/a/output/items", "input/z"]),
        ("[1].map(input, input.a)", []),
        ("[1].map(input, .input.a)", ["input/a"]),
        ("has(steps.a.output.b) ? steps.a.output.b : 0", ["steps/a/output/b"]),
        ("has(steps[input.n].b)", ["steps", "input/n"]),
        ("has(input[input.n].b)", ["input", "input/n"]),
        ("input.name.size() > 1 || output.ok", ["input/name", "output/ok"]),
        ("1 + 1", []),
        ("steps", ["steps"]),
    ],
)
def test_references(source: str, expected: list[str]) -> None:
    """References are the longest static paths from roots, each once, in the order of the source."""
    assert references(source) == expected


def test_the_context_is_shared_not_copied() -> None:
    """Values of the context are handed on as they are, and the context is never changed."""
    held = {"list": [1, {"a": [2]}]}
    result = compile_expression("[input.list, input.list + [3]]", roots=ROOTS).evaluate({"input": held})
    assert result == [[1, {"a": [2]}], [1, {"a": [2]}, 3]]
    assert result[0] is held["list"]
    assert held == {"list": [1, {"a": [2]}]}
