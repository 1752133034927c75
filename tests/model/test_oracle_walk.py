"""The checker's walk over logs of simulated runs: it follows every whole one, and no spoilt one.

Drawn documents with maps, with everything that may happen to a run, and runs that were cut and begun again. The logs
are the engine's; the walk is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from chaos.oracles import decisions, maps
from chaos.oracles.broken import Broken
from chaos.oracles.graph import Graph, read_graph
from chaos.oracles.log import Event
from chaos.oracles.restarts import check_taken
from chaos.oracles.walk import Walk
from courante.compiler.ir import encode_ir
from courante.sdk.events import RecordedEvent, encode_facts
from courante.sdk.marking import rules
from courante.testing.floor import MemoryFloor
from courante.testing.simulation import Simulation
from model.compiled import plan_of
from model.eventful import eventful, taste_of
from model.map_documents import POLICIES, Draws, draw_parts
from model.restarts import cut_at, drawn_cuts, go_on, log_of, restart_of, resume
from model.test_every_run_ends import simulate
from model.test_maps import FILLS, drive
from model.test_restarted_maps import CASES, CHANCES, Drawn

if TYPE_CHECKING:
    from courante.sdk.marking.plan import Plan

DECIDING = frozenset(
    {
        "fanout.closed",
        "fanout.collected",
        "fanout.completed",
        "fanout.continued",
        "fanout.dropped",
        "fanout.swept",
        "join.died",
        "join.dropped",
        "join.fired",
        "path.died",
        "step.failed",
        "step.skipped",
        "step.succeeded",
        "token.dropped",
        "token.withdrawn",
    }
)
"""Without one of these, or with one twice, a log is not that of a run."""
Change = Callable[[dict[str, Any]], None]


def event_of(event: RecordedEvent) -> Event:
    raw = encode_facts(event.facts)
    return Event(
        seq=event.seq,
        type=event.facts.type,
        at_ms=event.at_ms,
        node=event.facts.node,
        scope=event.facts.scope,
        attempt=event.facts.attempt,
        facts=json.loads(raw),
        raw=raw,
        payload_digest=None,
        prev_hash=b"",
        hash=b"",
        payload=event.payload,
        stored=event.payload,
    )


def events_of(calls: Iterable[Iterable[RecordedEvent]]) -> list[Event]:
    return [event_of(event) for call in calls for event in call]


def walked(graph: Graph, events: list[Event]) -> Walk:
    """A walk that knows everything it has met. Raises Broken."""
    walk = Walk(graph)
    walk.follow(events)
    assert not walk.unknown
    return walk


def is_followed(graph: Graph, events: list[Event]) -> bool:
    try:
        return walked(graph, events).has_ended
    except Broken:
        return False


def test_it_follows_drawn_maps_and_misses_none_of_their_events() -> None:
    """O1, O2, O3, with maps in maps, loops and branches, of which some are closed by a failure."""
    met: set[str] = set()
    for seed in range(48):
        parts = draw_parts(Random(f"walk {seed}"), 1 + seed % 3, [0], policies=(*POLICIES, "fail_fast", "fail_fast"))
        simulation, plan, _ = drive(parts, Draws(seed, failing=(0.0, 0.05, 0.2)[seed % 3]), seed)
        graph, events = read_graph(encode_ir(plan.ir)), events_of(simulation.log)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(maps, "EMITTED_MAX", FILLS[seed % len(FILLS)])
            assert walked(graph, events).has_ended, seed
            order = Random(seed).sample(range(len(events)), len(events))
            places = {events[place].type: place for place in order if events[place].type in DECIDING}
            for place in places.values():
                spoilt = events[:place] + events[place + 1 :]
                assert not is_followed(graph, spoilt), (seed, events[place])
                spoilt = [*events[:place], events[place], *events[place:]]
                assert not is_followed(graph, spoilt), (seed, events[place])
                met.add(events[place].type)
    assert met >= {kind for kind in DECIDING if kind.startswith("fanout.")} - {"fanout.dropped"}


def test_it_follows_runs_that_go_on_from_others() -> None:
    """O5: and finds in them what their base runs had."""
    for seed in range(40):
        base = simulate(seed)
        base.run()
        graph, events = read_graph(encode_ir(base.plan.ir)), [event for call in base.log for event in call]
        assert walked(graph, list(map(event_of, events))).has_ended, seed
        for cut, renewed in drawn_cuts(base.plan, events, Random(seed), 2):
            restart = restart_of(base.plan, cut, renewed)
            if restart is not None:
                log = log_of(base.plan, restart)
                again = go_on(base, restart.marking, log, eventful(seed, taste_of(seed)), seed)
                again.drive()
                assert findings(graph, events[: cut.seq], events_of(again.log)) == [], (seed, cut.seq)


def test_it_follows_decisions_in_several_parts() -> None:
    """O2, O3: where a transition has room for few effects, their tokens go on, also in a run begun again meanwhile."""
    met, kept, ended = 0, 0, 0
    for seed in range(90):
        with pytest.MonkeyPatch.context() as patch:
            for name, most in (("EFFECTS_MAX", 1 + seed % 3), ("WALK_MAX", (0, 1, 64)[seed % 3])):
                patch.setattr(rules, name, most)
                patch.setattr(decisions, name, most)
            base = simulate(seed)
            base.run()
            graph, events = read_graph(encode_ir(base.plan.ir)), [event for call in base.log for event in call]
            log = list(map(event_of, events))
            assert walked(graph, log).has_ended, seed
            places = [place for place, event in enumerate(log) if event.type == "effects.continued"]
            for place in places[:2]:
                assert not is_followed(graph, log[:place] + log[place + 1 :]), (seed, log[place])
                assert not is_followed(graph, [*log[:place], log[place], *log[place:]]), (seed, log[place])
            met += len(places)
            for place in places[:1]:
                cut = cut_at(base.plan, events, events[place].seq - 1)
                restart = None if cut is None else restart_of(base.plan, cut)
                if cut is None or restart is None:
                    continue
                ended += bool((cut.marking.errors.keys() | cut.marking.statuses.keys()) & cut.marking.tokens.keys())
                told = log_of(base.plan, restart)
                again = go_on(base, restart.marking, told, eventful(seed, taste_of(seed)), seed)
                again.drive()
                assert findings(graph, events[: cut.seq], events_of(again.log)) == [], (seed, cut.seq)
                kept += 1
    assert met > 50
    assert kept > 10
    assert ended > 3, "how a step has ended whose effects go on is told, too"


@pytest.mark.parametrize("name", CASES)
def test_it_follows_maps_that_go_on(name: str) -> None:
    plan = mapped(name)
    graph = read_graph(encode_ir(plan.ir))
    for seed in range(2):
        base = base_of(plan, seed)
        events = [event for call in base.log for event in call]
        for cut, renewed in drawn_cuts(plan, events, Random(seed), 4):
            restart = restart_of(plan, cut, renewed)
            if restart is not None:
                again = resume(plan, Drawn(seed), restart.marking, log_of(plan, restart), seed, CHANCES)
                again.compares_every = 1_000
                again.drive()
                assert findings(graph, events[: cut.seq], events_of(again.log)) == [], (seed, cut.seq)


def mapped(name: str) -> Plan:
    return plan_of({"courante": 1, "id": "mapped", "policy": {"on_failure": "continue"}, "nodes": CASES[name]})


def base_of(plan: Plan, seed: int) -> Simulation:
    made = Simulation(plan=plan, handler=Drawn(seed), floor=MemoryFloor(plan), seed=seed, chances=CHANCES)
    made.compares_every = 1_000
    made.run()
    return made


def findings(graph: Graph, base: list[RecordedEvent], events: list[Event]) -> list[str]:
    walk = walked(graph, events)
    assert walk.taken is not None
    assert walk.has_ended
    return [found.what for found in check_taken("run", walk.taken, walked(graph, list(map(event_of, base))))]


def test_what_a_run_takes_over_and_its_base_run_never_had_is_found() -> None:
    """O5: of each kind of event by which it is told, one is left out, and one says something else."""
    plan = mapped("collect, a window")
    graph, base = read_graph(encode_ir(plan.ir)), [event for call in base_of(plan, 3).log for event in call]
    seq = next(
        event.seq
        for event in base
        if (cut := cut_at(plan, base, event.seq)) is not None and cut.marking.joins and cut.marking.maps
    )
    cut = cut_at(plan, base, seq)
    assert cut is not None
    restart = restart_of(plan, cut)
    assert restart is not None
    told = [event_of(event) for event in log_of(plan, restart)]
    assert taken_findings(graph, base[:seq], told) == []
    changes: dict[str, Change] = {
        "step.reused": lambda facts: facts.update(scope="3"),
        "join.restored": lambda facts: facts["data"].update(live=facts["data"].get("live", 0) + 1),
        "fanout.restored": lambda facts: facts["data"].update(record=facts["data"]["record"].replace("4,", "5,", 1)),
        "token.restored": lambda facts: facts.setdefault("data", {}).update(kind="k"),
    }
    for kind, change in changes.items():
        place = next(place for place, event in enumerate(told) if event.type == kind)
        assert taken_findings(graph, base[:seq], told[:place] + told[place + 1 :]), kind
        other = [*told[:place], changed(told[place], change), *told[place + 1 :]]
        assert taken_findings(graph, base[:seq], other), kind
    value = next(place for place, event in enumerate(told) if event.type == "step.reused" and event.stored)
    other = [*told[:value], replace(told[value], stored=b'"other"'), *told[value + 1 :]]
    assert any("the output of" in what for what in taken_findings(graph, base[:seq], other))
    last = next(place for place, event in enumerate(told) if event.type == "run.restored")
    assert taken_findings(graph, base[:seq], told[:last] + told[last + 1 :]) == ["it was never told to the end"]
    late = [*told[: last + 1], told[last - 1], *told[last + 1 :]]
    assert "a run is told once" in "".join(taken_findings(graph, base[:seq], late))


def taken_findings(graph: Graph, base: list[RecordedEvent], told: list[Event]) -> list[str]:
    """What is found of the beginning of a run."""
    walk = Walk(graph)
    try:
        walk.follow(told)
    except Broken as broken:
        return [str(broken)]
    assert walk.taken is not None
    if not walk.taken.is_told:
        return ["it was never told to the end"]
    return [found.what for found in check_taken("run", walk.taken, walked(graph, list(map(event_of, base))))]


def changed(event: Event, change: Change) -> Event:
    facts: dict[str, Any] = json.loads(event.raw)
    change(facts)
    return replace(event, facts=facts, scope=str(facts.get("scope", "")))
