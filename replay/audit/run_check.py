"""The check of one run of a bundle: its lines one after the other, until the first that says otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias, cast

import msgspec

from ...sdk.events import GENESIS, Facts, RecordedEvent, chain_hash, decode_facts, digest
from ...sdk.moments import from_ms, iso_text
from ...sdk.sealing.payload_terms import PAYLOAD_TERMS
from ...sdk.stores.commands import Command
from ...sdk.stores.payloads import read_reference
from ...sdk.stores.runs import RunRow
from ...sdk.stores.status import RunStatus
from ..checking import Differs, LogCheck
from ..contents import Contents
from ..projected import compare_run
from ..steps import StepKey, StepState
from .lines import BadLine, CommandLine, ContentLine, EventLine, HeadLine, ProofLine, RunLine, as_bytes, as_digest

ReadIr: TypeAlias = Callable[[str], bytes | None]
ReadVersion: TypeAlias = Callable[[str, int], bytes | None]
ReadContent: TypeAlias = Callable[[int], bytes]
"""Brings the content line at an offset again, as bytes of its content."""
CheckProof: TypeAlias = Callable[[str, int, bytes, ProofLine], str]
"""Returns what is wrong with a proof of (run, seq, hash), "" where it leads to an anchor."""


class Bad(msgspec.Struct, frozen=True, kw_only=True):
    """``run_id``, ``seq``: None where it is about the bundle. ``what``: as a ``Difference`` has it, or line, missing,
    head, content, header, trailer, signature, anchor. ``expected``, ``found``: for people.
    """

    run_id: str | None
    seq: int | None
    what: str
    expected: str = ""
    found: str = ""


class _IsBad(Exception):
    def __init__(self, what: str, found: str, expected: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.found = found
        self.expected = expected


class RunCheck:
    """One run. ``bad``: the first thing that is wrong. ``seq``: of the last event that was well.

    ``proved``: of the last event that an anchor is known to have.
    """

    def __init__(
        self,
        line: RunLine,
        *,
        read_ir: ReadIr,
        read_version: ReadVersion,
        read_content: ReadContent,
        check_proof: CheckProof | None,
        has_payloads: bool,
    ) -> None:
        self.line = line
        self.bad: Bad | None = None
        self.seq = 0
        self.proved = 0
        self.events = 0
        self.has_ended = False
        self._head: bytes = GENESIS
        self._read_ir = read_ir
        self._read_version = read_version
        self._read_content = read_content
        self._check_proof = check_proof
        self._offsets: dict[bytes, int] = {}
        self._command: Command | None = None
        self.log = LogCheck(self, Contents(self._resolve), has_commands=has_payloads, needs_key=False, on_final=_forget)

    @property
    def run_id(self) -> str:
        return self.line.run_id

    async def ir(self, address: str) -> bytes | None:
        return self._read_ir(address)

    async def version_ir(self, workflow: str, version: int) -> bytes | None:
        return self._read_version(workflow, version)

    async def command(self, number: int) -> Command | None:
        found, self._command = self._command, None
        return found if found is not None and found.number == number else None

    async def add(self, line: EventLine | CommandLine | ContentLine | ProofLine | HeadLine, offset: int) -> None:
        """Check the next line. offset: where it begins. After something bad the rest is only counted."""
        self.events += isinstance(line, EventLine)
        self.has_ended = isinstance(line, HeadLine)
        if self.bad is not None:
            return
        try:
            match line:
                case EventLine():
                    await self._event(line)
                case CommandLine():
                    self._command = _command(line)
                case ContentLine():
                    self._content(line, offset)
                case ProofLine():
                    self._proof(line)
                case HeadLine():
                    self._end(line)
        except BadLine as error:
            self.spoil("line", str(error))
        except _IsBad as found:
            self.spoil(found.what, found.found, found.expected)
        except Differs as found:
            told = found.difference
            self.bad = Bad(run_id=self.run_id, seq=told.seq, what=told.what, expected=told.expected, found=told.found)
        except Exception as error:  # noqa: BLE001 - whoever forges facts may write what no rule has thought of
            self.spoil("event", f"{type(error).__name__}: {error}")

    def spoil(self, what: str, found: str, expected: str = "") -> None:
        """Something is wrong where the next event should be; only the first such thing is kept."""
        self.bad = self.bad or Bad(run_id=self.run_id, seq=self.seq + 1, what=what, expected=expected, found=found)

    async def _event(self, line: EventLine) -> None:
        facts = as_bytes(line.facts, line.facts_base64)
        payload = as_bytes(line.payload, line.payload_base64) or None
        address = as_digest(line.digest, 16) if line.digest else None
        hashed = as_digest(line.hash, 32)
        if line.seq != self.seq + 1:
            raise _IsBad("missing", f"event {line.seq}", f"event {self.seq + 1}")
        if as_digest(line.prev_hash, 32) != self._head:
            raise _IsBad("chain", "prev_hash is not the hash of the event before")
        if hashed != chain_hash(self._head, self.run_id, line.seq, line.at, facts, address):
            raise _IsBad("chain", "hash does not fit the event")
        if payload is not None and digest(payload) != address:
            raise _IsBad("payload", "the payload is not the one of its digest")
        try:
            said = decode_facts(facts)
        except msgspec.MsgspecError as error:
            raise _IsBad("event", f"the facts cannot be read: {error}") from error
        event = RecordedEvent(run_id=self.run_id, seq=line.seq, at_ms=line.at, facts=said, payload=payload)
        if line.seq == 1:
            self._check_row(said)
        await self.log.add(event)
        self._command = None
        self.seq, self._head = line.seq, hashed

    def _check_row(self, started: Facts) -> None:
        """What the row says of the beginning, as the first event does."""
        said, tags = started.data, started.data.get("tags")
        expected: dict[str, object] = {
            "trigger": said.get("trigger") or "initial",
            "by": said.get("by") or "",
            "base_run_id": said.get("base_run_id") or "",
            "tags": tuple(cast("list[object]", tags)) if isinstance(tags, list) else (),
        }
        if isinstance(created_ms := said.get("created_ms"), int):
            expected["created_at"] = iso_text(from_ms(created_ms))
        for name, value in expected.items():
            if value != (found := getattr(self.line, name)):
                raise _IsBad(f"run.{name}", str(found), str(value))

    def _content(self, line: ContentLine, offset: int) -> None:
        address, content = as_digest(line.digest, 16), as_bytes(line.content, line.content_base64)
        if digest(content) != address:
            raise _IsBad("content", "the content is not the one of its digest")
        self._offsets[address] = offset

    def _proof(self, line: ProofLine) -> None:
        if self._check_proof is None:
            return
        if problem := self._check_proof(self.run_id, self.seq, self._head, line):
            self.bad = Bad(run_id=self.run_id, seq=self.seq, what="anchor", found=problem)
        self.proved = self.seq

    def _end(self, line: HeadLine) -> None:
        known = (self.line.last_seq, self.line.last_hash)
        if line.run_id != self.run_id or (line.seq, line.hash) != (self.seq, self._head.hex()):
            raise _IsBad("head", f"event {line.seq} of {line.run_id}", f"event {self.seq}: {self._head.hex()}")
        if known[0] and known != (self.seq, self._head.hex()):
            raise _IsBad("missing", f"event {self.seq} is the last", f"the run is known to end with event {known[0]}")
        if self._check_proof is not None and self.proved != self.seq:
            last = f"one that has event {self.proved}" if self.proved else "none that has an event of the run"
            self.bad = Bad(
                run_id=self.run_id, seq=self.seq, what="anchor", expected="an anchor that has the event", found=last
            )
            return
        history = self.log.history
        if history is None:
            return
        try:
            found = compare_run(history, _row(self.line))
        except ValueError as error:
            raise _IsBad("run", str(error)) from error
        if found:
            first = min(found)
            self.bad = Bad(
                run_id=self.run_id, seq=first.seq, what=first.what, expected=first.expected, found=first.found
            )

    async def _resolve(self, value: bytes) -> bytes | None:
        reference = read_reference(value)
        assert reference is not None
        offset = self._offsets.get(reference.digest)
        if offset is None:
            return None
        return PAYLOAD_TERMS.decode(self._read_content(offset))


def _forget(_key: StepKey, _state: StepState) -> None:
    """A bundle has no rows of steps to compare with."""


def _command(line: CommandLine) -> Command:
    return Command(
        number=line.number,
        type=line.type,
        by=line.by or None,
        body=as_bytes(line.body, line.body_base64),
        created_at=_time(line.created_at) or datetime(1970, 1, 1, tzinfo=UTC),
        decides=line.decides or None,
    )


def _row(line: RunLine) -> RunRow:
    """Raises ValueError."""
    return RunRow(
        run_id=line.run_id,
        env="",
        partition=line.partition,
        workflow=line.workflow,
        version=line.version,
        ir_hash=line.ir,
        status=RunStatus(line.status),
        trigger=line.trigger,
        base_run_id=line.base_run_id or None,
        by=line.by or None,
        tags=line.tags,
        output_seq=line.output_seq or None,
        error=None,
        drain_reason=None,
        is_halted=line.is_halted,
        created_at=_time(line.created_at) or datetime(1970, 1, 1, tzinfo=UTC),
        started_at=_time(line.started_at),
        finished_at=_time(line.finished_at),
    )


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
