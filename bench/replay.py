"""How many events a second of one long run are verified from its log? And how many are folded?

The run is a loop of two steps, so that it grows with its iterations. Its log is what workers would have written, put
into Postgres by the recorder's own code; nothing runs. Then two processes read it one after the other: one folds it, as
``courante replay`` does, one verifies it (chain, rules, every decision, projections). Their memory is looked at too.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from itertools import islice

import anyio
import msgspec
from msgspec.structs import replace

from ..compiler.ir import Ir, IrHash, encode_ir, ir_hash
from ..sdk.events import Facts, encode_blob, encode_facts
from ..sdk.moments import from_ms
from ..sdk.settings import Settings
from ..sdk.stores.connection import Connection
from ..sdk.stores.copy_format import copy_rows
from ..supervisor.recording.chain import LOG_COLUMNS, PAYLOAD_COLUMNS, Chains
from ..supervisor.recording.entries import Entry, Transition
from .documents import compiled, looping
from .machine import Machine
from .measured import Measured, figure
from .plan import BenchPlan
from .replaying import Replayed
from .stage import Progress, Stage, open_stage

EVENTS = 100_000
REPETITIONS_MAX = 3
PER_ENTRY = 2
AT_ONCE = 2_000
"""Transitions of one transaction."""


async def measure(settings: Settings, plan: BenchPlan, say: Progress) -> Measured:
    """``plan.runs``: the number of events."""
    iterations = max(1, (plan.runs_or(EVENTS) - 2) // PER_ENTRY)
    repetitions = min(plan.repetitions, REPETITIONS_MAX)
    folded: list[Replayed] = []
    verified: list[Replayed] = []
    machine: Machine | None = None
    async with open_stage(settings) as stage:
        machine = stage.machine
        began = time.perf_counter()
        run_id = await write_run(stage, iterations)
        say(f"replay: {iterations * PER_ENTRY + 2:,} events are written ({time.perf_counter() - began:.1f} s)")
        for number in range(repetitions):
            folded.append(await _replayed(stage, "fold", run_id))
            verified.append(await _replayed(stage, "verify", run_id))
            told = f"{verified[-1].rate:,.0f} events/s verified, {folded[-1].rate:,.0f} folded"
            say(f"replay {number + 1}/{repetitions}: {told}, {verified[-1].peak_bytes // 2**20} MiB")
    rates = sorted(one.rate for one in folded)
    return Measured(
        question="How many events a second of one long run are verified from its log in Postgres?",
        unit="events/s",
        samples=[one.rate for one in verified],
        machine=machine,
        more={
            "events": verified[0].events,
            "decisions": verified[0].decisions,
            "folded": figure(rates[len(rates) // 2]),
            "peak_memory": max(one.peak_bytes for one in verified),
            "peak_memory_folding": max(one.peak_bytes for one in folded),
            "start_memory": verified[0].start_bytes,
        },
    )


async def write_run(stage: Stage, iterations: int) -> str:
    """Write the log of a run of so many iterations, and all that the recorder makes of it; return the run's id."""
    document = looping()
    await stage.register(document)
    _, ir = compiled(document)
    run_id = f"run_bench_{iterations}"
    chains = Chains(stage.env, 0)
    async with stage.client.pool.acquire() as conn:
        entries = _entries(ir, run_id, iterations)
        while batch := list(islice(entries, AT_ONCE)):
            await _append(conn, chains, batch)
        await conn.execute("ANALYZE event_log; ANALYZE event_payloads; ANALYZE node_executions")
    return run_id


async def _append(conn: Connection, chains: Chains, entries: list[Entry]) -> None:
    batch = chains.build(entries, {}, frozenset())
    async with conn.transaction():
        await copy_rows(conn, "event_log", LOG_COLUMNS, batch.rows)
        await copy_rows(conn, "event_payloads", PAYLOAD_COLUMNS, batch.payloads)
        await batch.projection.write(conn, None)
    chains.keep(batch)


def _entries(ir: Ir, run_id: str, iterations: int) -> Iterator[Entry]:
    """What a worker hands in: one transition for each step."""
    hashed = IrHash(ir_hash(encode_ir(ir)))
    given: dict[str, object] = {"ir": hashed, "trigger": "initial", "version": 1, "workflow": ir.workflow}
    yield _entry(run_id, 1, Facts(type="run.started", data=given), msgspec.json.encode({"n": iterations}))
    seq = 2
    for iteration in range(1, iterations + 1):
        word, ends = ("b", "back") if iteration < iterations else ("x", "break")
        said = Facts(type="step.succeeded", node="step", scope=str(iteration), attempt=1, worker="bench")
        output = str(iteration).encode()
        yield _entry(run_id, seq, said, output)
        yield _entry(run_id, seq + 1, replace(said, node="count", edges=word, loop=ends), output)
        seq += 2
    yield _entry(run_id, seq, Facts(type="run.completed"), str(iterations).encode())


def _entry(run_id: str, seq: int, facts: Facts, payload: bytes) -> Entry:
    at_ms = 1_700_000_000_000 + seq
    blob = encode_blob([(encode_facts(facts), payload)])
    return Entry(f"{at_ms}-0", 1, seq, at_ms, from_ms(at_ms), [Transition(run_id, seq, 1, "", blob)], {})


async def _replayed(stage: Stage, what: str, run_id: str) -> Replayed:
    """One process that does it, and tells."""
    words = [sys.executable, "-m", f"{__package__}.replaying", what, stage.env, run_id]
    environment = {**os.environ, "COURANTE_DATABASE_URL": stage.services.database_url}
    done = await anyio.run_process(words, env=environment, stderr=None)
    return msgspec.json.decode(done.stdout, type=Replayed)
