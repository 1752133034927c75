"""Maps inside of maps, loops and branches: exactly the right steps run, in the right scopes, whatever happens.

Simulated runs in memory, by the engine's own rules; each is held against its log at every step. Some servers forget
everything on the way, some workers die. ``COURANTE_MODEL_EXAMPLES`` sets how many are drawn.
"""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from courante.compiler.analysis import map_nodes
from courante.sdk.marking import maps
from courante.sdk.marking.scopes import parse_scope_key, scope_text
from courante.sdk.outcomes.outcomes import Outcome, Succeeded
from courante.sdk.outcomes.step_context import encode_json
from courante.sdk.user_errors import FatalError
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Chances, Simulation
from model.compiled import plan_of
from model.map_documents import Draws, Reading, document_of, draw_parts

if TYPE_CHECKING:
    from courante.runner.work import Work
    from courante.sdk.marking.plan import Plan
    from model.map_documents import Part

EXAMPLES = int(os.environ.get("COURANTE_MODEL_EXAMPLES", "0")) or 150
CHANCES = (
    Chances(meddling=0.0),
    Chances(meddling=0.0, crashing=0.2, twice=0.2, stale=0.2, giving_back=0.1, recording=0.1),
    Chances(meddling=0.0, losing=0.05, crashing=0.1),
    Chances(meddling=0.0, losing=0.05, recording=0.1),
)
FILLS = (100, 1, 2)
CHUNKS = (100, 1, 2)
"""Most tokens that a map emits at once, and results that are kept as one: what is rare is made common."""


def steps_of(simulation: Simulation, plan: Plan, kind: str) -> list[str]:
    events = [event for call in simulation.log for event in call if event.facts.type == kind]
    return [
        f"{facts.node} {scope_text(plan.ir, plan.numbers[facts.node], parse_scope_key(facts.scope))}".strip()
        for facts in (event.facts for event in events)
    ]


def output_of(simulation: Simulation, node: str) -> Any:
    """What a node gave at last; errors of items are told as ``lost``."""
    for call in reversed(simulation.log):
        for event in reversed(call):
            if event.facts.type == "step.succeeded" and event.facts.node == node and event.payload is not None:
                return _told(msgspec.json.decode(event.payload))
    return None


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return [_told(each) for each in value]  # pyright: ignore[reportUnknownVariableType] - JSON
    if isinstance(value, dict) and set(value) == {"error"}:  # pyright: ignore[reportUnknownArgumentType] - JSON
        return "lost"
    return value  # pyright: ignore[reportUnknownVariableType] - JSON


def drive(parts: list[Part], draws: Draws, seed: int) -> tuple[Simulation, Plan, str]:
    """Run a document to its end; return how it ended."""

    def handler(work: Work) -> Outcome:
        where = scope_text(plan.ir, work.number, work.scope)
        if not draws.ok(work.node.id, where):
            raise FatalError("drawn")
        return Succeeded(encode_json(draws.output(work.node.id, where)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(maps, "FILL_MAX", FILLS[seed % len(FILLS)])
        patch.setattr(map_nodes, "CHUNK_MAX", CHUNKS[seed // 2 % len(CHUNKS)])
        plan = plan_of(document_of(parts, seed % 4))
        chances = CHANCES[seed // 3 % len(CHANCES)]
        simulation = Simulation(plan=plan, floor=MemoryFloor(plan), handler=handler, seed=seed, chances=chances)
        return simulation, plan, simulation.run()


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_drawn_maps_run_what_the_reading_says(seed: int) -> None:
    """Completed and failed steps, their scopes, the order of results and the end are those of the reading."""
    parts = draw_parts(Random(f"maps {seed}"), 1 + seed % 3, [0])
    agrees(parts, Draws(seed, failing=(0.0, 0.05, 0.2)[seed % 3]), seed)


@pytest.mark.parametrize("seed", range(EXAMPLES // 2))
def test_drawn_maps_in_loops_run_what_the_reading_says(seed: int) -> None:
    """Loops whose bodies have maps and branches, inside of maps again."""
    parts = draw_parts(Random(f"maps in loops {seed}"), 2 + seed % 2, [0], circles=3)
    agrees(parts, Draws(seed, failing=(0.0, 0.02, 0.1)[seed % 3]), seed)


def agrees(parts: list[Part], draws: Draws, seed: int) -> None:
    simulation, plan, status = drive(parts, draws, seed)
    reading = Reading(draws).read(parts)
    assert sorted(steps_of(simulation, plan, "step.succeeded")) == sorted(reading.completed)
    assert sorted(steps_of(simulation, plan, "step.failed")) == sorted(reading.failed)
    assert status == ("FAILED" if reading.status == "failed" else "COMPLETED")
    if reading.status == "live":
        assert output_of(simulation, parts[-1].end) == reading.output


@pytest.mark.parametrize("seed", range(EXAMPLES))
def test_maps_that_close_at_the_first_failure_end_alike(seed: int) -> None:
    """Every run ends, as it would if all items had settled first; it runs some of the steps, and no others."""
    parts = draw_parts(Random(f"fast maps {seed}"), 1 + seed % 3, [0], policies=("fail_fast", "fail_fast", "all"))
    draws = Draws(seed, failing=(0.05, 0.2)[seed % 2])
    simulation, plan, status = drive(parts, draws, seed)
    reading = Reading(draws).read(parts)
    assert set(steps_of(simulation, plan, "step.succeeded")) <= set(reading.completed)
    assert set(steps_of(simulation, plan, "step.failed")) <= set(reading.failed)
    assert status == ("FAILED" if reading.status == "failed" else "COMPLETED")
