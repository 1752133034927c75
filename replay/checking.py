"""Checking: hold the events of a run, as they are read, against the rules and against what they were decided on.

Where events, IRs and payloads come from is a ``Source``: the database, or a bundle that was exported. No handler is
called. Memory follows the state of the run and not its history (``History``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import msgspec

from ..compiler.fitting import fit
from ..compiler.ir import IrHash, decode_ir, encode_ir, ir_hash
from ..sdk.corrupt import Corrupt
from ..sdk.errors import PayloadUnreadable
from ..sdk.events import RecordedEvent, encode_facts
from ..sdk.floor.commanding import facts_of, value_of
from ..sdk.fold.migrated import MIGRATED, ir_told
from ..sdk.marking.plan import Plan
from ..sdk.outcomes.item_values import cut_items
from ..sdk.outcomes.node_code import Codes
from ..sdk.outcomes.run_output import OutputError, run_output
from ..sdk.stores.commands import Command
from .aggregates import Aggregates
from .contents import Contents
from .decisions import check_claim, claim_of
from .history import Emptied, History
from .steps import StepKey, StepState

QUARANTINED = "event.quarantined"


class Source(Protocol):
    """What the log of one run refers to."""

    async def ir(self, address: str) -> bytes | None:
        """Return the bytes of an IR, None where they are not known."""
        ...

    async def version_ir(self, workflow: str, version: int) -> bytes | None:
        """Return the bytes of the IR that a version of a workflow has, None where it is not known."""
        ...

    async def command(self, number: int) -> Command | None:
        """Return the command of that number, as it was asked of the run; None where nobody has."""
        ...


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


class Differs(Exception):
    """A difference was found."""

    def __init__(self, seq: int, kind: str, what: str, expected: str, found: str) -> None:
        super().__init__(what)
        self.difference = Difference(seq=seq, type=kind, what=what, expected=expected, found=found)


class LogCheck:
    """One check on its way. ``decisions``: made again; ``unchecked``: those that could not be. ``history``: so far.

    has_commands: whether the source knows what was asked of the run. needs_key: false where what cannot be read for
    want of a key counts as unchecked, and does not raise PayloadUnreadable. on_final: see ``History``.
    """

    def __init__(
        self,
        source: Source,
        contents: Contents,
        *,
        has_commands: bool = True,
        needs_key: bool = True,
        on_final: Callable[[StepKey, StepState], None] | None = None,
    ) -> None:
        self._source = source
        self._has_commands = has_commands
        self._gone: tuple[type[Exception], ...] = (Emptied,) if needs_key else (Emptied, PayloadUnreadable)
        self._contents = contents
        self._on_final = on_final
        self._codes: Codes | None = None
        self._aggregates: Aggregates | None = None
        self.history: History | None = None
        self.decisions = 0
        self.unchecked = 0

    async def add(self, event: RecordedEvent) -> None:
        """Check the next event, and apply it. Raises Differs."""
        kind = event.facts.type
        if kind == QUARANTINED:
            raise Differs(event.seq, kind, "event", "an event of this version", event.facts.reason)
        if self.history is None or self._codes is None or self._aggregates is None:
            self.history = History(await self._load_plan(event), self._on_final)
            self._codes, self._aggregates = self._evaluators(self.history)
        if kind == MIGRATED:
            await self._move(self.history, event)
            self._codes, self._aggregates = self._evaluators(self.history)
            return
        if kind == "command.applied" and self._has_commands:
            await self._check_command(self.history, event)
        await self._decide(self.history, self._codes, event)
        await self._aggregate(self._aggregates, event)
        if kind in ("run.completed", "run.failed"):
            await self._check_output(self.history, event)
        try:
            self.history.add(event)
        except Corrupt as error:
            raise Differs(event.seq, kind, "rules", "", str(error)) from error

    def _evaluators(self, history: History) -> tuple[Codes, Aggregates]:
        codes = Codes(history.plan)
        return codes, Aggregates(history, codes, self._contents)

    async def _move(self, history: History, event: RecordedEvent) -> None:
        """The run goes on with another IR: the one that its version has, fitted to the one before."""
        before, plan = history.plan, await self._load_plan(event)
        if event.facts.data.get("from") != before.hash:
            raise Differs(event.seq, MIGRATED, "ir", f"from the IR {before.hash}", f"{event.facts.data.get('from')}")
        version = event.facts.data.get("version")
        content = await self._source.version_ir(plan.ir.workflow, version if isinstance(version, int) else 0)
        if content is not None and (fitted := ir_hash(encode_ir(fit(before.ir, decode_ir(content))))) != plan.hash:
            raise Differs(event.seq, MIGRATED, "ir", f"the IR {fitted}", plan.hash)
        self.unchecked += content is None
        try:
            history.move(plan, event)
        except Corrupt as error:
            raise Differs(event.seq, MIGRATED, "rules", "", str(error)) from error

    async def _load_plan(self, event: RecordedEvent) -> Plan:
        address = ir_told(event.facts)
        content = await self._source.ir(address)
        if content is None or ir_hash(content) != address:
            found = "nothing" if content is None else f"the IR {ir_hash(content)}"
            raise Differs(event.seq, event.facts.type, "ir", f"the IR {address}", found)
        return Plan.load(IrHash(address), content)

    async def _check_command(self, history: History, event: RecordedEvent) -> None:
        """Somebody has asked for it: the row stands in ``commands``, and says the same."""
        number = event.facts.data.get("number")
        command = await self._source.command(number) if isinstance(number, int) else None
        if command is None:
            raise Differs(event.seq, event.facts.type, "command", "no such command", encode_facts(event.facts).decode())
        expected = facts_of(history.plan, command)
        if expected != event.facts:
            asked, told = (encode_facts(facts).decode() for facts in (expected, event.facts))
            raise Differs(event.seq, event.facts.type, "command", asked, told)
        try:
            said = value_of(command) or b""
        except self._gone:
            self.unchecked += 1
            return
        found = None if event.payload is None else await self._content(event.payload)
        if found is not None and found != said:
            raise Differs(event.seq, event.facts.type, "command", _shown(said), _shown(found))

    async def _content(self, value: bytes) -> bytes | None:
        try:
            return await self._contents.load(value)
        except self._gone:
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
            told = check_claim(codes, dataclasses.replace(claim, moments=moments, output=output))
        except self._gone:
            self.unchecked += 1
            return
        self.decisions += 1
        if told is not None:
            raise Differs(event.seq, event.facts.type, told.what, told.expected, told.found)

    async def _aggregate(self, aggregates: Aggregates, event: RecordedEvent) -> None:
        place = aggregates.place(event.facts)
        if place is None:
            return
        try:
            told = await aggregates.check(place, event)
        except self._gone:
            self.unchecked += 1
            return
        self.decisions += 1
        if told is not None:
            raise Differs(event.seq, event.facts.type, told.what, told.expected, told.found)

    async def _check_output(self, history: History, event: RecordedEvent) -> None:
        """Make the output again, where the run came to its end with nothing failed."""
        if history.marking.reason:
            return
        plan, kind = history.plan, event.facts.type
        try:
            values = await self._contents.load_all(history.values(plan.output_reads()))
            found = b"" if event.payload is None else await self._contents.load(event.payload)
        except self._gone:
            self.unchecked += 1
            return
        try:
            made = run_output(plan, values, event.run_id)
        except OutputError as error:
            if kind == "run.completed":
                raise Differs(event.seq, kind, "output", f"OUTPUT_ERROR: {error}", _shown(found)) from error
            return
        if kind == "run.failed":
            raise Differs(event.seq, kind, "output", _shown(made), "OUTPUT_ERROR")
        if made != found and event.payload is not None:
            raise Differs(event.seq, kind, "output", _shown(made), _shown(found))
        self.unchecked += event.payload is None


def _shown(content: bytes) -> str:
    """The beginning of a JSON value."""
    text = content.decode(errors="replace")
    return text if len(text) <= 200 else f"{text[:200]}... ({len(content):,} bytes)"
