"""The analysis: every diagnostic it can give, each with a document, its place and the nodes it names."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from courante.compiler import analysis
from courante.compiler.analysis import build, compile_workflow
from courante.compiler.diagnostics import Diagnostic, Severity, has_errors
from courante.compiler.normalize import normalize
from courante.compiler.workflow import Loop, Workflow

DIAGNOSTICS = Path(analysis.__file__).resolve().parents[2] / "docs" / "reference" / "diagnostics.md"
AGAIN = {"while": "false", "back_to": "h"}


def node(id: str, *depends_on: str, type: str = "noop", **more: Any) -> dict[str, Any]:
    return {"id": id, "type": type, **({"depends_on": list(depends_on)} if depends_on else {}), **more}


def gives(expression: Any, *depends_on: str, id: str = "x", **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="transform", config={"expression": expression}, **more)


def read(nodes: list[dict[str, Any]], **more: Any) -> Workflow:
    workflow, diagnostics = normalize({"courante": 1, "id": "w", "nodes": nodes, **more})
    assert workflow is not None, diagnostics
    return workflow


def analyse(nodes: list[dict[str, Any]], **more: Any) -> list[Diagnostic]:
    ir, diagnostics = compile_workflow(read(nodes, **more))
    assert (ir is None) == has_errors(diagnostics)
    return diagnostics


def test_an_edge_into_a_map_bears_no_condition() -> None:
    """It would be asked once; what is meant is asked for each item, at the node."""
    edges = [{"from": "m", "to": "b", "when": "output.size() > 1"}]
    (found,) = analyse([MAP, node("b"), node("g", "b", type="aggregate")], edges=edges)
    assert (found.code, found.path) == ("map_edge_when", ("nodes", 0))
    assert "'m'" in found.message
    assert "'b'" in found.hint


def check_error(code: str, nodes: list[dict[str, Any]], path: tuple[str | int, ...], names: tuple[str, ...]) -> None:
    """The document has exactly one finding of the code, an error, at that path, which names all of ``names``."""
    found = [one for one in analyse(nodes) if one.code == code]
    assert len(found) == 1, [one.code for one in analyse(nodes)]
    assert found[0].severity is Severity.ERROR
    assert found[0].path == path
    for name in names:
        assert name in found[0].message


MAP = node("m", type="map", config={"items": "[1]"})


def loops(depth: int) -> list[dict[str, Any]]:
    """So many loops inside each other."""
    heads = [node(f"h{i}", *([f"h{i - 1}"] if i else [])) for i in range(depth)]
    ends = [node(f"l{i}", f"l{i - 1}" if i else f"h{depth - 1}") for i in range(depth)]
    for i, end in enumerate(ends):
        end["loop"] = {"while": "false", "back_to": f"h{depth - 1 - i}"}
    return heads + ends


def activations(count: int) -> list[dict[str, Any]]:
    """``each`` joins in a row: the last node may run 4 ** count times."""
    nodes = [node(f"s{i}") for i in range(4)]
    sources = [f"s{i}" for i in range(4)]
    for level in range(count):
        nodes.append(node(f"j{level}", *sources, join="each"))
        sources = [f"p{level}{i}" for i in range(4)]
        nodes += [node(source, f"j{level}") for source in sources]
    return [*nodes, node("end", *sources, join="any")]


def eaches(depth: int) -> list[dict[str, Any]]:
    """So many ``each`` joins inside each other; ``s<depth>`` stands in all of them."""
    nodes = [node("s0"), node("t0")]
    for i in range(depth):
        nodes += [node(f"j{i}", f"s{i}", f"t{i}", join="each"), node(f"s{i + 1}", f"j{i}"), node(f"t{i + 1}", f"j{i}")]
    return nodes


def maps(depth: int) -> list[dict[str, Any]]:
    """So many maps inside each other."""
    heads = [{**MAP, "id": f"m{i}", **({"depends_on": [f"m{i - 1}"]} if i else {})} for i in range(depth)]
    ends = (node(f"g{i}", f"g{i - 1}", type="aggregate") for i in range(depth))
    return [*heads, node("g-1", f"m{depth - 1}"), *ends]


ERRORS: list[tuple[str, list[dict[str, Any]], tuple[str | int, ...], tuple[str, ...]]] = [
    ("model_missing", [node("a", type="llm")], ("nodes", 0, "config"), ("model",)),
    ("model_missing", [node("a", type="agent")], ("nodes", 0, "config"), ("model",)),
    (
        "provider_unknown",
        [node("a", type="llm", config={"model": "m", "provider": "mistral"})],
        ("nodes", 0, "config", "provider"),
        ("Unknown provider: 'mistral'",),
    ),
    (
        "field_impossible",
        [node("a", type="llm", config={"model": "gpt-5-pro", "stop": "END"})],
        ("nodes", 0, "config", "stop"),
        ("'gpt-5-pro' is asked by OpenAI's responses, which do not know 'stop'",),
    ),
    (
        "field_impossible",
        [node("a", type="agent", config={"model": "gpt-6.1-sol", "tools": ["look"], "extra": {"seed": 7}})],
        ("nodes", 0, "config", "extra", "seed"),
        ("do not know 'seed'",),
    ),
    (
        "cache_impossible",
        [node("a", type="wait", config={"for": "1s"}, cache="global")],
        ("nodes", 0, "cache"),
        ("wait",),
    ),
    (
        "at_least_out_of_range",
        [node("a"), node("b"), node("c", "a", "b", join={"at_least": 3})],
        ("nodes", 2, "join"),
        ("c", "3", "2"),
    ),
    ("map_routes", [{**MAP, "loop": {"while": "false", "back_to": "m"}}], ("nodes", 0), ("m",)),
    (
        "aggregate_joins",
        [MAP, node("b", "m"), node("g", "b", type="aggregate", join="any")],
        ("nodes", 2, "join"),
        ("g",),
    ),
    (
        "aggregate_input",
        [MAP, node("b", "m"), node("g", "b", type="aggregate", input="input")],
        ("nodes", 2, "input"),
        ("g",),
    ),
    (
        "aggregate_apart",
        [MAP, node("b", "m"), node("g", "b", type="aggregate"), node("l", "g", loop={**AGAIN, "back_to": "g"})],
        ("nodes", 2),
        ("g", "m"),
    ),
    ("cycle", [node("a", "c"), node("b", "a"), node("c", "b")], ("nodes", 0), ("'a' -> 'b' -> 'c' -> 'a'",)),
    ("no_entry", [node("a", "b"), node("b", "a")], ("nodes",), ()),
    (
        "back_to_no_ancestor",
        [node("h"), node("l", loop=AGAIN)],
        ("nodes", 1, "loop", "back_to"),
        ("l", "h"),
    ),
    (
        "loop_side_entry",
        [node("h"), node("x"), node("l", "h", "x", loop=AGAIN)],
        ("nodes", 2),
        ("x", "l", "h"),
    ),
    (
        "regions_overlap",
        [
            node("h"),
            node("p", "h"),
            node("q", "h"),
            node("k", "p", loop=AGAIN),
            node("l", "q", loop=AGAIN),
        ],
        ("nodes", 4),
        ("k", "l"),
    ),
    ("nested_too_deep", loops(17), ("nodes", 16), ("h16",)),
    (
        "each_region_entered",
        [node("p"), node("q"), node("j", "p", "q", join="each"), node("x"), node("t", "j", "x")],
        ("nodes", 4),
        ("t", "j", "x"),
    ),
    (
        "each_in_region",
        [node("h"), node("p", "h"), node("q", "h"), node("j", "p", "q", join="each"), node("l", "j", loop=AGAIN)],
        ("nodes", 3),
        ("j", "l"),
    ),
    ("map_without_aggregate", [MAP], ("nodes", 0), ("m",)),
    ("map_body_empty", [MAP, node("g", "m", type="aggregate")], ("nodes", 0), ("m",)),
    (
        "map_body_open",
        [MAP, node("b", "m"), node("c", "m"), node("g", "b", type="aggregate")],
        ("nodes", 2),
        ("c", "m"),
    ),
    (
        "map_two_aggregates",
        [MAP, node("b", "m"), node("g", "b", type="aggregate"), node("k", "b", type="aggregate")],
        ("nodes", 3),
        ("m", "g", "k"),
    ),
    (
        "map_side_door",
        [MAP, node("x"), node("b", "m", "x"), node("g", "b", type="aggregate")],
        ("nodes", 2),
        ("b", "m", "x"),
    ),
    ("aggregate_without_map", [node("a"), node("g", "a", type="aggregate")], ("nodes", 1), ("g",)),
    (
        "aggregate_policy",
        [node("a"), node("b"), node("g", "a", "b", type="aggregate", config={"policy": "collect"})],
        ("nodes", 2, "config", "policy"),
        ("g",),
    ),
    ("unknown_name", [gives("steps.nobody.output")], ("nodes", 0, "config", "expression"), ("nobody",)),
    ("unknown_name", [gives("steps.x.outptu")], ("nodes", 0, "config", "expression"), ("outptu",)),
    ("unknown_name", [gives("run.owner")], ("nodes", 0, "config", "expression"), ("run.owner",)),
    ("unknown_name", [gives("loop.count")], ("nodes", 0, "config", "expression"), ("loop.count",)),
    ("step_not_named", [gives("size(steps)")], ("nodes", 0, "config", "expression"), ("steps",)),
    ("no_predecessor", [node("a"), gives("inputs.b", "a")], ("nodes", 1, "config", "expression"), ("b", "x")),
    ("step_cannot_have_run", [node("a"), gives("steps.a.output")], ("nodes", 1, "config", "expression"), ("a", "x")),
    ("step_cannot_have_run", [gives("steps.x.output")], ("nodes", 0, "config", "expression"), ("x",)),
    ("step_cannot_have_run", [node("a", when="steps.b.output"), node("b", "a")], ("nodes", 0, "when"), ("a", "b")),
    (
        "step_cannot_have_run",
        [node("a", rules=[{"when": "steps.a.input == 1", "next": ["b"]}]), node("b")],
        ("nodes", 0, "rules", 0, "when"),
        ("a",),
    ),
    (
        "step_not_visible",
        [MAP, node("b", "m"), node("g", "b", type="aggregate"), gives("steps.b.output", "g")],
        ("nodes", 3, "config", "expression"),
        ("b", "x"),
    ),
    ("too_many_activations", activations(5), ("nodes", 29), ("end", "1024")),
    ("expression_syntax", [gives("1 +")], ("nodes", 0, "config", "expression"), ("1 +",)),
    ("expression_syntax", [node("a", when="(")], ("nodes", 0, "when"), ()),
    ("expression_syntax", [node("a", loop={"while": "(", "back_to": "a"})], ("nodes", 0, "loop", "while"), ()),
    ("expression_unknown_name", [gives("output")], ("nodes", 0, "config", "expression"), ("output",)),
    ("expression_unknown_name", [gives("item")], ("nodes", 0, "config", "expression"), ("item",)),
    ("expression_unknown_function", [node("a", input={"n": "siz(input)"})], ("nodes", 0, "input", "n"), ("siz",)),
    (
        "expression_unknown_function",
        [node("a", rules=[{"when": "f(1)", "next": ["b"]}]), node("b")],
        ("nodes", 0, "rules", 0, "when"),
        ("f",),
    ),
]


@pytest.mark.parametrize(
    ("code", "nodes", "path", "names"), ERRORS, ids=[f"{at}-{e[0]}" for at, e in enumerate(ERRORS)]
)
def test_an_error_names_its_place_and_its_nodes(
    code: str, nodes: list[dict[str, Any]], path: tuple[str | int, ...], names: tuple[str, ...]
) -> None:
    """F70: the document is refused; the finding has its code, the path in the document, and names what is involved."""
    check_error(code, nodes, path, names)


WARNINGS: list[tuple[str, list[dict[str, Any]], tuple[str | int, ...], tuple[str, ...]]] = [
    (
        "join_ambiguous",
        [node("a", rules=[{"when": "true", "next": ["p"]}], default=["q"]), node("x"), node("p", "x"), node("q", "x")],
        ("nodes", 2),
        ("p",),
    ),
    ("join_ambiguous", [node("a"), node("b", when="true"), node("c", "a", "b")], ("nodes", 2), ("c",)),
    ("disconnected", [node("a"), node("b")], ("nodes",), ()),
    (
        "loop_left_by_side",
        [node("h"), node("y", "h"), node("l", "y", loop=AGAIN), node("z", "y", "l")],
        ("nodes", 1),
        ("y", "z", "l"),
    ),
]


@pytest.mark.parametrize(("code", "nodes", "path", "names"), WARNINGS)
def test_a_warning_does_not_refuse(
    code: str, nodes: list[dict[str, Any]], path: tuple[str | int, ...], names: tuple[str, ...]
) -> None:
    """A doubtful shape is compiled, and told."""
    found = [one for one in analyse(nodes) if one.code == code]
    assert found
    assert found[0].severity is Severity.WARNING
    assert found[0].path == path
    for name in names:
        assert name in found[0].message


@pytest.mark.parametrize(
    "nodes",
    [
        [node("a"), node("b", when="true"), node("c", "a", "b", join="all")],
        [node("a", rules=[{"when": "true", "next": ["p"]}], default=["q"]), node("p"), node("q"), node("r", "p", "q")],
        [node("h"), node("y", "h", rules=[{"when": "true", "next": ["l"]}], default=["z"]),
         node("l", loop=AGAIN), node("z", "l", join="any")],
    ],
)  # fmt: skip
def test_what_is_said_is_not_warned_of(nodes: list[dict[str, Any]]) -> None:
    """A written policy, a join of branches of one choice, and a routed way out of a loop are all right."""
    assert analyse(nodes) == []


@pytest.mark.parametrize("nested", [loops, maps, eaches])
def test_what_is_nested_far_too_deep_is_told_once(nested: Callable[[int], list[dict[str, Any]]]) -> None:
    """Everything further inside is too deep as well; and it is not worked out how deep all of it is."""
    assert analyse(nested(16)) == [] or nested is eaches
    assert [one.code for one in analyse(nested(60)) if one.severity is Severity.ERROR] == ["nested_too_deep"]


@pytest.mark.parametrize(("depth", "codes"), [(15, []), (16, ["nested_too_deep"]), (17, ["nested_too_deep"])])
def test_each_joins_count_as_what_a_loop_stands_in(depth: int, codes: list[str]) -> None:
    """Also where nobody asks how often the last nodes may run, for the workflow has an output of its own."""
    nodes = [*eaches(depth), node("l", f"s{depth}", loop={"while": "false", "back_to": "l"})]
    assert [found.code for found in analyse(nodes, output="1")] == codes


def test_every_fault_is_told_at_once() -> None:
    """Independent faults of one document come together."""
    nodes = [
        gives("steps.nobody.output", id="a"),
        gives("1 +", id="b"),
        node("c", "a", "b", join={"at_least": 2}, when="x"),
    ]
    assert {found.code for found in analyse(nodes)} == {"unknown_name", "expression_syntax", "expression_unknown_name"}


def test_an_output_that_reads_nothing_is_refused() -> None:
    """The workflow's own output is checked like any expression."""
    (found,) = analyse([node("a")], output="steps.b.output")
    assert (found.code, found.path) == ("unknown_name", ("output",))
    (found,) = analyse([node("a", compensate="b"), node("b")], output="steps.b.output")
    assert (found.code, found.path) == ("step_cannot_have_run", ("output",))
    (found,) = analyse([node("a")], output="inputs.a")
    assert (found.code, found.path) == ("expression_unknown_name", ("output",))


def test_the_condition_of_an_edge_is_checked() -> None:
    """``when`` of an edge sees the output of its source, and is found where it stands."""
    edges = [{"from": "a", "to": "b", "when": "output.x == steps.b.output"}]
    (found,) = analyse([node("a"), node("b")], edges=edges)
    assert found.code == "step_cannot_have_run"
    assert "b" in found.message


def test_an_expression_that_is_no_text_is_refused() -> None:
    """A front end that lets a number through as an expression does no harm."""
    workflow = read([gives("1")])
    odd = msgspec.structs.replace(workflow.nodes[0], config={"expression": 1})
    _, diagnostics = compile_workflow(msgspec.structs.replace(workflow, nodes=(odd,)))
    assert [found.code for found in diagnostics] == ["expression_type"]


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many nodes or edges are refused before anything is worked out; so is a workflow without nodes."""
    workflow = read([node("a"), node("b", "a"), node("c", "a", "b")])
    monkeypatch.setattr(build, "NODES_MAX", 2)
    monkeypatch.setattr(build, "EDGES_MAX", 2)
    _, diagnostics = compile_workflow(workflow)
    assert [found.code for found in diagnostics] == ["too_many_nodes", "too_many_edges"]
    _, diagnostics = compile_workflow(msgspec.structs.replace(workflow, nodes=(), edges=()))
    assert [found.code for found in diagnostics] == ["no_nodes"]


@pytest.mark.parametrize("count", [0, build.ITERATIONS_MAX + 1])
def test_iterations_are_limited(count: int) -> None:
    """A loop runs at least once and not for ever."""
    workflow = read([node("a", loop={"while": "false", "back_to": "a"})])
    loop = Loop(condition="false", back_to="a", max_iterations=count)
    odd = msgspec.structs.replace(workflow.nodes[0], loop=loop)
    _, diagnostics = compile_workflow(msgspec.structs.replace(workflow, nodes=(odd,)))
    assert [(found.code, found.path) for found in diagnostics] == [
        ("max_iterations_out_of_range", ("nodes", 0, "loop", "max_iterations"))
    ]


def test_the_hint_of_a_wrong_name_is_the_nearest() -> None:
    """The first findings suggest what may have been meant; thousands of them do not take thousands of searches."""
    (found,) = analyse([node("fetch"), gives("steps.fetsh.output", "fetch")])
    assert found.hint == "did you mean 'fetch'?"
    many = analyse([gives(f"steps.nod{at}.output", id=f"node{at}") for at in range(200)])
    assert len([one for one in many if one.code == "unknown_name"]) == 200
    assert 0 < len([one for one in many if one.hint]) <= 20


def test_every_code_is_tested_and_documented() -> None:
    """No diagnostic of the analysis is without a test here and a row in the reference."""
    source = "".join(file.read_text() for file in Path(analysis.__file__).parent.glob("*.py"))
    codes = set(re.findall(r'(?:findings|self\.findings)\.(?:add|conclude|refuse)\(\s*"([a-z_]+)"', source))
    here = "".join(file.read_text() for file in Path(__file__).parent.glob("test_analysis*.py"))
    documented = DIAGNOSTICS.read_text()
    assert len(codes) > 30
    assert [code for code in sorted(codes) if f'"{code}"' not in here] == []
    assert [code for code in sorted(codes) if f"`{code}`" not in documented] == []
