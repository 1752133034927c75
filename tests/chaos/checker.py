"""The checker: holds Redis, the log and the handlers' journal against what is promised. Imports nothing of the engine.

``python -m chaos.checker --env E --accepted FILE --journal FILE`` prints a line per finding, at most 20, and a last
line of JSON that counts what was looked at; the exit code is 1 when there was a finding. Servers are those of
COURANTE_REDIS_URL and COURANTE_DATABASE_URL. O9, the model of the scripts, is in tests/model.

--accepted: JSON, acknowledged runs and the kind of each. --excess: executions whose traces were lost with Redis' data.
--claimed: most takeovers of tokens; left out where leases may run out. --unended: some runs still go on, but nothing
moves. --calm, --keep-calm: what runs of each kind come to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
from redis.asyncio import Redis

from chaos.oracles.broken import Broken, GaveUp
from chaos.oracles.children import Link, check_children
from chaos.oracles.executions import Place, canonical, check_calm, check_executions, read_journal
from chaos.oracles.finding import Finding
from chaos.oracles.graph import Graph, read_graph
from chaos.oracles.layout import LivePartition, read_partition
from chaos.oracles.log import FINAL, Event, check_chain, read_log
from chaos.oracles.replayed import REPLAY, read_verdicts
from chaos.oracles.restarts import Taken, check_taken
from chaos.oracles.state import check_fold, check_ledger, check_leftovers
from chaos.oracles.walk import Walk

DRAIN_S = 60.0
REPLAYED_AT_ONCE = 200
SHOWN_MAX = 20


@dataclass
class Seen:
    """Everything, read once. ``graphs``: by IR. ``starts``: the IR that a run began with. ``rows``: status by run.

    ``commands``: (run, number) of all but starts.
    """

    log: dict[str, list[Event]]
    graphs: dict[str, Graph]
    partitions: list[LivePartition]
    journal: dict[Place, list[dict[str, Any]]]
    starts: dict[str, str]
    commands: set[tuple[str, int]]
    rows: dict[str, str]
    links: list[Link] = field(default_factory=list[Link])
    gave_up: list[str] = field(default_factory=list[str])
    unknown: set[str] = field(default_factory=set[str])

    def ir_of(self, run_id: str, upto: int | None = None) -> str:
        """The IR that a run has, or had after an event."""
        moved = [e for e in self.log.get(run_id, []) if e.type == "run.migrated" and (upto is None or e.seq <= upto)]
        return str(moved[-1].facts["data"]["ir"]) if moved else self.starts[run_id]

    @property
    def last_graphs(self) -> dict[str, Graph]:
        """By run: the graph of its last version, which has all nodes of those before."""
        return {run_id: self.graphs[self.ir_of(run_id)] for run_id in self.starts}

    def walk(self, run_id: str) -> Walk:
        return Walk(self.graphs[self.starts[run_id]], self.graphs)

    @property
    def partition(self) -> LivePartition:
        """The first one, where there is no other."""
        return self.partitions[0]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is allowed. See the arguments of the program."""

    excess_max: int = 0
    claimed_max: int | None = None
    is_unended: bool = False


def main() -> int:
    given = _arguments()
    calm: dict[str, list[str]] = json.loads(Path(given.calm).read_text("utf-8")) if given.calm else {}
    accepted: dict[str, str] = json.loads(Path(given.accepted).read_text("utf-8"))
    seen = asyncio.run(
        read_all(
            os.environ["COURANTE_REDIS_URL"],
            os.environ["COURANTE_DATABASE_URL"],
            given.env,
            Path(given.journal),
            given.partitions,
        )
    )
    limits = Limits(excess_max=given.excess, claimed_max=given.claimed, is_unended=given.unended)
    findings = list(find(seen, accepted, calm, limits))
    if not given.skip_replay:
        findings += _replay(sorted(seen.log))
    if given.keep_calm:
        calm = {kind: canonical(seen.log[run_id]) for run_id, kind in accepted.items() if run_id in seen.log}
        Path(given.keep_calm).write_text(json.dumps(calm))
    for finding in findings[:SHOWN_MAX]:
        print(f"{finding.oracle} {finding.run or '-'}: {finding.what}")
    counted = {
        "runs": len(seen.log),
        "events": sum(map(len, seen.log.values())),
        "findings": len(findings),
        "not_walked": len(seen.gave_up),
        "unknown_types": sorted(seen.unknown),
    }
    print(json.dumps(counted))
    return 1 if findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", required=True)
    parser.add_argument("--accepted", required=True)
    parser.add_argument("--journal", required=True)
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--excess", type=int, default=0)
    parser.add_argument("--claimed", type=int)
    parser.add_argument("--unended", action="store_true")
    parser.add_argument("--calm", default="")
    parser.add_argument("--keep-calm", default="")
    parser.add_argument("--skip-replay", action="store_true")
    return parser.parse_args()


async def read_all(redis_url: str, database_url: str, env: str, journal: Path, partitions: int = 1) -> Seen:
    """Wait until the log has caught up, then read everything."""
    redis = Redis.from_url(redis_url)
    conn = await asyncpg.connect(database_url)
    try:
        deadline = time.monotonic() + DRAIN_S
        while not await _is_drained(redis, conn, env, partitions):
            if time.monotonic() > deadline:
                break  # the oracles say what is missing
            await asyncio.sleep(0.05)
        return await _read(redis, conn, env, journal, partitions)
    finally:
        await conn.close()
        await redis.aclose()


async def _read(redis: Redis, conn: asyncpg.Connection[Any], env: str, journal: Path, partitions: int) -> Seen:
    found = [await read_partition(redis, env, number) for number in range(partitions)]
    irs = {row["hash"]: read_graph(row["content"]) for row in await conn.fetch("SELECT hash, content FROM irs")}
    commands = await conn.fetch("SELECT run_id, number, ir_hash FROM commands WHERE env = $1", env)
    starts = {row["run_id"]: row["ir_hash"] for row in commands if row["number"] == 1}
    rows = await conn.fetch("SELECT run_id, status FROM runs WHERE env = $1", env)
    links = await conn.fetch(
        "SELECT run_id, parent_run_id, node, scope, attempt, seq, is_detached, state FROM children WHERE env = $1", env
    )
    return Seen(
        log=await read_log(conn, env),
        graphs=irs,
        partitions=found,
        journal=read_journal(journal),
        starts=starts,
        commands={(row["run_id"], row["number"]) for row in commands if row["number"] > 1},
        rows={row["run_id"]: row["status"] for row in rows},
        links=[Link(*row.values()) for row in links],
    )


async def _is_drained(redis: Redis, conn: asyncpg.Connection[Any], env: str, partitions: int) -> bool:
    rows = await conn.fetch("SELECT partition, epoch, partition_seq FROM recorder_cursors WHERE env = $1", env)
    cursors = {row[0]: (row[1], row[2]) for row in rows}
    for number in range(partitions):
        partition = await read_partition(redis, env, number)
        if cursors.get(number) != (partition.epoch, partition.sequence) or partition.done:
            return False
    return True


def find(
    seen: Seen, accepted: dict[str, str], calm: dict[str, list[str]], limits: Limits = Limits()
) -> Iterator[Finding]:
    """Yield everything that is not as promised, but for what the command line finds."""
    for run_id in sorted(accepted.keys() | seen.starts.keys()):
        events = seen.log.get(run_id)
        if not events:
            yield Finding("O6", run_id, "the run was acknowledged, and is not in the log")
        elif events[-1].type not in FINAL and not limits.is_unended:
            yield Finding("O8", run_id, f"the run has not ended; its last event is {events[-1].type}")
    for run_id, events in seen.log.items():
        yield from check_chain(run_id, events)
        yield from _check_commands(run_id, events, seen)
        yield from _check_tokens(run_id, events, seen)
        yield from check_calm(run_id, accepted.get(run_id, ""), events, calm)
        if events[-1].type in FINAL and seen.rows.get(run_id) != events[-1].type.removeprefix("run.").upper():
            yield Finding("O2", run_id, f"the projection says {seen.rows.get(run_id)}, the log {events[-1].type}")
    if not limits.is_unended:
        for partition in seen.partitions:
            yield from check_leftovers(partition)
    yield from check_children(seen.log, seen.links, is_unended=limits.is_unended)
    excess_max, claimed_max = limits.excess_max, limits.claimed_max
    yield from check_executions(seen.log, seen.last_graphs, seen.journal, excess_max, claimed_max=claimed_max)


def _check_commands(run_id: str, events: list[Event], seen: Seen) -> Iterator[Finding]:
    """O6: each acknowledged command is in the log exactly once, unless its run had ended before."""
    applied = [event.facts.get("data", {}).get("number") for event in events if event.type.startswith("command.")]
    if len(applied) != len(set(applied)):
        yield Finding("O6", run_id, f"a command was applied twice: {applied}")
    wanted = {number for run, number in seen.commands if run == run_id}
    missing = wanted - set(applied)
    if missing and events[-1].type not in FINAL:
        yield Finding("O6", run_id, f"commands {sorted(missing)} are acknowledged, and not in the log")


def _check_tokens(run_id: str, events: list[Event], seen: Seen) -> Iterator[Finding]:
    walk = seen.walk(run_id)
    home = next((partition for partition in seen.partitions if run_id in partition.runs), seen.partitions[0])
    live = home.runs.get(run_id)
    if live is not None:
        yield from check_ledger(run_id, live, home)
    try:
        walk.follow(events)
    except Broken as broken:
        yield Finding(broken.oracle, run_id, str(broken))
        return
    except GaveUp as reason:
        seen.gave_up.append(f"{run_id}: {reason}")
        return
    seen.unknown |= walk.unknown
    if walk.taken is not None:
        yield from _check_base(run_id, walk.taken, seen)
    if live is not None:
        yield from check_fold(run_id, live, walk, events)
    elif not walk.has_ended:
        yield Finding("O5", run_id, "the run has not ended, and Redis does not know it")


def _check_base(run_id: str, taken: Taken, seen: Seen) -> Iterator[Finding]:
    """O5, O6: a run that goes on from another one begins with what that had; where it is unknown, that is said."""
    events = seen.log.get(taken.base_run, [])
    is_known = 0 < taken.base_seq < len(events) and taken.base_run in seen.starts
    if not is_known or seen.ir_of(taken.base_run, taken.base_seq) != seen.starts.get(run_id):
        yield Finding("O6", run_id, f"it goes on from {taken.base_run!r} after {taken.base_seq}, which is no such run")
        return
    base = seen.walk(taken.base_run)
    try:
        base.follow(events[: taken.base_seq])
    except (Broken, GaveUp):
        return  # that is found, or counted, with the base run itself
    yield from check_taken(run_id, taken, base)


def _replay(run_ids: list[str]) -> Iterator[Finding]:
    """Ask the command line to verify every run, as a process of its own."""
    for first in range(0, len(run_ids), REPLAYED_AT_ONCE):
        some = run_ids[first : first + REPLAYED_AT_ONCE]
        argv = [sys.executable, "-m", "courante", *REPLAY, *some]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        yield from read_verdicts(some, done.stdout, f"ended with {done.returncode}: {done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
