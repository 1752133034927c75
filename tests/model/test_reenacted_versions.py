"""A failed run that is enacted again by another version ends as a run of that version from its beginning would.

Documents, failures and versions are drawn. ``COURANTE_SIM_EXAMPLES`` sets how many.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from copy import deepcopy
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from courante.compiler.workflow import JoinPolicy
from courante.sdk.errors import NotRestartable
from courante.sdk.fold.fold import fold
from courante.sdk.marking.scopes import Scope, scope_text
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.reenactment.impact import executed
from courante.sdk.reenactment.oracle import Oracle, ask
from courante.sdk.reenactment.reenacting import Enacted, Enacting
from courante.sdk.restarts.reenacted_retries import Retrying
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import CALM, Simulation
from model.compiled import plan_of
from model.eventful import Handlers, eventful, is_accepted, taste_of
from model.map_documents import Draws, document_of, draw_parts
from model.reading.draw import SMALL, accepted
from model.reading.graph import from_document
from model.reading.oracle import Seeded
from model.restarts import log_of, resume
from model.test_every_run_ends import simulate
from model.test_reenacting import differences, events_of, without_order
from model.versions import another_version, wider_maps

if TYPE_CHECKING:
    from courante.runner.work import Work
    from courante.sdk.marking.plan import Plan
    from courante.sdk.reenactment.likeness import Seen

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "80"))
FIRST = 700_000
TIED = frozenset({JoinPolicy.ALL, JoinPolicy.EVERY, None})
"""Policies by which it does not matter who comes first."""


class Hands:
    """What steps of both versions do: what they give depends on what they get. ``done``: how often, by place and input.

    ``failing``: those that fail; None: as it is drawn. ``keys``: the last one of each place.
    """

    def __init__(self, kind: str, seed: int, *documents: Any) -> None:
        self._is_graph = kind == "graphs"
        self._maps = Draws(seed, failing=0.05)
        self._drawn = [Seeded.varied(from_document(document), seed) for document in documents] if self._is_graph else []
        self.done: Counter[str] = Counter()
        self.keys: dict[tuple[int, Scope], str] = {}
        self.failing: set[str] | None = None
        self.raised: set[str] = set()

    def input(self) -> bytes:
        whens = [drawn.input()["when"] for drawn in self._drawn]
        return encode_json({"when": {name: yes for when in whens for name, yes in dict(when).items()}})  # type: ignore[call-overload]  # drawn

    def key(self, work: Work) -> str:
        digest = hashlib.blake2b(work.input_bytes(), digest_size=4).hexdigest()
        return f"{work.node.id} {scope_text(work.plan.ir, work.number, work.scope)} {digest}"

    def __call__(self, work: Work) -> Outcome:
        key, place = self.key(work), (work.node.id, scope_text(work.plan.ir, work.number, work.scope))
        self.done[key] += 1
        self.keys[work.number, work.scope] = key
        if not self._is_ok(*place) if self.failing is None else key in self.failing:
            self.raised.add(key)
            raise FatalError("drawn")
        return Succeeded(encode_json(self._output(*place) | {"got": key}))

    def _is_ok(self, node: str, scope: str) -> bool:
        return self._last(node).outcome(node, scope).ok if self._is_graph else self._maps.ok(node, scope)

    def _output(self, node: str, scope: str) -> dict[str, Any]:
        return self._last(node).output(node, scope) if self._is_graph else self._maps.output(node, scope)

    def _last(self, node: str) -> Seeded:
        return next(drawn for drawn in reversed(self._drawn) if node in drawn.graph.nodes)


def drawn(kind: str, seed: int) -> tuple[Any, Any]:
    """A document, and another version of it: in another shape, and with another input of a step."""
    random = Random(f"versions {seed}")
    if kind == "graphs":
        before: Any = tied(accepted(seed, SMALL))
        after: Any = deepcopy(dict(another_version(before, random, is_accepted)))
    else:
        before = document_of(draw_parts(Random(f"plain {seed}"), 2, [0], circles=1))
        after = deepcopy(dict(wider_maps(before, random, is_accepted)))
    steps = [node for node in after["nodes"] if node["type"] == "function"]
    if random.random() < 0.5:
        random.choice(steps)["input"] = {"other": "1"}
    return before, after


def tied(document: Any) -> Any:
    """A document without joins of its own, where it may be."""
    plain = deepcopy(dict(document))
    for node in plain["nodes"]:
        node.pop("join", None)
    return plain if is_accepted(plain) else document


def is_tied(plan: Plan) -> bool:
    return all(node.join in TIED and not node.is_each for node in plan.ir.nodes)


async def at_once(enacting: Enacting) -> Enacted:
    return enacting.run()


def retrying(old: Plan, new: Plan, oracle: Oracle) -> Retrying:
    seen: dict[Any, Seen] = {}
    Enacting(old, oracle, seen=seen).run()
    return Retrying(old, new, oracle, seen)


@pytest.mark.parametrize("kind", ["graphs", "maps"])
def test_it_ends_as_a_run_of_the_new_version(kind: str) -> None:
    """And what it takes over is not executed: together they have done what the whole run does, and no more."""
    ends: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + EXAMPLES):
        before, after = drawn(kind, seed)
        old, new = plan_of(before), plan_of(after)
        if not (is_tied(old) and is_tied(new)):
            continue
        hands = Hands(kind, seed, before, after)
        input = hands.input()
        base = Simulation(plan=old, handler=hands, floor=MemoryFloor(old), seed=seed, input=input, chances=CALM)
        if base.run() != "FAILED":
            continue
        oracle = ask(old.ir, events_of(base))
        seen: dict[Any, Seen] = {}
        Enacting(old, oracle, seen=seen).run()
        went_on = {hands.keys.get(at) for at in seen if oracle.answers[at].settled.status == "FAILED"}
        hands.failing = hands.raised & went_on
        hands.done = Counter()
        found = anyio.run(Retrying(old, new, oracle, seen).read, at_once)
        restart = found.restart
        log = log_of(new, restart)
        again = resume(new, hands, restart.marking, log, seed, CALM)
        end = again.drive()
        done, hands.done = hands.done, Counter()
        fresh = Simulation(plan=new, handler=hands, floor=MemoryFloor(new), seed=seed, input=input, chances=CALM)
        assert fresh.run() == end, seed
        ends[end] += 1
        if end != "COMPLETED":
            continue
        one, other = fold(new.ir, events_of(again)), fold(new.ir, events_of(fresh))
        assert differences(without_order(one), without_order(other)) == [], seed
        assert not done - hands.done, (seed, "what it does, the whole run does")
        spared = sum(hands.done.values()) - sum(done.values())
        ends["spared"] += spared
        first = {new.node_ids[number] for number in executed(new.ir, restart.marking)}
        assert set(found.why) <= first, seed
    assert ends["COMPLETED"] > EXAMPLES // 20
    assert ends["spared"] > EXAMPLES // 10


def test_whatever_happened_to_the_base_it_comes_to_an_end() -> None:
    """Also where it waited, excluded, withdrew and undid: floor and log agree after every step, and nothing hangs."""
    ends: Counter[str] = Counter()
    for seed in range(FIRST, FIRST + EXAMPLES // 2):
        document = eventful(seed, taste_of(seed))
        other = another_version(document, Random(seed), is_accepted)
        base = simulate(seed)
        if base.run() == "COMPLETED":
            continue
        new = plan_of(other)
        try:
            found = anyio.run(retrying(base.plan, new, ask(base.plan.ir, events_of(base))).read, at_once)
        except NotRestartable as error:
            ends[error.reason] += 1
            continue
        log = log_of(new, found.restart)
        again = resume(new, Handlers(other, seed), found.restart.marking, log, seed, base.chances)
        ends[again.drive()] += 1
        restarted = ask(new.ir, events_of(again))
        assert Enacting(new, restarted).run().cut.marking.phase, seed
    assert {"COMPLETED", "FAILED"} <= set(ends), ends
