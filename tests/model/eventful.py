"""Eventful documents: drawn graphs whose nodes also wait, retry, exclude, undo and withdraw each other.

Each decoration is tried alone and dropped where the compiler refuses it, so that every document is accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec

from courante.compiler.analysis import compile_workflow
from courante.compiler.diagnostics import Severity
from courante.compiler.normalize import normalize
from courante.sdk.marking.scopes import scope_text
from courante.sdk.outcomes.outcomes import OUTSIDE, Outcome, Succeeded, Waits
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.signal_names import outside_name
from courante.sdk.user_errors import FatalError
from courante.testing.simulation import Chances, Simulation
from model.reading.draw import HANDLER, SMALL, Taste, accepted
from model.reading.graph import from_document
from model.reading.oracle import Seeded

if TYPE_CHECKING:
    from courante.runner.work import Work
    from courante.sdk.marking.plan import Plan
    from courante.testing.floor_calls import Floor
    from model.reading.graph import Document

Node = dict[str, Any]
TINY = Taste(nodes=(2, 5), loops_max=1, draining=0.3)
LIMIT = 2
"""Of the concurrency key."""
CHANCES = (
    Chances(),
    Chances(cancelling=0.1),
    Chances(meddling=0.02),
    Chances(meddling=0.3, crashing=0.2),
    Chances(losing=0.05),
    Chances(losing=0.1, crashing=0.1, cancelling=0.05),
)
"""How much happens besides, by the seed."""


def taste_of(seed: int) -> Taste:
    return TINY if seed % 3 == 0 else SMALL


def without_order(trace: list[str]) -> list[str]:
    """A trace in which what a sweep takes away has no order: that is the order of a hash in Redis."""
    found: list[str] = []
    swept: list[str] = []
    for line in trace:
        if "token.withdrawn" in line:
            swept.append(line.split(maxsplit=1)[1])
            continue
        found += sorted(swept)
        swept.clear()
        found.append(line)
    return found


def eventful(seed: int, taste: Taste = SMALL) -> Document:
    """One document of a seed, accepted by the compiler."""
    random = Random(f"eventful {seed}")
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(accepted(seed, taste)))
    document = decorated(document, random, random.randint(1, 2 * len(document["nodes"])))
    if random.random() < 0.2:
        document["policy"]["timeout"] = "1h"
    if random.random() < 0.2:
        document["policy"]["retry_budget"] = random.randint(0, 3)
    nested = Random(f"nested {seed}")
    while nested.random() < 0.3:
        document = _try(document, _runs_another, nested)
    bound = Random(f"bounded {seed}")
    for decorate in (_shares, _paces):
        if bound.random() < 0.3:
            document = _try(document, decorate, bound)
    if bound.random() < 0.4:
        document["policy"]["max_parallel"] = bound.choice((1, 1, 2, 3))
    return document


def decorated(document: dict[str, Any], random: Random, count: int) -> dict[str, Any]:
    """Return a document with some of so many decorations, those that the compiler accepts."""
    for _ in range(count):
        document = _try(document, random.choice(DECORATIONS), random)
    return document


def _try(
    document: dict[str, Any], decorate: Callable[[dict[str, Any], Random], None], random: Random
) -> dict[str, Any]:
    changed = msgspec.json.decode(msgspec.json.encode(document))
    decorate(changed, random)
    return changed if is_accepted(changed) else document


def is_accepted(document: dict[str, Any]) -> bool:
    workflow, found = normalize(document)
    if workflow is not None:
        found = [*found, *compile_workflow(workflow)[1]]
    return all(each.severity is not Severity.ERROR for each in found)


def _retries(document: dict[str, Any], random: Random) -> None:
    node = random.choice(document["nodes"])
    node["retry"] = {"max_attempts": random.randint(2, 4), "base": "1s"}
    if random.random() < 0.3:
        node["retry"]["on"] = ["ConnectionError", "QUEUE_TIMEOUT"]


def _agrees(document: dict[str, Any], random: Random) -> None:
    gate: dict[str, Any] = {}
    if random.random() < 0.6:
        gate["expires"] = "1h"
        if random.random() < 0.6:
            gate["escalate_to"] = "lead"
    random.choice(document["nodes"])["requires_approval"] = gate or True


def _asks(document: dict[str, Any], random: Random) -> None:
    config = {"expires": "1h"} if random.random() < 0.5 else {}
    _become(_plain(document, random), "approval", config)


def _hears(document: dict[str, Any], random: Random) -> None:
    names = [random.choice("ABC") for _ in range(2)]
    if random.random() < 0.5:
        config: dict[str, Any] = {"name": names[0]}
        if random.random() < 0.5:
            config["expires"] = "1h"
    else:
        config = {"first_of": [{"name": name} for name in dict.fromkeys(names)]}
        if random.random() < 0.5:
            config["first_of"].append({"after": "1h"})
    _become(_plain(document, random), "signal", config)


def _waits(document: dict[str, Any], random: Random) -> None:
    _become(random.choice(document["nodes"]), "wait", {"for": "1h"})


def _excludes(document: dict[str, Any], random: Random) -> None:
    for node in random.sample(document["nodes"], min(2, len(document["nodes"]))):
        node["mutex"] = random.choice("mn")


def _runs_beside(document: dict[str, Any], random: Random) -> None:
    one, other = random.choice(document["nodes"]), random.choice(document["nodes"])
    one["while_waiting"] = other["id"]


def _withdraws(document: dict[str, Any], random: Random) -> None:
    one, other = random.choice(document["nodes"]), random.choice(document["nodes"])
    one["cancels"] = [*one.get("cancels", []), other["id"]]


def _undoes(document: dict[str, Any], random: Random) -> None:
    node = random.choice(document["nodes"])
    undo = {"id": f"u{len(document['nodes'])}", "type": "function", "config": {"handler": HANDLER}}
    if random.random() < 0.3:
        undo["mutex"] = random.choice("mn")
    if random.random() < 0.3:
        undo["requires_approval"] = {"expires": "1h"}
    node["compensate"] = undo["id"]
    document["nodes"].append(undo)


def _runs_another(document: dict[str, Any], random: Random) -> None:
    node = _plain(document, random)
    _become(node, "subflow", {"workflow": "another", **({"detached": True} if random.random() < 0.2 else {})})
    if random.random() < 0.5:
        node["timeout"] = "1h"
    if random.random() < 0.3:
        node["retry"] = {"max_attempts": 2, "base": "1s", "on": ["SUBFLOW_FAILED", "timeout"]}


def _shares(document: dict[str, Any], random: Random) -> None:
    for node in random.sample(document["nodes"], min(3, len(document["nodes"]))):
        node["concurrency"] = {"key": "'k'", "limit": LIMIT}
        if random.random() < 0.5:
            node["concurrency"]["fair"] = "run.id" if random.random() < 0.5 else repr(node["id"])
        if random.random() < 0.3:
            node["priority"] = random.choice(["high", "low"])


def _paces(document: dict[str, Any], random: Random) -> None:
    random.choice(document["nodes"])["rate_limit"] = {"key": "'r'", "limit": 2, "per": "365d"}


def _hurries(document: dict[str, Any], random: Random) -> None:
    random.choice(document["nodes"])["queue_timeout"] = "1h"


# fmt: off
DECORATIONS = (_retries, _agrees, _asks, _hears, _waits, _excludes, _runs_beside, _runs_beside, _withdraws, _undoes,
               _hurries)
# fmt: on


def _plain(document: dict[str, Any], random: Random) -> Node:
    """A node whose output decides nothing, where there is one."""
    edges = {edge["from"] for edge in document.get("edges", [])}
    nodes: list[Node] = document["nodes"]
    plain = [n for n in nodes if "rules" not in n and "loop" not in n and n["id"] not in edges]
    return random.choice(plain or nodes)


def _become(node: Node, kind: str, config: dict[str, Any]) -> None:
    node["type"], node["config"] = kind, config


@dataclass
class Handlers:
    """What steps do: by node, scope and attempt they succeed, fail for good or for now, or hand their token out."""

    document: Document
    seed: int
    oracle: Seeded = field(init=False)

    def __post_init__(self) -> None:
        graph = from_document({**self.document, "nodes": [_bare(node) for node in self.document["nodes"]]})  # type: ignore[attr-defined]
        self.oracle = Seeded.varied(graph, self.seed)

    @staticmethod
    def refuse(work: Work) -> Outcome:
        """Of runs without steps of their own."""
        raise AssertionError(f"{work.node.id} has no handler")

    def input(self) -> bytes:
        return encode_json(self.oracle.input())

    def __call__(self, work: Work) -> Outcome:
        where = scope_text(work.plan.ir, work.number, work.scope)
        drawn = self._draw(f"{work.node.id}|{where}|{work.attempt}")
        if drawn < 0.08 and work.word == "":
            return Waits(OUTSIDE, (outside_name(work.key, work.attempt),), 3_600_000 if drawn < 0.04 else None)
        if drawn < 0.16:
            raise ConnectionError("drawn")
        if not self.oracle.outcome(work.node.id, where).ok:
            raise FatalError("drawn")
        return Succeeded(encode_json(self.oracle.output(work.node.id, where)))

    def _draw(self, question: str) -> float:
        return int.from_bytes(blake2b(f"{self.seed}|{question}".encode(), digest_size=6).digest()) / 2**48


def _bare(node: Node) -> Node:
    return {name: value for name, value in node.items() if name not in ("while_waiting", "cancels", "compensate")}


def begin(seed: int, floor: Floor, plan: Plan, handlers: Handlers) -> Simulation:
    """A simulation of a drawn run; what happens besides is drawn by the seed, too."""
    return Simulation(
        plan=plan,
        handler=handlers,
        floor=floor,
        seed=seed,
        input=handlers.input(),
        chances=CHANCES[seed % len(CHANCES)],
    )
