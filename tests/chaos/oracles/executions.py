"""Executions: the handlers' own journal against the log (O7), and a disturbed run against a calm one (O10)."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from chaos.nonces import nonce_of, without_nonces
from chaos.oracles.finding import Finding
from chaos.oracles.graph import Graph
from chaos.oracles.log import FINAL, Event

COMPARED = FINAL | {"step.succeeded", "step.skipped", "path.died", "gate.passed", "join.died"}
"""What an undisturbed run of the same kind must have as well, in whatever order."""

EXPLAINING = frozenset({"step.succeeded", "step.failed", "step.retried", "token.dropped", "token.claimed"})
"""What an execution comes to: the end of an attempt, or that another worker has its token."""

Place = tuple[str, str, str]


def read_journal(path: Path) -> dict[Place, list[dict[str, Any]]]:
    """Executions by run, node and scope. A line that was cut short by a kill is none."""
    found: dict[Place, list[dict[str, Any]]] = defaultdict(list)
    if path.exists():
        for line in path.read_text("utf-8").splitlines():
            said: dict[str, Any] = json.loads(line)
            found[said["run"], said["node"], said["scope"]].append(said)
    return found


def check_executions(
    log: Mapping[str, list[Event]],
    graphs: Mapping[str, Graph],
    journal: Mapping[Place, list[dict[str, Any]]],
    excess_max: int,
    *,
    claimed_max: int | None = None,
) -> Iterator[Finding]:
    """O7: a recorded output was made by an execution; every execution has come to something that the log knows.

    graphs: by run. excess_max: executions whose traces were lost with Redis' data. claimed_max: takeovers that faults
    explain; None where leases may run out.
    """
    explained: Counter[Place] = Counter()
    claimed = 0
    for run_id, events in log.items():
        for event in events:
            place = (run_id, event.node, graphs[run_id].people(event.node, event.scope))
            explained[place] += event.type in EXPLAINING
            claimed += event.type == "token.claimed"
            if event.type == "step.succeeded" and event.payload is not None:
                yield from _check_output(place, event, journal)
    excess = 0
    for place, lines in journal.items():
        keys = {line["key"] for line in lines}
        if len(keys) != 1:
            yield Finding("O7", place[0], f"{place[1]} was executed under several keys: {sorted(keys)}")
        is_open = place[0] not in log or log[place[0]][-1].type not in FINAL
        beyond = len(lines) - explained[place] - is_open
        if beyond > 0 and not excess_max:
            what = f"{place[1]} {place[2]} was executed {len(lines)} times; the log explains {explained[place]}"
            yield Finding("O7", place[0], what)
        excess += max(0, beyond)
    if excess > excess_max:
        yield Finding("O7", "", f"{excess} executions that the log does not explain; losses explain {excess_max}")
    if claimed_max is not None and claimed > claimed_max:
        yield Finding("O7", "", f"{claimed} tokens were taken over; the faults explain {claimed_max}")


def _check_output(place: Place, event: Event, journal: Mapping[Place, list[dict[str, Any]]]) -> Iterator[Finding]:
    nonce = nonce_of(json.loads(event.payload or b"null"))
    if place in journal and nonce not in {line["nonce"] for line in journal[place]}:
        yield Finding("O7", place[0], f"the output of {place[1]} was made by no execution of it")


def canonical(events: list[Event]) -> list[str]:
    """What a run came to, without times, attempts, workers and order: one line per event that decides something."""
    lines: list[str] = []
    for event in events:
        if event.type in COMPARED or (event.type == "step.failed"):
            said = {name: event.facts.get(name) for name in ("edges", "loop", "reason")}
            payload = None if event.payload is None else without_nonces(json.loads(event.payload))
            lines.append(json.dumps([event.type, event.node, event.scope, said, payload], sort_keys=True))
    return sorted(lines)


def check_calm(run_id: str, kind: str, events: list[Event], calm: Mapping[str, list[str]]) -> Iterator[Finding]:
    """O10: a disturbed run comes to what a calm one of its kind comes to."""
    if kind not in calm or not events or events[-1].type not in FINAL:
        return
    found, wanted = Counter(canonical(events)), Counter(calm[kind])
    if found != wanted:
        more, less = sorted((found - wanted).elements()), sorted((wanted - found).elements())
        yield Finding("O10", run_id, f"{kind}: unlike a calm run it has {more[:3]} and misses {less[:3]}")
