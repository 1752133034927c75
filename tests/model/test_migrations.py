"""A run that moves to another version ends as that version says, or is refused with what stands in the way.

Drawn documents, driven to a drawn place, and drawn other versions of them (``versions``). ``COURANTE_MODEL_EXAMPLES``
sets how many; what fails names its seed.
"""

from __future__ import annotations

import os
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest

from courante.compiler.analysis import map_nodes
from courante.compiler.fitting import fit
from courante.compiler.ir import Ir, encode_ir, ir_hash
from courante.sdk.errors import Blocker
from courante.sdk.fold.cuts import Cutter
from courante.sdk.marking import maps, rules
from courante.sdk.marking.marking import RunPhase
from courante.sdk.marking.plan import Plan
from courante.sdk.migration.migrating import prove
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import Parking, plan_of, with_delays
from model.eventful import CHANCES, begin, is_accepted
from model.interleave import compare, drive_on
from model.moving import fitted, move_on_the_way, plans_of
from model.reading.draw import LARGE, SMALL, accepted
from model.reading.graph import Document, from_document
from model.reading.oracle import Seeded
from model.reading.reading import read
from model.test_eventful_maps import drawn_maps
from model.test_maps import CHUNKS, FILLS
from model.versions import another_version, wider_maps
from unit.logged_engine import LoggedEngine

if TYPE_CHECKING:
    from courante.sdk.fold.cuts import Cut

EXAMPLES = int(os.environ.get("COURANTE_MODEL_EXAMPLES", "0")) or 300
SIMULATED = int(os.environ.get("COURANTE_SIM_EXAMPLES", "120"))
LOST = 718
"""The seed of a run that moves, of which somebody has a step in hand, and whose move is lost with the server."""
CODES = {"node_gone", "step_gone", "region_changed", "join_changed", "join_gone", "way_missing"}
"""What some seed must be refused for, or nothing is shown."""


def plan_for(ir: Ir) -> Plan:
    content = encode_ir(ir)
    return Plan.load(ir_hash(content), content)


def drive_some(engine: LoggedEngine, random: Random) -> None:
    """Begin a run and leave it somewhere."""
    engine.start()
    for _ in range(random.choice((0, 1, 2, 3, 4, 6, 9, 14, 20))):
        tokens = engine.tokens()
        if not tokens:
            return
        engine.deliver(random.choice(tokens))


def cut_of(engine: LoggedEngine) -> Cut:
    cutter = Cutter(engine.ir)
    for event in engine.log:
        cutter.add(event)
    return cutter.cut()


def activations(ir: Ir) -> dict[str, list[tuple[str, str]]]:
    """What each index behind an ``each`` join stands for."""
    return {
        node.id: [(ir.nodes[ir.edges[edge].origin].id, ir.edges[edge].kind.value) for edge in node.ins]
        for node in ir.nodes
        if node.is_each
    }


def migrate(seed: int) -> list[Blocker] | None:
    """Drive, move and drive on; return what stands in the way, None where the run was over before."""
    random = Random(seed)
    before = accepted(seed, LARGE if seed % 5 == 0 else SMALL)
    after = another_version(before, random)
    graph = from_document(after)
    old = plan_of(with_delays(before, seed))
    compiled = plan_of(with_delays(after, seed)).ir
    new = plan_for(fit(old.ir, compiled))
    if activations(new.ir) != activations(compiled):
        return None  # the reading counts the ways of the new version by itself, and names scopes by them
    engine = LoggedEngine(old.ir, Seeded.varied(from_document(before), seed), Parking(seed=seed, share=0.2))
    drive_some(engine, random)
    if engine.marking.phase is not RunPhase.RUNNING or not engine.tokens():
        return None
    blockers = prove("run_1", old, new, cut_of(engine))
    if blockers:
        return blockers
    engine.ir = new.ir
    engine.oracle = Seeded.varied(graph, seed)
    driven = drive_on(engine, seed)
    compare(engine, driven, graph, read(graph, engine.oracle))
    return []


def test_a_run_that_moves_ends_as_the_new_version_says() -> None:
    refused: Counter[str] = Counter()
    moved = 0
    for seed in range(EXAMPLES):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rules, "WALK_MAX", (64, 0, 1)[seed % 3])
            try:
                blockers = migrate(seed)
            except Exception as error:
                raise AssertionError(f"seed {seed}: {error}") from error
        refused.update({blocker.code for blocker in blockers or ()})
        moved += blockers == []
    assert moved > EXAMPLES / 8
    assert not CODES - set(refused), "the seeds are worth nothing"


def test_a_version_fits_itself_and_is_fitted_once() -> None:
    for seed in range(EXAMPLES // 3):
        before: Document = accepted(seed, LARGE if seed % 5 == 0 else SMALL)
        after = another_version(before, Random(seed))
        old, new = plan_of(before).ir, plan_of(after).ir
        fitted = fit(old, new)
        assert fit(old, old) == old
        assert fit(fitted, new) == fitted
        assert fit(fitted, fitted) == fitted
        again = fit(fitted, old)
        assert [node.id for node in again.nodes][: len(old.nodes)] == [node.id for node in old.nodes]


def test_a_simulated_run_that_moves_comes_to_its_end() -> None:
    """With all that may happen to it, before and behind: floor and log agree after every step, and nothing hangs."""
    verdicts: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for seed in range(SIMULATED):
        old, new, handlers, others = plans_of(seed)
        simulation = begin(seed, MemoryFloor(old), old, handlers)
        try:
            simulation.begin()
            verdict = move_on_the_way(simulation, new, others, seed)
            verdicts[verdict if old.hash != new.hash else "same"] += 1
            if verdict == "A":
                ends[simulation.drive()] += 1
        except Exception as error:
            last = "\n  ".join(simulation.trace[-60:])
            raise AssertionError(f"seed {seed}: {error!r}\n  {last}") from error
    assert {"A", "B", "-"} <= set(verdicts), verdicts
    assert {"COMPLETED", "FAILED", "CANCELLED"} <= set(ends), ends


def test_a_run_with_open_maps_moves_and_comes_to_its_end() -> None:
    """To other windows, and with more behind them: no item is lost or made twice."""
    moved = 0
    for seed in (*range(SIMULATED), LOST):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(map_nodes, "CHUNK_MAX", CHUNKS[seed // 2 % len(CHUNKS)])
            patch.setattr(maps, "FILL_MAX", FILLS[seed % len(FILLS)])
            document, handler = drawn_maps(seed)
            old = plan_of(document)
            new = fitted(old, wider_maps(document, Random(seed), is_accepted))
            chances = CHANCES[seed % len(CHANCES)]
            simulation = Simulation(plan=old, handler=handler, floor=MemoryFloor(old), seed=seed, chances=chances)
            simulation.begin()
            if old.hash != new.hash and move_on_the_way(simulation, new, handler, seed) == "A":
                moved += bool(simulation.floor.marking().maps)
                assert simulation.drive()
    assert moved, "no run had an open map"
