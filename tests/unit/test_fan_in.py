"""Aggregates of no map: what a parallel fan-in makes of the outputs that arrive, and which shapes are refused."""

from __future__ import annotations

from typing import Any

import pytest

from courante.testing import rehearse
from unit.test_analysis import MAP, check_error, node

GIVES: dict[str, Any] = {"a": {"x": 1, "city": "Rome"}, "b": {"x": 2, "y": 3, "city": "Rome"}, "c": {"city": "Oslo"}}


def echo(id: str, value: Any, *depends_on: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="echo", config={"value": value}, **more)


def fan_in(config: dict[str, Any], gives: dict[str, Any] = GIVES, **more: Any) -> dict[str, Any]:
    ways = [echo(name, value) for name, value in gives.items()]
    return {"courante": 1, "id": "w", "nodes": [*ways, node("all", *gives, type="aggregate", config=config)], **more}


@pytest.mark.parametrize(
    ("config", "output"),
    [
        ({}, GIVES),
        ({"merge": True}, {"x": 2, "y": 3, "city": "Oslo"}),
        ({"group": "item.city"}, {"Rome": [GIVES["a"], GIVES["b"]], "Oslo": [GIVES["c"]]}),
        ({"reduce": "acc + size(item) * index", "initial": 100}, 100 + 3 * 1 + 1 * 2),
        ({"reduce": "acc + size(inputs.b)", "initial": 0}, 9),
    ],
    ids=["collect", "merge", "group", "reduce", "reduce-with-all"],
)
def test_outputs_of_all_predecessors_become_one(config: dict[str, Any], output: Any) -> None:
    """By id, in the declared order; merged, grouped or reduced in that order."""
    assert rehearse(fan_in(config)).require("COMPLETED").output == {"all": output}


def test_what_is_collected_stands_in_the_declared_order() -> None:
    """Not in that of arrival or of names."""
    run = rehearse(fan_in({}, {name: name for name in "cab"})).require("COMPLETED")
    assert list(run.output["all"]) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("config", "output"), [({}, {"a": 1, "c": 3}), ({"reduce": "acc + [index]", "initial": []}, [0, 2])]
)
def test_only_those_that_arrived_live_are_aggregated(config: dict[str, Any], output: Any) -> None:
    """A predecessor that was skipped is not there, and the others keep their places."""
    together = node("all", "a", "b", "c", type="aggregate", config=config)
    nodes = [echo("a", 1), echo("b", 2, when="false"), echo("c", 3), together]
    run = rehearse({"courante": 1, "id": "w", "nodes": nodes}).require("COMPLETED")
    assert run.output == {"all": output}


def test_what_is_no_object_is_not_merged() -> None:
    """The failure names the predecessor."""
    run = rehearse(fan_in({"merge": True}, {"a": {}, "b": [1]})).require("FAILED")
    assert run.error is not None
    assert run.error.type == "RESULT_INVALID"
    assert "'b'" in run.error.message


def test_a_fan_in_behind_a_map_and_in_a_loop() -> None:
    """One aggregate closes the map, the other joins what runs beside it, once in each iteration."""
    nodes = [
        node("h"),
        node("m", "h", type="map", config={"items": "[1, 2]"}),
        node("w", "m"),
        node("g", "w", type="aggregate"),
        node("x", "h", type="transform", config={"expression": "loop.iteration"}),
        node("all", "g", "x", type="aggregate", loop={"while": "output.x < 2", "back_to": "h"}),
    ]
    run = rehearse({"courante": 1, "id": "w", "nodes": nodes}).require("COMPLETED")
    assert run.output == {"all": {"g": [1, 2], "x": 2}}


def test_a_failure_that_nobody_handles_reaches_the_fan_in() -> None:
    """Under 'continue' it dies as any join does, and the run fails."""
    given = fan_in({}, policy={"on_failure": "continue"})
    given["nodes"][0] = node("a", type="function", config={"handler": "x"})
    run = rehearse(given, mocks={"x": ValueError("no")}).require("FAILED")
    assert [step.status for step in run.attempts("all")] == ["SKIPPED"]


@pytest.mark.parametrize(
    ("code", "nodes", "names"),
    [
        ("aggregate_without_map", [node("a"), node("g", "a", type="aggregate")], ("g",)),
        ("aggregate_without_map", [node("g", type="aggregate"), node("a", "g")], ("g",)),
        ("aggregate_without_map",
         [MAP, node("b", "m"), node("g", "b", type="aggregate"), node("k", "g", type="aggregate")], ("k",)),
        ("aggregate_joins", [node("a"), node("b"), node("g", "a", "b", type="aggregate", join="any")], ("g",)),
        ("aggregate_input", [node("a"), node("b"), node("g", "a", "b", type="aggregate", input="input")], ("g",)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_fan_in_that_makes_no_sense_is_refused(
    code: str, nodes: list[dict[str, Any]], names: tuple[str, ...]
) -> None:
    """One way in, a join of its own, an input of its own: each is named."""
    at = next(at for at, each in enumerate(nodes) if each["id"] == names[0])
    place = {"aggregate_joins": ("join",), "aggregate_input": ("input",)}
    check_error(code, nodes, ("nodes", at, *place.get(code, ())), names)
