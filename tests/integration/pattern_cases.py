"""The twenty control-flow patterns as golden runs."""

from __future__ import annotations

from integration.cases import Case, chooses, node, says, signal, waits
from integration.floor import Command

PATTERNS = [
    Case(
        name="sequence",
        nodes=[says("a"), says("b", "a"), says("c", "b")],
        completed=["a", "b", "c"],
        before=[("a", "b"), ("b", "c")],
        output={"c": "c"},
    ),
    Case(
        name="parallel-split",
        nodes=[says("a"), says("b", "a"), says("c", "a")],
        completed=["a", "b", "c"],
        before=[("a", "b"), ("a", "c")],
        output={"b": "b", "c": "c"},
    ),
    Case(
        name="synchronization",
        nodes=[says("a"), says("b", "a"), says("c", "a"), node("d", "b", "c", join="every")],
        completed=["a", "b", "c", "d"],
        before=[("b", "d"), ("c", "d")],
        output={"d": {"b": "b", "c": "c"}},
    ),
    Case(
        name="exclusive-choice",
        nodes=[
            chooses("a", rules={"output > 1": ["b"], "output > 0": ["c"]}, default=["d"]),
            says("b"),
            says("c"),
            says("d"),
        ],
        input=1,
        completed=["a", "c"],
        before=[("a", "c")],
        output={"c": "c"},
    ),
    Case(
        name="simple-merge",
        nodes=[
            chooses("a", rules={"output == 1": ["b"]}, default=["c"]),
            says("b"),
            says("c"),
            node("d", "b", "c", join="any"),
        ],
        input=1,
        completed=["a", "b", "d"],
        before=[("a", "b"), ("b", "d")],
        output={"d": {"b": "b"}},
    ),
    Case(
        name="multi-choice",
        nodes=[
            chooses("a", rules={"output > 0": ["b"], "output > 1": ["c"], "output > 2": ["d"]}, mode="all"),
            says("b"),
            says("c"),
            says("d"),
        ],
        input=2,
        completed=["a", "b", "c"],
        before=[("a", "b"), ("a", "c")],
        output={"b": "b", "c": "c"},
    ),
    Case(
        name="structured-synchronizing-merge",
        nodes=[
            chooses("a", rules={"output > 0": ["b"], "output > 1": ["c"], "output > 2": ["d"]}, mode="all"),
            says("b"),
            says("c"),
            says("d"),
            node("e", "b", "c", "d", join="all"),
        ],
        input=2,
        completed=["a", "b", "c", "e"],
        before=[("b", "e"), ("c", "e")],
        output={"e": {"b": "b", "c": "c"}},
    ),
    Case(
        name="multi-merge",
        nodes=[says("a"), says("b", "a"), says("c", "a"), node("d", "b", "c", join="each"), node("e", "d")],
        completed=["a", "b", "c", "d d@0", "d d@1", "e d@0", "e d@1"],
        before=[("b", "d d@0"), ("c", "d d@1"), ("d d@0", "e d@0")],
    ),
    Case(
        name="structured-discriminator",
        nodes=[
            says("a"),
            says("b", "a"),
            node("c", "a", type="sleep", config={"for": "200ms"}),
            node("d", "b", "c", join="any"),
            node("e", "d"),
        ],
        completed=["a", "b", "d", "e", "c"],
        before=[("b", "d"), ("e", "c")],
        output={"e": {"b": "b"}},
    ),
    Case(
        name="arbitrary-cycles",
        nodes=[
            says("a"),
            node("b", "a"),
            node("c", "b", loop={"while": "loop.iteration < 2", "back_to": "b", "max_iterations": 9}),
            node("d", "c", loop={"while": "loop.iteration < 2", "back_to": "a", "max_iterations": 9}),
            node("e", "d"),
        ],
        completed=[
            *(f"{id} d#{outer}" for outer in (1, 2) for id in ("a", "d")),
            *(f"{id} d#{outer}/c#{inner}" for outer in (1, 2) for inner in (1, 2) for id in ("b", "c")),
            "e",
        ],
        before=[("a d#1", "b d#1/c#1"), ("c d#1/c#2", "d d#1"), ("d d#1", "a d#2"), ("d d#2", "e")],
        output={"e": "a"},
    ),
    Case(
        name="implicit-termination",
        nodes=[says("a"), says("b", "a"), node("c", "a", type="wait", config={"for": "50ms"}), says("d", "b")],
        completed=["a", "b", "c", "d"],
        output={"c": "a", "d": "d"},
    ),
    Case(
        name="instances-without-synchronization",
        nodes=[
            node("m", type="map", config={"items": "[1, 2, 3]"}),
            node("work", "m"),
            node("spawned", "work", type="aggregate", config={"policy": "collect"}),
            node("other"),
        ],
        completed=["m", "work m[0]", "work m[1]", "work m[2]", "spawned", "other"],
    ),
    Case(
        name="instances-known-at-design-time",
        nodes=[
            node("m", type="map", config={"items": "['a', 'b']"}),
            node("work", "m"),
            node("all", "work", type="aggregate"),
        ],
        completed=["m", "work m[0]", "work m[1]", "all"],
        before=[("work m[0]", "all"), ("work m[1]", "all")],
        output={"all": ["a", "b"]},
    ),
    Case(
        name="instances-known-at-run-time",
        nodes=[
            node("m", type="map", config={"items": "input.items", "max_concurrency": 2}),
            node("work", "m"),
            node("all", "work", type="aggregate"),
        ],
        input={"items": [1, 2, 3]},
        completed=["m", "work m[0]", "work m[1]", "work m[2]", "all"],
        before=[("work m[0]", "all"), ("work m[1]", "all"), ("work m[2]", "all")],
        output={"all": [1, 2, 3]},
    ),
    Case(
        name="instances-not-known-before",
        nodes=[
            node("m", type="map", config={"items": "[1]", "more": {"signal": "extra", "expires": "1h"}}),
            node("work", "m"),
            node("all", "work", type="aggregate"),
        ],
        completed=["m", "work m[0]", "work m[1]", "all"],
        before=[("work m[1]", "all")],
        output={"all": [1, 2]},
        commands=[signal("extra", {"items": [2], "is_last": True})],
    ),
    Case(
        name="deferred-choice",
        nodes=[
            node(
                "first",
                type="signal",
                config={"first_of": [{"name": "accepted"}, {"name": "withdrawn"}, {"after": "7d"}]},
                rules=[{"when": "output.event == 'accepted'", "next": ["go"]}],
                default=["stop"],
            ),
            says("go"),
            says("stop"),
        ],
        completed=["first", "go"],
        output={"go": "go"},
        commands=[signal("accepted")],
    ),
    Case(
        name="interleaved-parallel-routing",
        nodes=[
            says("a"),
            node("b", "a", type="sleep", config={"for": "50ms"}, mutex="printer"),
            node("c", "a", type="sleep", config={"for": "50ms"}, mutex="printer"),
            node("d", "b", "c"),
        ],
        completed=["a", "b", "c", "d"],
        before=[("b", "d"), ("c", "d")],
        apart=[("b", "c")],
    ),
    Case(
        name="milestone",
        nodes=[says("a"), waits("w", "a", name="close"), says("order", "a", while_waiting="w"), node("end", "w")],
        completed=["a", "order", "w", "end"],
        before=[("order", "w")],
        commands=[Command("when_done", {"step": "order"}), signal("close")],
    ),
    Case(
        name="cancel-activity",
        nodes=[
            says("a"),
            node("slow", "a", type="wait", config={"for": "1h"}),
            says("b", "a", cancels=["slow"]),
            node("after", "slow"),
        ],
        completed=["a", "b"],
        output={"b": "b"},
    ),
    Case(
        name="cancel-case",
        nodes=[says("a"), node("slow", "a", type="wait", config={"for": "1h"}), node("after", "slow")],
        completed=["a"],
        status="CANCELLED",
        commands=[Command("cancel", {})],
    ),
]
