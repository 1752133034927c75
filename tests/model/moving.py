"""Simulated runs that are moved to another version on their way."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from courante.compiler.fitting import fit
from courante.compiler.ir import encode_ir, ir_hash
from courante.sdk.fold.cuts import Cutter
from courante.sdk.fold.migrated import Move
from courante.sdk.marking.plan import Plan
from courante.sdk.migration.migrating import prove
from courante.sdk.migration.migration_calls import migrate_words
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.eventful import Handlers, eventful, is_accepted, taste_of
from model.versions import another_version

if TYPE_CHECKING:
    from courante.testing.crew import Handler
    from model.reading.graph import Document


def plans_of(seed: int) -> tuple[Plan, Plan, Handlers, Handlers]:
    """The plan of an eventful document, that of another version fitted to it, and who runs their steps."""
    document = eventful(seed, taste_of(seed))
    other = another_version(document, Random(seed), is_accepted)
    old = plan_of(document)
    return old, fitted(old, other), Handlers(document, seed), Handlers(other, seed)


def fitted(old: Plan, document: Document) -> Plan:
    content = encode_ir(fit(old.ir, plan_of(document).ir))
    return Plan.load(ir_hash(content), content)


def move_on_the_way(simulation: Simulation, new: Plan, handlers: Handler, seed: int) -> str:
    """Go on for some steps, and move if nothing stands in the way; return the verdict, or ``-`` where it does."""
    simulation.go_on(Random(f"moves {seed}").randint(0, 25))
    old = simulation.plan
    cutter = Cutter(old.ir)
    for event in (event for call in simulation.log for event in call):
        cutter.add(event)
    cut = cutter.cut()
    if prove(simulation.run_id, old, new, cut):
        return "-"
    move = Move(old.hash, new.hash, 2)
    words = migrate_words(simulation.run_id, old, new, cut.marking, move, epoch="", outbox_hard_max=10_000)
    verdict = simulation.move(words, new, handlers)
    simulation.trace.append(f"move {verdict}")
    return verdict
