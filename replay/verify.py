"""Verify: hold a run's log against itself, against the rules and against the projections.

Checked: the hash chain and that no number is missing; that the events follow the rules (tokens are conserved, joins
fired as logged); every routing decision, made again; the run's output, made again; and that ``runs`` and
``node_executions`` say the same. The log alone is the source; nothing is written and no handler is called.
"""

from __future__ import annotations

import msgspec

from ..sdk.stores.commands import Command, get_command
from ..sdk.stores.connection import Connection
from ..sdk.stores.errors import UnknownWorkflow
from ..sdk.stores.log import count_emptied, read_events, stream_events, verify_chain
from ..sdk.stores.payloads import resolve
from ..sdk.stores.runs import get_run, list_steps, stream_steps
from ..sdk.stores.spending import spending_of_attempts, spending_of_runs
from ..sdk.stores.workflows import get as get_version
from ..sdk.stores.workflows import get_ir
from .checking import Difference, Differs, LogCheck
from .contents import Contents
from .history import History
from .projected import Mismatch, compare_run, compare_spending, compare_steps
from .steps import StepStates
from .tallies import Tally


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """``events``: read. ``decisions``: made again. ``unchecked``: those that could not be, as payloads are emptied.

    ``emptied``: events whose payload is not stored any more.
    """

    ok: bool
    run_id: str
    events: int
    decisions: int = 0
    unchecked: int = 0
    emptied: int = 0
    first_difference: Difference | None = None


async def verify_run(conn: Connection, env: str, run_id: str) -> Verification:
    """Verify one run, finished or not. Reads one snapshot of the database. Raises UnknownRun.

    Memory follows what is still to be read in the run, not the number of its events; large values are read when they
    are needed.
    """
    async with conn.transaction(isolation="repeatable_read", readonly=True):
        verifier = _Verifier(conn, env, run_id)
        try:
            await verifier.run()
        except Differs as found:
            return verifier.result(found.difference)
        return verifier.result(None)


class LoggedSource:
    """Of one run: what the database has."""

    def __init__(self, conn: Connection, env: str, run_id: str) -> None:
        self._conn = conn
        self._env = env
        self._run_id = run_id

    async def ir(self, address: str) -> bytes | None:
        return await get_ir(self._conn, self._env, address)

    async def version_ir(self, workflow: str, version: int) -> bytes | None:
        try:
            row = await get_version(self._conn, self._env, workflow, version)
        except UnknownWorkflow:
            return None
        return await get_ir(self._conn, self._env, row.ir_hash)

    async def command(self, number: int) -> Command | None:
        return await get_command(self._conn, self._run_id, number)


class _Verifier:
    """One verification on its way. ``events``: read so far. ``emptied``: of them."""

    def __init__(self, conn: Connection, env: str, run_id: str) -> None:
        self._conn = conn
        self._run_id = run_id
        contents = Contents(lambda value: resolve(conn, env, value))
        self._ended = Tally()
        self._check = LogCheck(LoggedSource(conn, env, run_id), contents, on_final=self._ended.add)
        self.events = 0
        self.emptied = 0

    def result(self, difference: Difference | None) -> Verification:
        return Verification(
            ok=difference is None,
            run_id=self._run_id,
            events=self.events,
            decisions=self._check.decisions,
            unchecked=self._check.unchecked,
            emptied=self.emptied,
            first_difference=difference,
        )

    async def run(self) -> None:
        """Raises Differs at the first difference."""
        row = await get_run(self._conn, self._run_id)
        broken = await verify_chain(self._conn, self._run_id)
        self.emptied = await count_emptied(self._conn, self._run_id)
        end = None if broken is None else broken.seq
        async for event in stream_events(self._conn, self._run_id):
            if end is not None and event.seq >= end:
                break
            await self._check.add(event)
            self.events = event.seq
        if broken is not None:
            raise Differs(broken.seq, "", "chain", "", broken.reason)
        history = self._check.history
        if history is None:
            return
        found = compare_run(history, row)
        found += await self._compare_steps(history)
        totals = (await spending_of_runs(self._conn, [self._run_id])).get(self._run_id, [])
        attempts = await spending_of_attempts(self._conn, self._run_id)
        found += compare_spending(history, attempts, totals)
        if found:
            first = min(found)
            (event,) = await read_events(self._conn, self._run_id, first.seq, after=first.seq - 1)
            raise Differs(first.seq, event.facts.type, first.what, first.expected, first.found)

    async def _compare_steps(self, history: History) -> list[Mismatch]:
        """Compare the rows of executions: by their sum, and one by one only where that differs."""
        tally, found = self._ended, Tally()
        for key, state in history.steps.all.items():
            tally.add(key, state)
        async for row in stream_steps(self._conn, self._run_id):
            found.add_row(row)
        if tally == found:
            return []
        states = StepStates()
        async for event in stream_events(self._conn, self._run_id):
            states.add(event)
        return compare_steps(states, await list_steps(self._conn, self._run_id), history.marking.seq)
