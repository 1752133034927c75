"""Runs cut and begun again: what a restarted run's log says, as the scripts would write it, and how it goes on."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from courante.sdk.errors import NotRestartable
from courante.sdk.events import Facts, RecordedEvent
from courante.sdk.floor.restoring import restore
from courante.sdk.fold.cuts import At, Cut, Cutter
from courante.sdk.fold.fold import Folder
from courante.sdk.marking.marking import GOES_ON, Corrupt, Marking, Place
from courante.sdk.marking.scopes import parse_token_key, scope_key
from courante.sdk.reenactment.reenacting import Enacting
from courante.sdk.reenactment.restarting import RestartPlan, restart_plan, started
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Chances, Simulation
from model.eventful import Handlers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from courante.sdk.marking.plan import Plan
    from courante.sdk.reenactment.oracle import Oracle
    from courante.sdk.reenactment.reenacting import Enacted
    from courante.testing.crew import Handler

NOW_MS = 5_000_000


def reenact(
    plan: Plan,
    oracle: Oracle,
    *,
    stop: Collection[int] = (),
    given: Mapping[At, bytes] | None = None,
    reroute: bool = False,
    input: bytes | None = None,
) -> Enacted:
    """Play a run again to its end: see ``Enacting``, where nothing has to be brought."""
    return Enacting(plan, oracle, stop=frozenset(stop), given=given or {}, is_rerouting=reroute, input=input).run()


def cut_at(plan: Plan, events: list[RecordedEvent], seq: int) -> Cut | None:
    """The run after event ``seq``; None where it cannot be cut there."""
    cutter = Cutter(plan.ir)
    for event in events[:seq]:
        cutter.add(event)
    try:
        return cutter.cut()
    except Corrupt:
        return None


def whole_cut(plan: Plan, events: list[RecordedEvent], seq: int) -> Cut | None:
    """The run after event ``seq``; None in the middle of a transition."""
    cutter = Cutter(plan.ir)
    for event in events[:seq]:
        cutter.add(event)
    return cutter.cut() if cutter.is_whole else None


def drawn_cuts(plan: Plan, events: list[RecordedEvent], random: Random, most: int) -> Iterator[tuple[Cut, list[At]]]:
    """Some places where the run may be cut, each with a token that begins anew. What is rare is met where it is."""
    chosen = random.sample(range(1, len(events)), min(most, len(events) - 1))
    for seq in [*chosen, *(random.choice(rare) for rare in _rare(plan, events) if rare)]:
        cut = cut_at(plan, events, seq)
        if cut is not None:
            floor = [at for at, token in cut.marking.tokens.items() if token.place is Place.FLOOR]
            yield cut, [random.choice(floor)] if floor else []


def _rare(plan: Plan, events: list[RecordedEvent]) -> tuple[list[int], list[int]]:
    """Where a milestone was reached, and where a mutex is waited for, while the run goes on."""
    folder, marked, waited = Folder(plan.ir), list[int](), list[int]()
    for event in events[:-1]:
        folder.add(event)
        marking = folder.marking
        if marking.phase in GOES_ON and marking.tokens:
            marked += [event.seq] if marking.marks else []
            waited += [event.seq] if any(mutex.waiters for mutex in marking.mutexes.values()) else []
    return marked, waited


def restart_of(plan: Plan, cut: Cut, renewed: Collection[At] = ()) -> RestartPlan | None:
    try:
        return restart_plan(plan, cut, renewed)
    except NotRestartable:
        return None


def log_of(plan: Plan, restart: RestartPlan, now_ms: int = NOW_MS) -> list[RecordedEvent]:
    """The log with which the new run begins."""
    said: list[tuple[Facts, bytes | None]] = [
        (Facts(type="run.started", data={"restored": True}), restart.marking.input),
        *restart.events,
    ]
    for wait in restart.waits:
        said.append((wait.facts, None))
        if wait.due:
            due = now_ms + int(wait.due[1:]) if wait.due.startswith("+") else int(wait.due)
            node, scope = parse_token_key(wait.token)
            said.append((Facts(type="timer.set", node=plan.node_ids[node], scope=scope_key(scope), due=due), None))
    return list(_numbered(said, now_ms))


def _numbered(said: Iterable[tuple[Facts, bytes | None]], now_ms: int) -> Iterator[RecordedEvent]:
    for seq, (facts, payload) in enumerate(said, start=1):
        yield RecordedEvent(run_id="run", seq=seq, at_ms=now_ms, facts=facts, payload=payload)


def go_on(base: Simulation, marking: Marking, log: list[RecordedEvent], document: object, seed: int) -> Simulation:
    """A simulation that goes on from a marking, with drawn handlers."""
    return resume(base.plan, Handlers(document, seed), marking, log, seed, base.chances)  # type: ignore[arg-type]


def resume(
    plan: Plan, handler: Handler, marking: Marking, log: list[RecordedEvent], seed: int, chances: Chances
) -> Simulation:
    """A simulation that goes on from a marking, on a floor in memory; nothing but ``drive`` is left to do."""
    floor = MemoryFloor(plan)
    floor.restore(restore("run", plan, started(marking, NOW_MS)))
    made = Simulation(plan=plan, handler=handler, floor=floor, seed=seed, input=marking.input, chances=chances)
    take_over(made, log)
    return made


def take_over(simulation: Simulation, log: list[RecordedEvent]) -> None:
    """Let a simulation know what its floor has said already."""
    simulation.log.append(log)
    simulation.recorded = 1
    for event in log:
        simulation.folder.add(event)
        simulation.invariants.add(event)
    simulation.invariants.check(simulation.floor.marking(), simulation.folder.marking)
