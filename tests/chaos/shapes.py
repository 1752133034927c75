"""The workflows of the scenarios: one for each way that tokens can go, and a seeded choice of them.

All of them come to the same end whatever the order of events is, so that a calm run says what a disturbed one must
come to.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from courante.compiler.source import load_source

TEST_DATA = Path(__file__).resolve().parents[2] / "test_data"
VARIANTS = 3
"""Inputs per shape."""


@dataclass(frozen=True)
class Order:
    """A run that is wanted. ``kind``: names shape and input; runs of one kind come to the same end.

    ``said``: what is asked of it once it is acknowledged: ``approve <step>``, ``signal <name>`` or ``cancel``.
    """

    workflow: str
    input: Any
    kind: str
    key: str
    said: tuple[str, ...] = ()


def step(node: str, after: str | list[str] | None = None, **fields: Any) -> dict[str, Any]:
    """A node that calls ``chaos.work``, or what ``handler`` says, with how long it takes."""
    handler = fields.pop("handler", "chaos.work")
    made: dict[str, Any] = {"id": node, "type": "function", "config": {"handler": handler}}
    if after is not None:
        made["depends_on"] = after
    source = "input.n" if after is None or isinstance(after, list) else f"steps[{after!r}].output"
    made["input"] = {"ms": "input.ms", "from": source, "at": repr(node)}
    return made | fields


def document(id: str, *nodes: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"courante": 1, "id": id, "nodes": list(nodes), **fields}


ITEM = {"ms": "input.ms", "from": "item"}
"""The input of a step that works on an item of a map."""
SHAPES: dict[str, dict[str, Any]] = {
    "chain": document("chain", step("a"), step("b", "a"), step("c", "b", handler="chaos.thread"), step("d", "c")),
    "fan": document(
        "fan", step("a"), step("b", "a"), step("c", "a"), step("d", "a"), step("e", ["b", "c", "d"], input="inputs")
    ),
    "choice": document(
        "choice",
        step("a"),
        {
            "id": "which",
            "type": "conditional",
            "depends_on": "a",
            "config": {"rules": [{"when": "input.n % 2 == 0", "next": ["even"]}], "default": ["odd"]},
        },
        step("even", "which"),
        step("odd", "which"),
        step("other", "a"),
        step("z", ["even", "odd", "other"], join="all"),
    ),
    "loop": document(
        "loop",
        step("a"),
        step("body", "a", input={"ms": "input.ms", "i": "loop.iteration"}),
        step("again", "body", loop={"while": "loop.iteration < 3", "back_to": "body", "max_iterations": 5}),
        step("z", "again"),
    ),
    "waiting": document(
        "waiting",
        step("a"),
        {"id": "pause", "type": "wait", "depends_on": "a", "config": {"for": "80ms"}},
        step("b", "pause"),
    ),
    "mended": document(
        "mended",
        step("a"),
        step("bad", "a", handler="chaos.fatal", on_error="mend", retry={"max_attempts": 1}),
        step("never", "bad"),
        step("mend", input={"ms": "input.ms"}),
    ),
    "failing": document(
        "failing",
        step("a"),
        step("bad", "a", handler="chaos.fatal", retry={"max_attempts": 1}),
        step("b", "a"),
        step("z", ["bad", "b"]),
        policy={"on_failure": "continue"},
    ),
    "retried": document(
        "retried",
        step("a"),
        step(
            "b",
            "a",
            handler="chaos.flaky",
            input={"fails": "input.n"},
            retry={"max_attempts": 4, "base": "20ms", "on": ["error", "network"]},
        ),
        step("c", "b"),
    ),
    "undone": document(
        "undone",
        step("a", compensate="undo_a"),
        step("b", "a", compensate="undo_b"),
        step("bad", "b", handler="chaos.fatal"),
        step("undo_a", input={"ms": "input.ms"}),
        step("undo_b", input={"ms": "input.ms"}),
    ),
    "alone": document(
        "alone", step("a"), *(step(f"m{i}", "a", mutex="one") for i in range(3)), step("z", ["m0", "m1", "m2"])
    ),
    "narrow": document(
        "narrow",
        step("a"),
        *(step(f"n{i}", "a") for i in range(5)),
        step("z", [f"n{i}" for i in range(5)], input={"n": "size(inputs)"}),
        policy={"max_parallel": 2},
    ),
    "asked": document(
        "asked",
        step("a"),
        {"id": "ask", "type": "approval", "depends_on": "a", "config": {"form": {"type": "object"}}},
        {"id": "hear", "type": "signal", "depends_on": "ask", "config": {"name": "go"}},
        step("z", "hear", input={"ms": "input.ms"}),
    ),
    "mapped": document(
        "mapped",
        step("a"),
        {"id": "m", "type": "map", "depends_on": "a", "config": {"items": "[1, 2, 3, 4, 5]", "max_concurrency": 2}},
        step("w", "m", input=ITEM),
        {"id": "inner", "type": "map", "depends_on": "w", "config": {"items": "[1, 2]"}},
        step("v", "inner", input=ITEM),
        {"id": "few", "type": "aggregate", "depends_on": "v", "config": {"reduce": "acc + 1", "initial": 0}},
        step("x", "m", handler="chaos.flaky", input={"fails": "item == 2 ? 9 : 0"}, retry={"max_attempts": 1}),
        {
            "id": "all",
            "type": "aggregate",
            "depends_on": ["few", "x"],
            "config": {"policy": "collect", "reduce": "acc + 1", "initial": 0},
        },
        step("z", "all"),
    ),
    "closed": document(
        "closed",
        step("a"),
        {"id": "m", "type": "map", "depends_on": "a", "config": {"items": "[1, 2, 3, 4]", "max_concurrency": 1}},
        step("x", "m", handler="chaos.flaky", input={"fails": "item == 3 ? 9 : 0"}, retry={"max_attempts": 1}),
        {"id": "hold", "type": "wait", "depends_on": "m", "when": "item == 3", "config": {"for": "1h"}},
        {
            "id": "all",
            "type": "aggregate",
            "depends_on": ["x", "hold"],
            "config": {"policy": "fail_fast"},
            "on_error": "mend",
        },
        step("mend", input={"ms": "input.ms"}),
    ),
    "wide": document(
        "wide",
        step("a"),
        *(step(f"w{i}", "a") for i in range(12)),
        step("z", [f"w{i}" for i in range(12)], input={"n": "size(inputs)"}),
    ),
}


def _expected(name: str) -> str:
    return (TEST_DATA / f"{name}.expected.json").read_text("utf-8")


SAID = {"asked": ("signal go", "approve ask")}
"""What the shapes need from outside; it may come early."""
SAMPLES: dict[str, tuple[dict[str, Any], Any]] = {
    id: (load_source((TEST_DATA / f"{name}.yaml").read_bytes()).value, json.loads(_expected(name))["input"])
    for id, name in (
        ("nested-loop", "nested_loop"),
        ("branch-into-join", "branch_into_join"),
        ("triple-fan-in", "triple_fan_in"),
    )
}
"""Documents of test_data, which need no handler, with their input."""


def documents() -> list[dict[str, Any]]:
    """Everything that a scenario may order."""
    return [*SHAPES.values(), *(made for made, _ in SAMPLES.values())]


def order(shape: str, variant: int, key: str) -> Order:
    if shape in SAMPLES:
        return Order(shape, SAMPLES[shape][1], shape, key)
    given = {"n": variant, "ms": (2, 10, 30)[variant % VARIANTS]}
    return Order(shape, given, f"{shape}/{variant}", key, SAID.get(shape, ()))


def kinds() -> list[Order]:
    """Every shape with every input, once."""
    made = [order(shape, variant, f"calm-{shape}-{variant}") for shape in SHAPES for variant in range(VARIANTS)]
    return [*made, *(order(name, 0, f"calm-{name}") for name in SAMPLES)]


def draw_cancelled(seed: int, count: int) -> list[Order]:
    """The same, and every run is cancelled as soon as it is acknowledged: what it comes to is not known before."""
    orders = draw_orders(seed, count)
    return [replace(one, kind="", key=f"cancelled-{one.key}", said=(*one.said, "cancel")) for one in orders]


def draw_orders(seed: int, count: int, shapes: list[str] | None = None) -> list[Order]:
    """A seeded choice of shapes and inputs; the same seed is the same choice."""
    chance = random.Random(seed)
    names = shapes or sorted([*SHAPES, *SAMPLES])
    return [order(chance.choice(names), chance.randrange(VARIANTS), f"{seed}-{i}") for i in range(count)]
