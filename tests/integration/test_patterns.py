"""The twenty control-flow patterns, and the first tests of the token rules, as golden runs on real servers.

Each case is a whole document with what must come of it. Those that need a part of the language which registration
still refuses are marked; the mark is all that has to go when that part comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from courante.sdk.embedded import Servers
from courante.sdk.steps import FatalError, Steps
from integration.floor import Command, Floor, open_floor

pytestmark = pytest.mark.anyio

MAPS = "maps and aggregates do not run yet"
SIGNALS = "signals do not run yet"
MUTEX = "mutex is not known yet"
CANCELS = "cancelling is not known yet"
MILESTONES = "milestones are not known yet"


@dataclass(frozen=True, kw_only=True)
class Case:
    """``completed``: the steps that succeed, ``node scope``. ``before``: pairs, in each the first comes first.

    ``apart``: never worked on at the same time. ``output``: of the run, not looked at when it is ``...``.
    ``commands``: given while the run goes on. ``wait``: why it cannot run yet.
    """

    name: str
    nodes: list[dict[str, Any]]
    completed: list[str]
    before: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    apart: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    edges: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    failed: list[str] = field(default_factory=list[str])
    input: Any = None
    output: Any = ...
    status: str = "COMPLETED"
    policy: str = "fail_fast"
    commands: list[Command] = field(default_factory=list[Command])
    wait: str = ""

    @property
    def document(self) -> dict[str, Any]:
        return {
            "courante": 1,
            "id": self.name,
            "policy": {"on_failure": self.policy},
            "nodes": self.nodes,
            "edges": self.edges,
        }


def node(
    id: str, *depends_on: str, type: str = "noop", config: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {"id": id, "type": type, **more}
    if depends_on:
        made["depends_on"] = list(depends_on)
    if config is not None:
        made["config"] = config
    return made


def says(id: str, *depends_on: str, value: Any = None, **more: Any) -> dict[str, Any]:
    """A node whose output is a constant; its id where none is given."""
    return node(id, *depends_on, type="echo", config={"value": id if value is None else value}, **more)


def chooses(
    id: str, *depends_on: str, rules: dict[str, list[str]], default: list[str] | None = None, **more: Any
) -> Any:
    """A conditional: ``rules`` by their expression."""
    config: dict[str, Any] = {"rules": [{"when": when, "next": names} for when, names in rules.items()]}
    if default is not None:
        config["default"] = default
    if "mode" in more:
        config["mode"] = more.pop("mode")
    return node(id, *depends_on, type="conditional", config=config, **more)


def fails(id: str, *depends_on: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="function", config={"handler": "fail"}, **more)


def waits(id: str, *depends_on: str, name: str, **more: Any) -> dict[str, Any]:
    return node(id, *depends_on, type="signal", config={"name": name, "expires": "1h"}, **more)


def signal(name: str, payload: Any = None) -> Command:
    return Command("signal", {"name": name, "payload": payload})


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
        wait=MAPS,
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
        wait=MAPS,
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
        wait=MAPS,
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
        wait=MAPS,
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
        wait=SIGNALS,
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
        wait=MUTEX,
    ),
    Case(
        name="milestone",
        nodes=[says("a"), waits("w", "a", name="close"), says("order", "a", while_waiting="w"), node("end", "w")],
        completed=["a", "order", "w", "end"],
        before=[("order", "w")],
        commands=[Command("when", {"step": "order"}), signal("close")],
        wait=MILESTONES,
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
        wait=CANCELS,
    ),
    Case(
        name="cancel-case",
        nodes=[says("a"), node("slow", "a", type="wait", config={"for": "1h"}), node("after", "slow")],
        completed=["a"],
        status="CANCELLED",
        commands=[Command("cancel", {})],
        wait=CANCELS,
    ),
]

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
            node("Q", "H", type="sleep", config={"for": "100ms"}),
            node("L", "P", "Q", join="any", loop={"while": AGAIN, "back_to": "H", "max_iterations": 5}),
            node("E", "L"),
        ],
        completed=["H L#1", "P L#1", "Q L#1", "L L#1", "H L#2", "P L#2", "Q L#2", "L L#2", "E"],
        before=[("L L#1", "Q L#1"), ("L L#2", "Q L#2")],
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
        wait=MAPS,
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
        wait=MAPS,
    ),
    Case(
        name="mutex-waiters-in-a-map-that-closes",
        nodes=[
            node("M", type="map", config={"items": "[1, 2, 3]"}),
            node("b", "M", type="sleep", config={"for": "20ms"}, mutex="printer"),
            fails("c", "M"),
            node("G", "b", "c", type="aggregate", config={"policy": "fail_fast"}, on_error="E"),
            says("E"),
            node("outside", type="sleep", config={"for": "20ms"}, mutex="printer"),
        ],
        completed=["M", "outside", "E"],
        failed=["c M[0]", "G"],
        wait=MAPS,
    ),
]


def cases(some: list[Case]) -> list[Any]:
    def marks(case: Case) -> list[pytest.MarkDecorator]:
        refused = (AssertionError, AttributeError)
        return [pytest.mark.xfail(strict=True, raises=refused, reason=case.wait)] if case.wait else []

    return [pytest.param(case, id=case.name, marks=marks(case)) for case in some]


def fail() -> None:
    raise FatalError("as it should")


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(fail, "fail")
    async with open_floor(embedded_servers, steps) as made:
        yield made


async def try_case(floor: Floor, case: Case) -> None:
    done = await floor.run(case.document, case.input, case.commands)
    assert (done.result.status, sorted(done.completed), sorted(done.failed)) == (
        case.status,
        sorted(case.completed),
        sorted(case.failed),
    )
    order = {step: place for place, step in enumerate(done.completed)}
    for first, second in case.before:
        assert order[first] < order[second], f"{first} comes before {second}"
    for one, other in case.apart:
        assert not done.overlap(one, other), f"{one} and {other} ran at the same time"
    if case.output is not ...:
        assert done.result.output == case.output
    assert done.verification.ok, done.verification


@pytest.mark.parametrize("case", cases(PATTERNS))
async def test_a_control_flow_pattern(floor: Floor, case: Case) -> None:
    """The pattern's document completes exactly its steps, in an allowed order, with its status and output."""
    await try_case(floor, case)


@pytest.mark.parametrize("case", cases(FIRST_TESTS))
async def test_a_graph_that_breaks_without_its_rule(floor: Floor, case: Case) -> None:
    """A graph of the token rules' first tests comes to its one right end."""
    await try_case(floor, case)


def test_all_twenty_patterns_are_here() -> None:
    """Twenty original patterns, each once."""
    assert len({case.name for case in PATTERNS}) == len(PATTERNS) == 20
