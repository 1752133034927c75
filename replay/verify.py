"""Verify: hold a run's log against itself, against the rules and against the projections.

Checked: the hash chain and that no number is missing; that the events follow the rules (tokens are conserved, joins
fired as logged); every routing decision, made again; the run's output, made again; and that ``runs`` and
``node_executions`` say the same. The log alone is the source; nothing is written and no handler is called.
"""

from __future__ import annotations

import dataclasses

import msgspec

from ..compiler.fitting import fit
from ..compiler.ir import IrHash, decode_ir, encode_ir, ir_hash
from ..sdk.commanding import facts_of, value_of
from ..sdk.corrupt import Corrupt
from ..sdk.events import RecordedEvent, encode_facts
from ..sdk.item_values import cut_items
from ..sdk.migrated import MIGRATED, ir_told
from ..sdk.plan import Plan
from ..sdk.run_output import OutputError, run_output
from ..sdk.stores.commands import get_command
from ..sdk.stores.connection import Connection
from ..sdk.stores.errors import UnknownWorkflow
from ..sdk.stores.log import stream_events, verify_chain
from ..sdk.stores.runs import get_run, list_steps
from ..sdk.stores.spending import spending_of_attempts, spending_of_runs
from ..sdk.stores.workflows import get as get_version
from ..sdk.stores.workflows import get_ir
from .aggregates import Aggregates
from .contents import Contents
from .decisions import Codes, check_claim, claim_of
from .history import Emptied, History
from .projected import compare_run, compare_spending, compare_steps

QUARANTINED = "event.quarantined"


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first place where something says otherwise.

    ``what``: chain, ir, event, command, rules, when, gate, approval, items, edges, loop, aggregate, output,
    run.<field> or step.<field> <node>. ``expected``: by replaying; ``found``: in the log, or in the projections.
    """

    seq: int
    type: str
    what: str
    expected: str
    found: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """``events``: read. ``decisions``: made again. ``unchecked``: those that could not be, as payloads are emptied."""

    ok: bool
    run_id: str
    events: int
    decisions: int = 0
    unchecked: int = 0
    first_difference: Difference | None = None


class _Differs(Exception):
    def __init__(self, seq: int, kind: str, what: str, expected: str, found: str) -> None:
        super().__init__(what)
        self.difference = Difference(seq=seq, type=kind, what=what, expected=expected, found=found)


async def verify_run(conn: Connection, env: str, run_id: str) -> Verification:
    """Verify one run, finished or not. Reads one snapshot of the database. Raises UnknownRun.

    Memory follows the run's outputs that are stored inline; larger ones are read when they are needed.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        verifier = _Verifier(conn, env, run_id)
        try:
            await verifier.run()
        except _Differs as found:
            return verifier.result(found.difference)
        return verifier.result(None)


class _Verifier:
    """One verification on its way. ``events``, ``decisions``, ``unchecked``: counted so far."""

    def __init__(self, conn: Connection, env: str, run_id: str) -> None:
        self._conn = conn
        self._env = env
        self._run_id = run_id
        self._contents = Contents(conn, env)
        self._history: History | None = None
        self._codes: Codes | None = None
        self._aggregates: Aggregates | None = None
        self.events = 0
        self.decisions = 0
        self.unchecked = 0

    def result(self, difference: Difference | None) -> Verification:
        return Verification(
            ok=difference is None,
            run_id=self._run_id,
            events=self.events,
            decisions=self.decisions,
            unchecked=self.unchecked,
            first_difference=difference,
        )

    async def run(self) -> None:
        """Raises _Differs at the first difference."""
        row = await get_run(self._conn, self._run_id)
        broken = await verify_chain(self._conn, self._run_id)
        end = None if broken is None else broken.seq
        types: list[str] = []
        async for event in stream_events(self._conn, self._run_id):
            if end is not None and event.seq >= end:
                break
            types.append(event.facts.type)
            await self._add(event)
            self.events = event.seq
        if broken is not None:
            raise _Differs(broken.seq, "", "chain", "", broken.reason)
        if self._history is None:
            return
        found = compare_run(self._history, row)
        found += compare_steps(self._history, await list_steps(self._conn, self._run_id))
        totals = (await spending_of_runs(self._conn, [self._run_id])).get(self._run_id, [])
        attempts = await spending_of_attempts(self._conn, self._run_id)
        found += compare_spending(self._history, attempts, totals)
        if found:
            first = min(found)
            raise _Differs(first.seq, types[first.seq - 1], first.what, first.expected, first.found)

    async def _add(self, event: RecordedEvent) -> None:
        kind = event.facts.type
        if kind == QUARANTINED:
            raise _Differs(event.seq, kind, "event", "an event of this version", event.facts.reason)
        if self._history is None or self._codes is None or self._aggregates is None:
            self._history = History(await self._load_plan(event))
            self._codes, self._aggregates = self._evaluators(self._history)
        if kind == MIGRATED:
            await self._move(self._history, event)
            self._codes, self._aggregates = self._evaluators(self._history)
            return
        if kind == "command.applied":
            await self._check_command(self._history, event)
        await self._decide(self._history, self._codes, event)
        await self._aggregate(self._aggregates, event)
        if kind in ("run.completed", "run.failed"):
            await self._check_output(self._history, event)
        try:
            self._history.add(event)
        except Corrupt as error:
            raise _Differs(event.seq, kind, "rules", "", str(error)) from error

    def _evaluators(self, history: History) -> tuple[Codes, Aggregates]:
        codes = Codes(history.plan)
        return codes, Aggregates(history, codes, self._contents)

    async def _move(self, history: History, event: RecordedEvent) -> None:
        """The run goes on with another IR: the one that its version has, fitted to the one before."""
        before, plan = history.plan, await self._load_plan(event)
        if event.facts.data.get("from") != before.hash:
            raise _Differs(event.seq, MIGRATED, "ir", f"from the IR {before.hash}", f"{event.facts.data.get('from')}")
        version = event.facts.data.get("version")
        try:
            row = await get_version(self._conn, self._env, plan.ir.workflow, version if isinstance(version, int) else 0)
        except UnknownWorkflow:
            row = None
        content = None if row is None else await get_ir(self._conn, self._env, row.ir_hash)
        if content is not None and (fitted := ir_hash(encode_ir(fit(before.ir, decode_ir(content))))) != plan.hash:
            raise _Differs(event.seq, MIGRATED, "ir", f"the IR {fitted}", plan.hash)
        self.unchecked += content is None
        try:
            history.move(plan, event)
        except Corrupt as error:
            raise _Differs(event.seq, MIGRATED, "rules", "", str(error)) from error

    async def _load_plan(self, event: RecordedEvent) -> Plan:
        address = ir_told(event.facts)
        content = await get_ir(self._conn, self._env, address)
        if content is None or ir_hash(content) != address:
            found = "nothing" if content is None else f"the IR {ir_hash(content)}"
            raise _Differs(event.seq, event.facts.type, "ir", f"the IR {address}", found)
        return Plan.load(IrHash(address), content)

    async def _check_command(self, history: History, event: RecordedEvent) -> None:
        """Somebody has asked for it: the row stands in ``commands``, and says the same."""
        number = event.facts.data.get("number")
        command = await get_command(self._conn, self._run_id, number) if isinstance(number, int) else None
        if command is None:
            raise _Differs(
                event.seq, event.facts.type, "command", "no such command", encode_facts(event.facts).decode()
            )
        expected = facts_of(history.plan, command)
        if expected != event.facts:
            asked, told = (encode_facts(facts).decode() for facts in (expected, event.facts))
            raise _Differs(event.seq, event.facts.type, "command", asked, told)
        said = value_of(command) or b""
        found = None if event.payload is None else await self._content(event.payload)
        if found is not None and found != said:
            raise _Differs(event.seq, event.facts.type, "command", _shown(said), _shown(found))

    async def _content(self, value: bytes) -> bytes | None:
        try:
            return await self._contents.load(value)
        except Emptied:
            self.unchecked += 1
            return None

    async def _decide(self, history: History, codes: Codes, event: RecordedEvent) -> None:
        try:
            claim = claim_of(history, codes, event)
            if claim is None:
                return
            moments = [
                cut_items(codes.plan, claim.number, claim.scope, await self._contents.load_all(values))
                for values in claim.moments
            ]
            output = None if claim.output is None else await self._contents.load(claim.output)
        except Emptied:
            self.unchecked += 1
            return
        self.decisions += 1
        told = check_claim(codes, dataclasses.replace(claim, moments=moments, output=output))
        if told is not None:
            raise _Differs(event.seq, event.facts.type, told.what, told.expected, told.found)

    async def _aggregate(self, aggregates: Aggregates, event: RecordedEvent) -> None:
        place = aggregates.place(event.facts)
        if place is None:
            return
        try:
            told = await aggregates.check(place, event)
        except Emptied:
            self.unchecked += 1
            return
        self.decisions += 1
        if told is not None:
            raise _Differs(event.seq, event.facts.type, told.what, told.expected, told.found)

    async def _check_output(self, history: History, event: RecordedEvent) -> None:
        """Make the output again, where the run came to its end with nothing failed."""
        if history.marking.reason:
            return
        plan, kind = history.plan, event.facts.type
        try:
            values = await self._contents.load_all(history.values(plan.output_reads()))
            found = b"" if event.payload is None else await self._contents.load(event.payload)
        except Emptied:
            self.unchecked += 1
            return
        try:
            made = run_output(plan, values, self._run_id)
        except OutputError as error:
            if kind == "run.completed":
                raise _Differs(event.seq, kind, "output", f"OUTPUT_ERROR: {error}", _shown(found)) from error
            return
        if kind == "run.failed":
            raise _Differs(event.seq, kind, "output", _shown(made), "OUTPUT_ERROR")
        if made != found and event.payload is not None:
            raise _Differs(event.seq, kind, "output", _shown(made), _shown(found))
        self.unchecked += event.payload is None


def _shown(content: bytes) -> str:
    """The beginning of a JSON value."""
    text = content.decode(errors="replace")
    return text if len(text) <= 200 else f"{text[:200]}... ({len(content):,} bytes)"
