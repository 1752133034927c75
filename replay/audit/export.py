"""Export: runs as a bundle that can be checked without any server of ours. Reads only; memory does not grow with it."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from ... import __version__
from ...sdk.events import GENESIS, Facts, decode_facts
from ...sdk.fold.migrated import MIGRATED, ir_told
from ...sdk.moments import iso_text
from ...sdk.stores.commands import Command, get_command
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import UnknownRun, UnknownWorkflow
from ...sdk.stores.log import ChainRow, read_end, read_moves, stream_chain
from ...sdk.stores.payloads import get_payloads, read_reference
from ...sdk.stores.runs import RunRow, get_run
from ...sdk.stores.workflows import get as get_version
from ...sdk.stores.workflows import get_ir
from .anchors import Prover
from .lines import (
    FORMAT,
    VERSION,
    CommandLine,
    ContentLine,
    EventLine,
    Header,
    HeadLine,
    IrLine,
    Line,
    RunLine,
    SignatureLine,
    TrailerLine,
    VersionLine,
    as_fields,
    write_line,
)
from .signing import ALGORITHM, Signer

CONTENTS_MAX = 10_000
"""Digests of a run that are remembered; a content that is older than that is written again."""

Write = Callable[[bytes], object]
Drain = Callable[[], Awaitable[None]]


class Exporter:
    """One bundle on its way. ``runs``, ``events``: written so far.

    has_payloads: false leaves payloads out, their digests stay. drain: is given a chance after each event, to send on
    what was written. The caller has a snapshot of the database, so that a run that goes on meanwhile is one moment.
    """

    def __init__(
        self, conn: Connection, env: str, write: Write, *, has_payloads: bool = True, drain: Drain | None = None
    ) -> None:
        self._conn = conn
        self._env = env
        self._write = write
        self._has_payloads = has_payloads
        self._drain = drain
        self._prover = Prover(conn, env)
        self._sha = hashlib.sha256()
        self._lines = 0
        self._irs: set[str] = set()
        self._versions: set[tuple[str, int]] = set()
        self._run_ids: set[str] = set()
        self.runs = 0
        self.events = 0

    def begin(self, by: str) -> None:
        """Write the header."""
        self._put(
            Header(
                format=FORMAT,
                version=VERSION,
                env=self._env,
                at=iso_text(datetime.now(UTC)),
                by=by,
                courante=__version__,
                payloads=self._has_payloads,
            )
        )

    async def add(self, run_id: str) -> None:
        """Write a run; one that was written before is left out. Raises UnknownRun."""
        if run_id in self._run_ids:
            return
        row = await get_run(self._conn, run_id)
        if row.env != self._env:
            raise UnknownRun(run_id)
        self._run_ids.add(run_id)
        await self._put_irs(row)
        self._put(_run_line(row, await read_end(self._conn, run_id)))
        seq, head = 0, GENESIS
        contents: OrderedDict[bytes, None] = OrderedDict()
        proofs = await self._prover.of_run(run_id)
        async for event in stream_chain(self._conn, run_id):
            await self._put_event(run_id, event, contents)
            if event.seq in proofs:
                self._put(proofs[event.seq])
            seq, head = event.seq, event.hash
            self.events += 1
            if self._drain is not None:
                await self._drain()
        self._put(HeadLine(run_id=run_id, seq=seq, hash=head.hex()))
        self.runs += 1

    def end(self, signer: Signer | None = None) -> str:
        """Write the trailer, signed where there is a signer; return its hash as hex."""
        found = self._sha.hexdigest()
        trailer = TrailerLine(runs=self.runs, events=self.events, lines=self._lines, sha256=found)
        self._put(trailer)
        if signer is not None:
            signature = signer.sign(write_line(trailer))
            self._put(SignatureLine(algorithm=ALGORITHM, key=signer.public, signature=signature))
        return found

    def _put(self, line: Line) -> None:
        content = write_line(line) + b"\n"
        self._sha.update(content)
        self._lines += 1
        self._write(content)

    async def _put_irs(self, row: RunRow) -> None:
        """The IRs that the run has had, and those of the versions that it has moved to."""
        moves = await read_moves(self._conn, row.run_id)
        await self._put_ir(row.ir_hash)
        for _, facts in moves:
            await self._put_ir(ir_told(facts))
            if facts.type == MIGRATED:
                await self._put_version(row.workflow, facts)

    async def _put_ir(self, address: str) -> None:
        if address in self._irs:
            return
        self._irs.add(address)
        content = await get_ir(self._conn, self._env, address)
        if content is not None:
            self._put(IrLine(hash=address, content=content.decode()))

    async def _put_version(self, workflow: str, facts: Facts) -> None:
        version = facts.data.get("version")
        if not isinstance(version, int) or (workflow, version) in self._versions:
            return
        self._versions.add((workflow, version))
        try:
            found = await get_version(self._conn, self._env, workflow, version)
        except UnknownWorkflow:
            return
        await self._put_ir(found.ir_hash)
        self._put(VersionLine(workflow=workflow, version=version, ir=found.ir_hash))

    async def _put_event(self, run_id: str, event: ChainRow, contents: OrderedDict[bytes, None]) -> None:
        if b'"type":"command.applied"' in event.facts:
            await self._put_command(run_id, event)
        payload = event.payload if self._has_payloads else None
        if payload is not None:
            await self._put_content(payload, contents)
        self._put(
            EventLine(
                seq=event.seq,
                at=event.at_ms,
                digest="" if event.payload_digest is None else event.payload_digest.hex(),
                prev_hash=event.prev_hash.hex(),
                hash=event.hash.hex(),
                **as_fields("facts", event.facts),
                **as_fields("payload", payload),
            )
        )

    async def _put_command(self, run_id: str, event: ChainRow) -> None:
        number = decode_facts(event.facts).data.get("number")
        command = await get_command(self._conn, run_id, number) if isinstance(number, int) else None
        if command is not None and self._has_payloads:
            self._put(_command_line(command))

    async def _put_content(self, payload: bytes, contents: OrderedDict[bytes, None]) -> None:
        """What the payload refers to, where it does, the first time that the run does so."""
        reference = read_reference(payload)
        if reference is None or reference.digest in contents:
            return
        contents[reference.digest] = None
        if len(contents) > CONTENTS_MAX:
            contents.popitem(last=False)
        stored = (await get_payloads(self._conn, self._env, [reference.digest])).get(reference.digest)
        if stored is not None:
            self._put(ContentLine(digest=reference.digest.hex(), **as_fields("content", stored)))


def _run_line(row: RunRow, end: tuple[int, bytes] | None) -> RunLine:
    return RunLine(
        run_id=row.run_id,
        workflow=row.workflow,
        version=row.version,
        ir=row.ir_hash,
        status=str(row.status),
        partition=row.partition,
        trigger=row.trigger,
        tags=row.tags,
        created_at=iso_text(row.created_at),
        by=row.by or "",
        base_run_id=row.base_run_id or "",
        started_at=iso_text(row.started_at) if row.started_at else "",
        finished_at=iso_text(row.finished_at) if row.finished_at else "",
        output_seq=row.output_seq or 0,
        is_halted=row.is_halted,
        last_seq=end[0] if end else 0,
        last_hash=end[1].hex() if end else "",
    )


def _command_line(command: Command) -> CommandLine:
    return CommandLine(
        number=command.number,
        type=command.type,
        created_at=iso_text(command.created_at),
        by=command.by or "",
        decides=command.decides or "",
        **as_fields("body", command.body),
    )
