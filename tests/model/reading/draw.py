"""Random workflow documents that the token rules are tried on.

A document is drawn in three passes: a random acyclic graph with loops, each repaired until ``refusal`` accepts it
(``wild`` ones are left as they fell, so that refused shapes come up too); the kinds of edges and the joins; rules
and conditions. Conditions are CEL over the node's own output, in the form that ``Seeded`` answers, so a real
engine runs the same documents. All randomness comes from the ``Random`` passed in; under hypothesis that is
one whose draws shrink.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import combinations, product
from random import Random
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from .graph import Document, Graph, from_document
from .regions import refusal

if TYPE_CHECKING:
    from collections.abc import Iterator

HANDLER = "model.oracle"
"""The handler that a test binds to the oracle."""

Pair = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Taste:
    """What to draw. Sizes are inclusive; the others are shares between 0 and 1."""

    nodes: tuple[int, int] = (3, 9)
    loops_max: int = 3
    conditions: float = 0.4
    errors: float = 0.12
    wild: float = 0.1
    draining: float = 0.5


SMALL = Taste()
LARGE = Taste(nodes=(10, 24), loops_max=5, conditions=0.25, errors=0.08)


@dataclass
class Plan:
    """A document in the making; ``document`` writes it out. Pairs are edges, one kind each but for ``doubled``."""

    names: list[str]
    pairs: list[Pair] = field(default_factory=list[Pair])
    loops: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    joins: dict[str, str | dict[str, int]] = field(default_factory=dict[str, str | dict[str, int]])
    errors: set[Pair] = field(default_factory=set[Pair])
    exhausted: set[Pair] = field(default_factory=set[Pair])
    doubled: set[Pair] = field(default_factory=set[Pair])
    rules: dict[str, tuple[list[list[str]], list[str], str]] = field(
        default_factory=dict[str, tuple[list[list[str]], list[str], str]]
    )
    guarded_nodes: set[str] = field(default_factory=set[str])
    guarded_pairs: set[Pair] = field(default_factory=set[Pair])
    on_failure: str = "continue"

    def is_accepted(self) -> bool:
        return not refusal(self.graph())

    def graph(self) -> Graph:
        return from_document(self.document())

    def normal(self, source: str) -> list[str]:
        """The targets of the normal edges of a node."""
        other = (self.errors | self.exhausted) - self.doubled
        return [target for start, target in self.pairs if start == source and (start, target) not in other]

    def document(self) -> dict[str, object]:
        edges: list[dict[str, object]] = [
            {"from": source, "to": target, "when": f"output.e.{target}"}
            for source, target in self.pairs
            if (source, target) in self.guarded_pairs
        ]
        document: dict[str, object] = {"courante": 1, "id": "drawn", "policy": {"on_failure": self.on_failure}}
        document["nodes"] = [self._node(name) for name in self.names]
        return document | ({"edges": edges} if edges else {})

    def _node(self, name: str) -> dict[str, object]:
        node: dict[str, object] = {"id": name, "type": "function", "config": {"handler": HANDLER}}
        node["retry"] = {"max_attempts": 1}
        sources = [
            source
            for source, target in self.pairs
            if target == name and name in self.normal(source) and (source, name) not in self.guarded_pairs
        ]
        if sources:
            node["depends_on"] = sources
        if name in self.joins:
            node["join"] = self.joins[name]
        if name in self.guarded_nodes:
            node["when"] = f"input.when.{name}"
        if errors := [target for source, target in self.pairs if source == name and (source, target) in self.errors]:
            node["on_error"] = errors
        if name in self.loops:
            back_to, limit = self.loops[name]
            loop: dict[str, object] = {"while": "output.again", "back_to": back_to, "max_iterations": limit}
            if out := [
                target for source, target in self.pairs if (source, target) in self.exhausted and source == name
            ]:
                loop["on_exhausted"] = out
            node["loop"] = loop
        if name in self.rules:
            rules, default, mode = self.rules[name]
            node["rules"] = [{"when": f"output.r[{at}]", "next": targets} for at, targets in enumerate(rules)]
            node |= {"default": default, "mode": mode} if default else {"mode": mode}
        return node


def document(random: Random, taste: Taste = SMALL) -> dict[str, object]:
    """One document. Accepted by ``refusal`` unless drawn wild; the compiler's own check decides in the end."""
    size = random.randint(*taste.nodes)
    plan = Plan(names=[f"n{index}" for index in range(size)])
    repaired = not _happens(random, taste.wild)
    _wire(random, plan)
    for _ in range(random.randint(0, taste.loops_max)):
        _close(random, plan, repaired=repaired)
    _kinds(random, plan, taste)
    _joins(random, plan, repaired=repaired)
    for name in plan.names:
        _conditions(random, plan, name, taste)
    plan.on_failure = "fail_fast" if _happens(random, taste.draining) else "continue"
    if _happens(random, 0.3):
        random.shuffle(plan.names)
    return plan.document()


def documents(taste: Taste = SMALL) -> st.SearchStrategy[dict[str, object]]:
    """Accepted documents as a hypothesis strategy; shrinks towards few nodes and few decorations."""

    @st.composite
    def draw_one(draw: st.DrawFn) -> dict[str, object]:
        random = draw(st.randoms(use_true_random=False))
        return document(random, taste)

    return draw_one().filter(lambda drawn: not refusal(from_document(drawn)))


def accepted(seed: int, taste: Taste = SMALL) -> dict[str, object]:
    """The first accepted document of a seed."""
    random = Random(seed)
    while refusal(from_document(drawn := document(random, taste))):
        pass
    return drawn


def every_document(size: int, *, loops_max: int = 2, limit: int = 2) -> Iterator[Document]:
    """Every graph of ``size`` nodes in one topological order, with each choice of joins and up to ``loops_max`` loops.

    Every edge bears a ``when``, so that oracles alone decide what is taken. Refused shapes are among them.
    4 nodes: 13,524 documents.
    """
    names = [f"n{index}" for index in range(size)]
    possible = list(combinations(names, 2))
    back_edges = [(node, names[to]) for at, node in enumerate(names) for to in range(at + 1)]
    for chosen in product((False, True), repeat=len(possible)):
        pairs = [pair for pair, is_in in zip(possible, chosen, strict=True) if is_in]
        policies = [_policies(sum(target == name for _, target in pairs)) for name in names]
        for joins in product(*policies):
            for count in range(loops_max + 1):
                for loops in combinations(back_edges, count):
                    plan = Plan(names=names, pairs=pairs, guarded_pairs=set(pairs))
                    plan.loops = {node: (back_to, limit) for node, back_to in loops}
                    plan.joins = {name: join for name, join in zip(names, joins, strict=True) if join is not None}
                    if len(plan.loops) == count:
                        yield plan.document()


def _policies(arity: int) -> list[str | dict[str, int] | None]:
    """Every join policy that means something of its own at this arity."""
    if arity < 2:
        return [None]
    return ["all", "every", "any", "each", *({"at_least": n} for n in range(2, arity))]


def _happens(random: Random, share: float) -> bool:
    """The plain case is the draw of 0, which hypothesis shrinks to."""
    return random.random() > 1 - share


def _wire(random: Random, plan: Plan) -> None:
    """Each node takes its edges from nodes shortly before it; more than one root is rare."""
    reach = random.choice((2, 3, 4, 8))
    for at in range(1, len(plan.names)):
        before = plan.names[max(0, at - reach) : at]
        count = random.choices((0, 1, 2, 3), (1, 8, 8, 2))[0]
        for source in random.sample(before, min(count, len(before))):
            plan.pairs.append((source, plan.names[at]))


def _close(random: Random, plan: Plan, *, repaired: bool) -> None:
    """Make one node a loop node; lead side doors of the body to its head, or give the loop up."""
    free = [name for name in plan.names if name not in plan.loops]
    if not free:
        return
    after = {name: _after(plan, name) for name in plan.names}
    bodies: dict[Pair, set[str]] = {}
    for node in random.choices(free, k=random.choice((1, 1, 4))):
        head = random.choice([name for name in plan.names if node in after[name]])
        bodies[head, node] = {name for name in after[head] if node in after[name]}
    head, node = max(bodies, key=lambda ends: len(bodies[ends]))
    body = bodies[head, node]
    pairs, loops = list(plan.pairs), dict(plan.loops)
    plan.loops[node] = (head, random.choice((1, 2, 2, 3)))
    if not repaired:
        return
    led = [(source, head if source not in body and target in body else target) for source, target in plan.pairs]
    plan.pairs = list(dict.fromkeys(led))
    if not plan.is_accepted():
        plan.pairs, plan.loops = pairs, loops


def _after(plan: Plan, start: str) -> set[str]:
    found = {start}
    while more := {target for source, target in plan.pairs if source in found} - found:
        found |= more
    return found


def _kinds(random: Random, plan: Plan, taste: Taste) -> None:
    for pair in plan.pairs:
        if pair[0] in plan.loops and _happens(random, 0.25):
            plan.exhausted.add(pair)
        elif _happens(random, taste.errors):
            plan.errors.add(pair)
        if pair in plan.errors | plan.exhausted and _happens(random, 0.2):
            plan.doubled.add(pair)


def _joins(random: Random, plan: Plan, *, repaired: bool) -> None:
    """A policy per join; ``each`` only where it may stand."""
    for name in plan.names:
        arity = len(plan.graph().ins[name])
        if arity < 2:
            continue
        policy = random.choices(("", "all", "every", "any", "at_least", "each"), (3, 1, 2, 4, 2, 4))[0]
        if not policy:
            continue
        plan.joins[name] = {"at_least": random.randint(1, arity)} if policy == "at_least" else policy
        if policy == "each" and repaired and not plan.is_accepted():
            _fence(plan, name)


def _fence(plan: Plan, join: str) -> None:
    """Cut the edges that enter the region of an ``each`` join from beside it; if that is not enough, take ``any``."""
    inside, pairs = _after(plan, join), plan.pairs
    plan.pairs = [(start, end) for start, end in pairs if end == join or end not in inside or start in inside]
    if not plan.is_accepted():
        plan.pairs = pairs
        plan.joins[join] = "any"


def _conditions(random: Random, plan: Plan, name: str, taste: Taste) -> None:
    targets = plan.normal(name)
    if targets and _happens(random, taste.conditions):
        rules = [random.sample(targets, random.randint(1, min(2, len(targets)))) for _ in range(random.randint(1, 2))]
        default = random.sample(targets, 1) if _happens(random, 0.9) else []
        plan.rules[name] = (rules, default, random.choice(("first", "all")))
    for target in targets:
        if _happens(random, taste.conditions / 3):
            plan.guarded_pairs.add((name, target))
    if _happens(random, taste.conditions / 3):
        plan.guarded_nodes.add(name)
