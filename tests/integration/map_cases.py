"""Golden runs of maps: what items run, in which order their results come, and what failures mean."""

from __future__ import annotations

from integration.cases import Case, chooses, fails, node, says, signal, waits


def times(name: str, count: int, scope: str = "m") -> list[str]:
    return [f"{name} {scope}[{index}]" for index in range(count)]


def sums(id: str, *depends_on: str, expression: str) -> dict[str, object]:
    return node(id, *depends_on, type="transform", config={"expression": expression})


MANY = 350
"""More than three chunks of results."""

MAPS = [
    Case(
        name="no-items",
        nodes=[node("m", type="map", config={"items": "[]"}), node("w", "m"), node("all", "w", type="aggregate")],
        completed=["m", "all"],
        output={"all": []},
    ),
    Case(
        name="items-of-an-object-and-index",
        nodes=[
            node("m", type="map", config={"items": "input"}),
            sums("w", "m", expression="item.key + string(item.value + index)"),
            node("all", "w", type="aggregate"),
        ],
        input={"a": 2, "b": 1},
        completed=["m", *times("w", 2), "all"],
        output={"all": ["a2", "b2"]},
    ),
    Case(
        name="results-in-order-of-many-items",
        nodes=[
            node("m", type="map", config={"items": "input", "max_concurrency": 40}),
            sums("w", "m", expression="item * 2"),
            node("all", "w", type="aggregate"),
        ],
        input=list(range(MANY)),
        completed=["m", *times("w", MANY), "all"],
        output={"all": [2 * index for index in range(MANY)]},
    ),
    Case(
        name="batches-of-items",
        nodes=[
            node("m", type="map", config={"items": "[1, 2, 3, 4, 5]", "batch_size": 2}),
            sums("w", "m", expression="item.map(x, x * x)"),
            node("all", "w", type="aggregate"),
        ],
        completed=["m", *times("w", 3), "all"],
        output={"all": [[1, 4], [9, 16], [25]]},
    ),
    Case(
        name="branches-and-a-join-in-an-item",
        nodes=[
            node("m", type="map", config={"items": "[1, 2, 3]"}),
            chooses("odd", "m", rules={"output % 2 == 1": ["yes"]}, default=["no"]),
            says("yes"),
            says("no"),
            node("j", "yes", "no"),
            node("all", "j", type="aggregate"),
        ],
        completed=["m", *times("odd", 3), "yes m[0]", "no m[1]", "yes m[2]", *times("j", 3), "all"],
        output={"all": [{"yes": "yes"}, {"no": "no"}, {"yes": "yes"}]},
    ),
    Case(
        name="several-ways-into-the-aggregate",
        nodes=[
            node("m", type="map", config={"items": "[1, 2]"}),
            chooses("c", "m", rules={"output == 1": ["a"]}, default=[]),
            says("a"),
            sums("b", "m", expression="item * 10"),
            node("all", "a", "b", type="aggregate"),
        ],
        completed=["m", "c m[0]", "a m[0]", *times("b", 2)],
        failed=["c m[1]", "all"],
        status="FAILED",
    ),
    Case(
        name="an-item-that-is-skipped",
        nodes=[
            node("m", type="map", config={"items": "[1, 2, 3]"}),
            node("w", "m", when="item != 2"),
            node("all", "w", type="aggregate"),
        ],
        completed=["m", "w m[0]", "w m[2]", "all"],
        output={"all": [1, None, 3]},
    ),
    Case(
        name="a-map-that-is-skipped-with-a-step-beside-its-aggregate",
        nodes=[
            says("s"),
            node("m", "s", type="map", when="input", config={"items": "[1, 2]"}),
            node("w", "m"),
            node("all", "w", type="aggregate", requires_approval=True),
            says("beside", "s", while_waiting="all"),
            says("z", "s"),
        ],
        input=False,
        completed=["s", "z"],
        output={"z": "z"},
    ),
    Case(
        name="maps-in-maps",
        nodes=[
            node("m", type="map", config={"items": "[[1, 2], [], [3]]"}),
            node("n", "m", type="map", config={"items": "item"}),
            sums("w", "n", expression="item + 10"),
            node("inner", "w", type="aggregate"),
            node("all", "inner", type="aggregate", config={"reduce": "acc + item", "initial": []}),
        ],
        completed=[
            "m",
            *times("n", 3),
            "w m[0]/n[0]",
            "w m[0]/n[1]",
            "w m[2]/n[0]",
            *times("inner", 3),
            "all",
        ],
        output={"all": [11, 12, 13]},
    ),
    Case(
        name="a-map-in-a-loop-around-a-loop",
        nodes=[
            node("begin"),
            node("m", "begin", type="map", config={"items": "[1, 2]"}),
            sums("w", "m", expression="loop.iteration"),
            node("again", "w", loop={"while": "output < item", "back_to": "w", "max_iterations": 5}),
            node("all", "again", type="aggregate"),
            node("l", "all", loop={"while": "loop.iteration < 2", "back_to": "m", "max_iterations": 3}),
        ],
        completed=[
            "begin",
            "m l#1",
            "w l#1/m[0]/again#1",
            "again l#1/m[0]/again#1",
            "w l#1/m[1]/again#1",
            "again l#1/m[1]/again#1",
            "w l#1/m[1]/again#2",
            "again l#1/m[1]/again#2",
            "all l#1",
            "l l#1",
            "m l#2",
            "w l#2/m[0]/again#1",
            "again l#2/m[0]/again#1",
            "w l#2/m[1]/again#1",
            "again l#2/m[1]/again#1",
            "w l#2/m[1]/again#2",
            "again l#2/m[1]/again#2",
            "all l#2",
            "l l#2",
        ],
        output={"l": [1, 2]},
    ),
    Case(
        name="too-many-items-fail",
        nodes=[
            node("m", type="map", config={"items": "[1, 2, 3]"}),
            fails("f", "m", when="item != 2"),
            node("all", "f", type="aggregate", config={"policy": {"tolerate": 1}}, on_error="sorry"),
            says("sorry"),
        ],
        completed=["m", "sorry"],
        failed=["f m[0]", "f m[2]", "all"],
    ),
    Case(
        name="failures-that-are-tolerated",
        nodes=[
            node("m", type="map", config={"items": "[1, 2, 3]"}),
            fails("f", "m", when="item == 2"),
            node("w", "m"),
            node("all", "f", "w", type="aggregate", config={"policy": {"tolerate": "40%"}, "group": "string(index)"}),
        ],
        completed=["m", *times("w", 3), "all"],
        failed=["f m[1]"],
        output={"all": {"0": [{"w": 1}], "2": [{"w": 3}]}},
    ),
    Case(
        name="failures-that-are-collected",
        nodes=[
            node("m", type="map", config={"items": "[{'a': 1}, {'b': 2}]"}),
            node("w", "m"),
            node("all", "w", type="aggregate", config={"policy": "collect", "merge": True}),
        ],
        completed=["m", *times("w", 2), "all"],
        output={"all": {"a": 1, "b": 2}},
    ),
    Case(
        name="a-failed-map-in-an-item",
        nodes=[
            node("m", type="map", config={"items": "[[1], []]"}),
            node("n", "m", type="map", config={"items": "item"}),
            fails("f", "n"),
            node("inner", "f", type="aggregate"),
            node("all", "inner", type="aggregate", config={"policy": "collect", "reduce": "item", "initial": "none"}),
        ],
        completed=["m", *times("n", 2), "inner m[1]", "all"],
        failed=["f m[0]/n[0]", "inner m[0]"],
        output={"all": []},
    ),
    Case(
        name="no-list",
        nodes=[
            node("m", type="map", config={"items": "'text'"}, on_error="sorry"),
            node("w", "m"),
            node("all", "w", type="aggregate"),
            says("sorry"),
        ],
        completed=["sorry"],
        failed=["m"],
        output={"sorry": "sorry"},
    ),
    Case(
        name="items-are-added-until-the-last",
        nodes=[
            node("m", type="map", config={"items": "[]", "more": {"signal": "extra"}}),
            node("w", "m"),
            node("all", "w", type="aggregate"),
        ],
        completed=["m", *times("w", 4), "all"],
        output={"all": [1, 2, {"x": 1}, 3]},
        commands=[
            signal("extra", [1, 2]),
            signal("extra", {"x": 1}),
            signal("extra", {"items": [3], "is_last": True}),
        ],
    ),
    Case(
        name="items-wait-for-signals",
        nodes=[
            node("m", type="map", config={"items": "[1, 2]"}),
            waits("s", "m", name="go"),
            node("all", "s", type="aggregate"),
        ],
        completed=["m", *times("s", 2), "all"],
        output={"all": ["a", "b"]},
        commands=[signal("go", "a"), signal("go", "b")],
    ),
]
