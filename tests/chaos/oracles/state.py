"""State: what Redis holds against what the log says (O1, O5), and against itself."""

from __future__ import annotations

from collections.abc import Iterator

from chaos.oracles.finding import Finding
from chaos.oracles.layout import TIMED, WAITING, LivePartition, LiveRun
from chaos.oracles.log import Event
from chaos.oracles.walk import Place, Walk


def check_ledger(run_id: str, run: LiveRun, partition: LivePartition) -> Iterator[Finding]:
    """O1: the counter is the number of living tokens, and each of them has what will wake it."""
    if run.phase == "H":
        yield Finding("O8", run_id, "the run is halted")
    if run.counter != len(run.tokens):
        yield Finding("O1", run_id, f"the counter is {run.counter}, and {len(run.tokens)} tokens live")
    unfinished = len(run.joins) + len(run.maps)
    if run.unfinished != unfinished:
        yield Finding("O1", run_id, f"{run.unfinished} joins and open maps are counted, and {unfinished} are there")
    if run.phase == "E" and (run.tokens or run.counter):
        yield Finding("O1", run_id, f"the run has ended with living tokens: {sorted(run.tokens)[:3]}")
    for token, record in run.tokens.items():
        wakes = f"{run_id}|{token}|{record.fence}"
        if record.place == "q" and partition.entries.get(record.stream, {}).get(record.entry) != wakes:
            yield Finding("O1", run_id, f"token {token} is queued, and its entry {record.entry} is not there")
        if record.place in TIMED and record.entry and wakes not in partition.timers:
            yield Finding("O1", run_id, f"token {token} is parked, and no timer wakes it")


def check_leftovers(partition: LivePartition) -> Iterator[Finding]:
    """O1: where every run has ended, nothing waits for anything."""
    if any(run.phase != "E" for run in partition.runs.values()):
        return
    for stream, entries in partition.entries.items():
        if entries:
            yield Finding("O1", "", f"{len(entries)} entries are left in {stream}: {sorted(entries.values())[:3]}")
    for name, count in (("timers", len(partition.timers)), ("done", partition.done), ("submit", partition.submitted)):
        if count:
            yield Finding("O1", "", f"{count} are left in {name}")


def check_fold(run_id: str, run: LiveRun, walk: Walk, events: list[Event]) -> Iterator[Finding]:
    """O5: the log from its beginning comes to the state that Redis has. The outbox must be drained."""
    if run.seq != len(events):
        yield Finding("O5", run_id, f"Redis is at event {run.seq}, the log at {len(events)}")
        return
    logged, live = {_key(place) for place in walk.living}, set(run.tokens)
    if logged != live:
        yield Finding("O5", run_id, f"living by the log {sorted(logged - live)}, in Redis {sorted(live - logged)}")
    joins = {_key(place) for place in walk.joins}
    if run.phase != "E" and joins != set(run.joins):
        yield Finding("O5", run_id, f"half-filled by the log {sorted(joins)}, in Redis {sorted(run.joins)}")
    maps = {_key(place): known.text for place, known in walk.opened.items()}
    if run.phase != "E" and maps != run.maps:
        yield Finding("O5", run_id, f"open maps by the log {sorted(maps.items())}, in Redis {sorted(run.maps.items())}")
    for place, state in walk.living.items():
        record = run.tokens.get(_key(place))
        if record is not None and (state == "parked") != (record.place in WAITING):
            yield Finding("O5", run_id, f"token {_key(place)} is {state} by the log and {record.place!r} in Redis")
    outputs = {f"o{_key(place)}": value for place, value in walk.outputs.items()}
    for field, value in run.values.items():
        if field[0] == "o" and field != "out" and outputs.get(field) != value:
            yield Finding("O5", run_id, f"{field} is {value[:40]!r} in Redis and {outputs.get(field)!r} in the log")


def _key(place: Place) -> str:
    number, scope = place
    return f"{number}:{'.'.join(map(str, scope))}" if scope else str(number)
