"""The first tests of the token rules (section 9) as documents with outcomes, for any engine.

Each breaks when its rule is left out. Those that need maps or a mutex are not among them: nothing runs these yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from model.reading.graph import Graph
from model.reading.oracle import Outcome, Told

AGAIN = Outcome(again=True)
FAILS = Outcome(ok=False)


@dataclass(frozen=True, kw_only=True)
class FirstTest:
    """``executed``: ``A L:L#1`` is A outside all regions and L in iteration 1; None where an order may cut it short."""

    name: str
    nodes: tuple[dict[str, object], ...]
    outcomes: dict[str, Outcome] = field(default_factory=dict[str, Outcome])
    executed: str | None
    on_failure: str = "continue"

    def document(self) -> dict[str, object]:
        return {"courante": 1, "id": "t", "policy": {"on_failure": self.on_failure}, "nodes": list(self.nodes)}

    def places(self) -> set[tuple[str, str]] | None:
        if self.executed is None:
            return None
        return {(name, scope) for name, _, scope in (place.partition(":") for place in self.executed.split())}


def node(name: str, *depends_on: str, **more: object) -> dict[str, object]:
    return {
        "id": name,
        "type": "function",
        "config": {"handler": "model.oracle"},
        "retry": {"max_attempts": 1},
        "depends_on": list(depends_on),
        **more,
    }


def loop(back_to: str) -> dict[str, object]:
    return {"while": "output.again", "back_to": back_to, "max_iterations": 9}


def first(target: str, default: str) -> dict[str, object]:
    """One rule and its default, to be spread into a node."""
    return {"rules": [{"when": "output.r[0]", "next": [target]}], "default": [default]}


CHOSEN = Outcome(rules=(True,))
BRANCHES = (node("A"), node("P", "A"), node("Q", "A"), node("J", "P", "Q"))
CHOICE = (node("A", **first("P", "Q")), node("P"), node("Q"))

FIRST_TESTS = (
    FirstTest(
        name="gate",
        nodes=(node("H"), node("Y", "H", **first("L", "Z")), node("L", loop=loop("H")), node("Z", "L")),
        outcomes={"Y L#1": CHOSEN, "L": AGAIN},
        executed="H:L#1 Y:L#1 L:L#1 H:L#2 Y:L#2 Z",
    ),
    FirstTest(
        name="gate and loop node meet",
        nodes=(node("H"), node("Y", "H"), node("L", "Y", loop=loop("H")), node("Z", "Y", "L")),
        outcomes={"L L#1": AGAIN},
        executed="H:L#1 Y:L#1 L:L#1 H:L#2 Y:L#2 L:L#2 Z",
    ),
    FirstTest(
        name="back decides no edge",
        nodes=(node("A"), node("L", "A", loop=loop("L")), node("J", "L", "A", join="every")),
        outcomes={"L L#1": AGAIN, "L L#2": AGAIN},
        executed="A L:L#1 L:L#2 L:L#3 J",
    ),
    FirstTest(
        name="a record per iteration",
        nodes=(node("H"), node("P", "H"), node("Q", "H"), node("L", "P", "Q", join="any", loop=loop("H"))),
        outcomes={"L L#1": AGAIN},
        executed="H:L#1 P:L#1 Q:L#1 L:L#1 H:L#2 P:L#2 Q:L#2 L:L#2",
    ),
    FirstTest(
        name="any fires once",
        nodes=(*BRANCHES[:3], node("J", "P", "Q", join="any")),
        executed="A P Q J",
    ),
    FirstTest(
        name="all merges a choice",
        nodes=(*CHOICE, node("J", "P", "Q")),
        outcomes={"A": CHOSEN},
        executed="A P J",
    ),
    FirstTest(
        name="all merges a shortcut",
        nodes=(node("A", **first("P", "J")), node("P"), node("J", "P")),
        outcomes={"A": CHOSEN},
        executed="A P J",
    ),
    FirstTest(
        name="every asks for the choice",
        nodes=(CHOICE[0], node("P", "X", join="every"), node("Q"), node("X")),
        executed="A Q X",
    ),
    FirstTest(
        name="failed is not dead",
        nodes=BRANCHES,
        outcomes={"P": FAILS},
        executed="A P Q",
    ),
    FirstTest(
        name="arrivals are not counted",
        nodes=BRANCHES,
        outcomes={"P": FAILS},
        executed=None,
        on_failure="fail_fast",
    ),
    FirstTest(
        name="each",
        nodes=(node("P"), node("Q"), node("J", "P", "Q", join="each"), node("K", "J"), node("T", "J", "K")),
        executed="P Q J:J@0 K:J@0 T:J@0 J:J@1 K:J@1 T:J@1",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Spoken:
    """An oracle written by hand that speaks JSON as ``Seeded`` does."""

    graph: Graph
    told: Told

    def when(self, node: str) -> bool:
        return self.told.when(node)

    def outcome(self, node: str, scope: str) -> Outcome:
        return self.told.outcome(node, scope)

    def input(self) -> dict[str, object]:
        return {"when": {node: self.when(node) for node in self.graph.nodes}}

    def output(self, node: str, scope: str) -> dict[str, object]:
        """As many truths of rules as the node has rules; what is not said is false."""
        outcome = self.outcome(node, scope)
        rules = self.graph.nodes[node].rules
        said = [*outcome.rules, *(False for _ in range(len(rules.rules) if rules is not None else 0))]
        return {"ok": outcome.ok, "r": said, "again": outcome.again, "e": dict(outcome.edges)}
