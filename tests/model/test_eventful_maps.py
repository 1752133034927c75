"""Maps whose nodes also wait, ask, exclude, run beside and withdraw each other: every run ends, as its log says.

In memory, with everything that may happen to a run; at every step floor and log are held against each other, and the
checker's own walk must come to the same end. ``COURANTE_SIM_EXAMPLES`` sets how many are drawn.
"""

from __future__ import annotations

import os
from collections import Counter
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from chaos.oracles import maps as map_rules
from chaos.oracles.graph import read_graph
from courante.compiler.analysis import map_nodes
from courante.compiler.ir import encode_ir
from courante.replay import state_at
from courante.sdk.marking import maps
from courante.sdk.marking.scopes import scope_text
from courante.sdk.outcomes.outcomes import OUTSIDE, Outcome, Succeeded, Waits
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.signal_names import outside_name
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.eventful import CHANCES, decorated
from model.map_documents import Draws, document_of, draw_parts
from model.test_maps import CHUNKS, FILLS
from model.test_oracle_walk import events_of, walked

if TYPE_CHECKING:
    from courante.runner.work import Work
    from courante.testing.crew import Handler

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "60"))
FOUND = (56, 145, 184, 192, 196, 1114)
"""Seeds that have shown something when they were drawn first, and that meet what is rare."""


def simulate(seed: int) -> Simulation:
    document, handler = drawn_maps(seed)
    plan = plan_of(document)
    chances = CHANCES[seed % len(CHANCES)]
    return Simulation(plan=plan, handler=handler, floor=MemoryFloor(plan), seed=seed, chances=chances)


def drawn_maps(seed: int) -> tuple[dict[str, Any], Handler]:
    """A document of maps, and who runs its steps, in any version of it."""
    random = Random(f"eventful maps {seed}")
    parts = draw_parts(random, 1 + seed % 3, [0], policies=("all", "collect", *["fail_fast"] * 3))
    document = document_of(parts)
    document["policy"]["on_failure"] = "continue" if seed % 4 else "fail_fast"
    document = decorated(document, random, random.randint(2, 2 * len(document["nodes"])))
    draws = Draws(seed, failing=(0.0, 0.05, 0.2)[seed % 3])

    def handler(work: Work) -> Outcome:
        where = scope_text(work.plan.ir, work.number, work.scope)
        question = f"{seed}|{work.node.id}|{where}|{work.attempt}".encode()
        drawn = int.from_bytes(blake2b(question, digest_size=6).digest()) / 2**48
        if drawn < 0.08 and work.word == "":
            return Waits(OUTSIDE, (outside_name(work.key, work.attempt),), 3_600_000 if drawn < 0.04 else None)
        if drawn < 0.14:
            raise ConnectionError("drawn")
        if not draws.ok(work.node.id, where):
            raise FatalError("drawn")
        return Succeeded(encode_json(draws.output(work.node.id, where)))

    return document, handler


def test_every_run_with_maps_ends_as_its_log_says() -> None:
    ends: Counter[str] = Counter()
    words: set[str] = set()
    for seed in (*range(EXAMPLES), *FOUND):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(map_nodes, "CHUNK_MAX", CHUNKS[seed // 2 % len(CHUNKS)])
            patch.setattr(maps, "FILL_MAX", FILLS[seed % len(FILLS)])
            patch.setattr(map_rules, "EMITTED_MAX", FILLS[seed % len(FILLS)])
            simulation = simulate(seed)
            ends[simulation.run()] += 1
            events = events_of(simulation.log)
            assert walked(read_graph(encode_ir(simulation.plan.ir)), events).has_ended, seed
            words.update(event.type for event in events)
    assert set(ends) >= {"COMPLETED", "FAILED", "CANCELLED"}
    wanted = "closed continued collected dropped swept".split()
    assert {f"fanout.{word}" for word in wanted} | {"join.dropped", "mutex.granted", "step.withdrawn"} <= words


def test_every_state_of_a_run_with_maps_can_be_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """At each event, with the tokens that maps have of their own."""
    monkeypatch.setattr(map_nodes, "CHUNK_MAX", min(CHUNKS))
    monkeypatch.setattr(maps, "FILL_MAX", min(FILLS))
    kinds: set[str] = set()
    for seed in range(12, 40):
        simulation = simulate(seed)
        simulation.run()
        events = [event for call in simulation.log for event in call]
        for seq in range(len(events) + 1):
            state = msgspec.json.decode(msgspec.json.encode(state_at(simulation.plan.ir, events, seq)))
            assert len(state["tokens"]) == state["counter"]
            kinds |= {token["kind"] for token in state["tokens"]}
    assert {"step", "fill", "clear"} <= kinds
