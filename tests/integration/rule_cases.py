"""The first tests of the token rules as golden runs: each graph breaks when its rule is left out."""

from __future__ import annotations

from integration.cases import Case, chooses, fails, node, says, signal, waits
from integration.floor import Command

AGAIN = "loop.iteration < 2"

FIRST_TESTS = [
    Case(
        name="side-exit-is-decided-when-the-loop-ends",
        nodes=[
            node("H"),
            node(
                "Y",
                "H",
                type="transform",
                config={"expression": "loop.iteration"},
                rules=[{"when": "output == 1", "next": ["L"]}],
                default=["Z"],
            ),
            node("L", loop={"while": AGAIN, "back_to": "H", "max_iterations": 5}),
            node("Z", "L", join="any"),
        ],
        completed=["H L#1", "Y L#1", "L L#1", "H L#2", "Y L#2", "Z"],
        before=[("L L#1", "H L#2"), ("Y L#2", "Z")],
    ),
    Case(
        name="side-branch-runs-once",
        nodes=[
            node("H"),
            node("Y", "H"),
            node("L", "Y", loop={"while": AGAIN, "back_to": "H", "max_iterations": 5}),
            node("Z", "Y", "L"),
        ],
        completed=["H L#1", "Y L#1", "L L#1", "H L#2", "Y L#2", "L L#2", "Z"],
        before=[("L L#2", "Z")],
    ),
    Case(
        name="going-back-decides-no-edge",
        nodes=[
            says("A"),
            node("L", "A", loop={"while": AGAIN, "back_to": "L", "max_iterations": 5}),
            node("J", "L", "A"),
        ],
        completed=["A", "L L#1", "L L#2", "J"],
        before=[("L L#2", "J")],
        output={"J": {"L": "A", "A": "A"}},
    ),
    Case(
        name="outside-edge-enters-at-the-head",
        nodes=[
            node("X"),
            node("H", "X"),
            node("L", "H", loop={"while": AGAIN, "back_to": "H", "max_iterations": 5}),
        ],
        completed=["X", "H L#1", "L L#1", "H L#2", "L L#2"],
        before=[("X", "H L#1")],
    ),
    Case(
        name="straggler-ends-in-its-own-iteration",
        nodes=[
            node("H"),
            node("P", "H"),
            waits("Q", "H", name="late"),
            node("L", "P", "Q", join="any", loop={"while": AGAIN, "back_to": "H", "max_iterations": 5}),
            node("E", "L"),
        ],
        completed=["H L#1", "P L#1", "Q L#1", "L L#1", "H L#2", "P L#2", "Q L#2", "L L#2", "E"],
        before=[("L L#1", "Q L#1"), ("L L#2", "Q L#2")],
        commands=[Command("when_done", {"step": "E"}), signal("late"), signal("late")],
    ),
    Case(
        name="any-fires-once",
        nodes=[node("A"), node("P", "A"), node("Q", "A"), node("J", "P", "Q", join="any"), node("K", "J")],
        completed=["A", "P", "Q", "J", "K"],
        before=[("J", "K")],
    ),
    Case(
        name="all-runs-with-what-came",
        nodes=[
            chooses("A", rules={"output == 1": ["P"]}, default=["Q"]),
            says("P"),
            says("Q"),
            node("J", "P", "Q", join="all"),
        ],
        input=1,
        completed=["A", "P", "J"],
        output={"J": {"P": "P"}},
    ),
    Case(
        name="a-fan-in-merges-what-came",
        nodes=[
            chooses("A", rules={"output == 1": ["P"]}, default=["Q"]),
            says("P", value={"x": 1, "y": 1}),
            says("Q", value={"x": 2}),
            says("R", value={"y": 3}),
            node("J", "P", "Q", "R", type="aggregate", config={"merge": True}),
        ],
        input=1,
        completed=["A", "P", "R", "J"],
        output={"J": {"x": 1, "y": 3}},
    ),
    Case(
        name="all-runs-by-the-short-way",
        nodes=[
            chooses("A", rules={"output == 1": ["P"]}, default=["J"]),
            says("P"),
            node("J", "P", join="all"),
        ],
        input=2,
        completed=["A", "J"],
        output={"J": {"A": 2}},
    ),
    Case(
        name="every-does-not-run-what-was-not-chosen",
        nodes=[
            chooses("A", rules={"output == 1": ["P"]}, default=["Q"]),
            says("X"),
            node("P", "X", join="every"),
            says("Q"),
        ],
        input=2,
        completed=["A", "X", "Q"],
        output={"Q": "Q"},
    ),
    Case(
        name="failure-is-no-dead-branch",
        nodes=[says("A"), fails("P", "A"), says("Q", "A"), node("J", "P", "Q")],
        policy="continue",
        completed=["A", "Q"],
        failed=["P"],
        status="FAILED",
    ),
    Case(
        name="failure-drains-a-half-filled-join",
        nodes=[
            says("A"),
            fails("P", "A"),
            node("Q", "A", type="wait", config={"for": "1h"}),
            says("R", "A"),
            node("J", "P", "Q", "R"),
        ],
        completed=["A", "R"],
        failed=["P"],
        status="FAILED",
    ),
    Case(
        name="map-that-is-not-taken",
        nodes=[
            chooses("A", rules={"output == 1": ["M"]}, default=["J"]),
            node("M", type="map", config={"items": "[1]"}),
            node("b", "M"),
            node("G", "b", type="aggregate"),
            node("J", "G"),
        ],
        input=2,
        completed=["A", "J"],
    ),
    Case(
        name="activations-never-merge",
        nodes=[says("P"), says("Q"), node("J", "P", "Q", join="each"), node("K", "J"), node("T", "J", "K")],
        completed=["P", "Q", "J J@0", "J J@1", "K J@0", "K J@1", "T J@0", "T J@1"],
        before=[("K J@0", "T J@0"), ("K J@1", "T J@1")],
        output={"T": [{"J": {"P": "P"}, "K": {"P": "P"}}, {"J": {"Q": "Q"}, "K": {"Q": "Q"}}]},
    ),
    Case(
        name="map-closes-with-a-join-inside",
        nodes=[
            node("M", type="map", config={"items": "[1, 2]"}),
            fails("b", "M"),
            node("c", "M", type="wait", config={"for": "1h"}),
            node("j", "b", "c"),
            node("G", "b", "j", type="aggregate", config={"policy": "fail_fast"}, on_error="E"),
            says("E"),
        ],
        completed=["M", "E"],
        failed=["b M[0]", "G"],
    ),
    Case(
        name="mutex-waiters-in-a-map-that-closes",
        nodes=[
            node("M", type="map", config={"items": "[1, 2, 3]"}),
            node("b", "M", type="sleep", config={"for": "2s"}, mutex="printer"),  # all are withdrawn long before
            fails("c", "M"),
            node("G", "b", "c", type="aggregate", config={"policy": "fail_fast"}, on_error="E"),
            says("E"),
            node("outside", type="sleep", config={"for": "20ms"}, mutex="printer"),
        ],
        completed=["M", "outside", "E"],
        failed=["c M[0]", "G"],
    ),
]
