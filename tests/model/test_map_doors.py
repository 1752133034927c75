"""Maps to which items are added by signals, and that wait for them again and again: every run ends as its log says.

``COURANTE_SIM_EXAMPLES`` sets how many are drawn.
"""

from __future__ import annotations

import os

import pytest

from chaos.oracles import maps as map_rules
from chaos.oracles.graph import read_graph
from courante.compiler.analysis import map_nodes
from courante.compiler.ir import encode_ir
from courante.runner.work import Work
from courante.sdk.marking import maps
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.door_documents import CHANCES, doors_document, driven
from model.test_oracle_walk import events_of, walked

EXAMPLES = int(os.environ.get("COURANTE_SIM_EXAMPLES", "40"))
SIZES = (100, 1, 2)
POLICIES = ("all", "collect", "fail_fast")


def nothing(_work: Work) -> Outcome:
    return Succeeded(encode_json({"yes": False}))


def simulate(seed: int) -> Simulation:
    plan = plan_of(doors_document(seed, POLICIES))
    chances = CHANCES[seed % len(CHANCES)]
    return Simulation(plan=plan, handler=nothing, floor=MemoryFloor(plan), seed=seed, chances=chances)


def test_every_run_with_doors_ends_as_its_log_says() -> None:
    ends: set[str] = set()
    for seed in range(EXAMPLES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maps, "FILL_MAX", SIZES[seed % len(SIZES)])
            patch.setattr(map_rules, "EMITTED_MAX", SIZES[seed % len(SIZES)])
            patch.setattr(map_nodes, "CHUNK_MAX", SIZES[seed // 2 % len(SIZES)])
            simulation = simulate(seed)
            ends.add(driven(simulation))
            assert walked(read_graph(encode_ir(simulation.plan.ir)), events_of(simulation.log)).has_ended, seed
    assert ends >= {"COMPLETED", "CANCELLED"}
