"""Verify a bundle: every line, every chain, every decision, and who has signed it. Needs no server.

Memory does not grow with the number of events.
What is wrong with a run is told with its first event that is bad; the other runs are looked at all the same.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import BinaryIO

import msgspec

from ...compiler.ir import ir_hash
from .anchor_lines import AnchorBook
from .lines import (
    FORMAT,
    LINE_BYTES_MAX,
    VERSION,
    BadLine,
    CommandLine,
    ContentLine,
    EventLine,
    Header,
    HeadLine,
    IrLine,
    Line,
    ProofLine,
    RunLine,
    SignatureLine,
    TrailerLine,
    VersionLine,
    as_bytes,
    read_line,
    write_line,
)
from .run_check import Bad, CheckProof, RunCheck
from .signing import ALGORITHM, is_signed

IRS_MAX = 8
"""IRs that are kept in memory."""
BAD_MAX = 1_000
"""Bad things that are told; more are only counted."""


class BundleVerification(msgspec.Struct, frozen=True, kw_only=True):
    """``bad_count``: how many things are bad; ``bad``: the first of them.

    ``decisions``: made again; ``unchecked``: those that could not be, as their payloads are emptied, left out or
    encrypted. ``signed_by``: the public key as hex, empty where nobody has signed; whether it is the right one only
    ``ok`` says, and only where a key was given.
    """

    ok: bool
    runs: int
    events: int
    decisions: int
    unchecked: int
    env: str
    at: str
    signed_by: str
    bad_count: int
    bad: list[Bad]


async def verify_bundle(
    file: BinaryIO,
    *,
    key: str | None = None,
    book: AnchorBook | None = None,
    progress: Callable[[int], object] | None = None,
) -> BundleVerification:
    """Verify a bundle. file: at its beginning, and it can seek.

    key: a public key as hex; then the bundle must be signed by it. book: anchors that were kept; then the last event of
    each run must be in one of them. progress: told the number of events from time to time. Raises KeyUnusable.
    """
    check = _BundleCheck(file, key, book, progress)
    await check.run()
    return check.result()


class _BundleCheck:
    def __init__(
        self,
        file: BinaryIO,
        key: str | None,
        book: AnchorBook | None,
        progress: Callable[[int], object] | None,
    ) -> None:
        self._file = file
        self._key = key
        self._book = book
        self._progress = progress
        self._check_proof: CheckProof | None = None
        self._sha = hashlib.sha256()
        self._lines = 0
        self._header: Header | None = None
        self._trailer: TrailerLine | None = None
        self._signature: SignatureLine | None = None
        self._run: RunCheck | None = None
        self._run_ids: set[str] = set()
        self._irs: dict[str, int] = {}
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._versions: dict[tuple[str, int], str] = {}
        self._bad: list[Bad] = []
        self._bad_count = 0
        self._is_lost = False
        self._runs = self._events = self._decisions = self._unchecked = 0

    def result(self) -> BundleVerification:
        return BundleVerification(
            ok=not self._bad_count,
            runs=self._runs,
            events=self._events,
            decisions=self._decisions,
            unchecked=self._unchecked,
            env=self._header.env if self._header else "",
            at=self._header.at if self._header else "",
            signed_by=self._signature.key if self._signature else "",
            bad_count=self._bad_count,
            bad=self._bad,
        )

    async def run(self) -> None:
        offset = 0
        while True:
            self._file.seek(offset)
            content = self._file.readline(LINE_BYTES_MAX)
            if not content:
                break
            await self._add(content, offset)
            offset += len(content)
        self._close_run()
        self._end()

    async def _add(self, content: bytes, offset: int) -> None:
        try:
            if not content.endswith(b"\n"):
                raise BadLine("it has no end")
            line = read_line(content[:-1])
            await self._take(line, offset)
        except BadLine as error:
            self._bad_line(str(error))
        if self._trailer is None:
            self._sha.update(content)
            self._lines += 1

    async def _take(self, line: Line, offset: int) -> None:
        if self._trailer is not None:
            self._after_trailer(line)
            return
        if (self._header is None) != isinstance(line, Header):
            raise BadLine("a bundle begins with one header")
        match line:
            case Header():
                self._begin(line)
            case IrLine():
                self._ir(line, offset)
            case VersionLine():
                self._versions[line.workflow, line.version] = line.ir
            case RunLine():
                self._open_run(line)
            case TrailerLine():
                self._close_run()
                self._read_trailer(line)
            case SignatureLine():
                raise BadLine("a signature comes after the trailer")
            case EventLine() | CommandLine() | ContentLine() | ProofLine() | HeadLine():
                await self._of_run(line, offset)

    def _begin(self, line: Header) -> None:
        self._header = line
        if (line.format, line.version) != (FORMAT, VERSION):
            self._add_bad(what="header", expected=f"{FORMAT} {VERSION}", found=f"{line.format} {line.version}")
        if self._book is not None:
            self._check_proof = partial(self._book.check, line.env)

    def _ir(self, line: IrLine, offset: int) -> None:
        if ir_hash(line.content.encode()) != line.hash:
            self._add_bad(what="ir", expected=f"the IR {line.hash}", found="another content")
            return
        self._irs[line.hash] = offset

    def _open_run(self, line: RunLine) -> None:
        self._close_run()
        self._is_lost = False
        self._runs += 1
        self._run = RunCheck(
            line,
            read_ir=self._read_ir,
            read_version=self._read_version,
            read_content=self._read_content,
            check_proof=self._check_proof,
            has_payloads=self._header is not None and self._header.payloads,
        )
        if line.run_id in self._run_ids:
            self._run.spoil("run", "the bundle has it twice")
        self._run_ids.add(line.run_id)

    async def _of_run(self, line: EventLine | CommandLine | ContentLine | ProofLine | HeadLine, offset: int) -> None:
        if self._run is None:
            self._events += isinstance(line, EventLine)
            if not self._is_lost:
                self._add_bad(
                    seq=line.seq if isinstance(line, EventLine) else None, what="run", found="a line that is of no run"
                )
            self._is_lost = True
            return
        await self._run.add(line, offset)
        if isinstance(line, EventLine) and self._progress is not None:
            self._progress(self._events + self._run.events)
        if self._run.has_ended:
            self._close_run()

    def _close_run(self) -> None:
        run, self._run = self._run, None
        if run is None:
            return
        if not run.has_ended:
            run.spoil("missing", "the end of the run", f"event {run.seq + 1}, or the head of the run")
        self._events += run.events
        self._decisions += run.log.decisions
        self._unchecked += run.log.unchecked
        if run.bad is not None:
            self._keep_bad(run.bad)

    def _bad_line(self, problem: str) -> None:
        """A line that cannot be read is where the next event of its run should be."""
        if self._run is not None:
            self._run.spoil("line", f"line {self._lines + 1}: {problem}")
        elif not self._is_lost:
            self._is_lost = True
            self._add_bad(what="header" if self._header is None else "line", found=f"line {self._lines + 1}: {problem}")

    def _read_trailer(self, line: TrailerLine) -> None:
        self._trailer = line
        found = TrailerLine(runs=self._runs, events=self._events, lines=self._lines, sha256=self._sha.hexdigest())
        if line != found:
            self._add_bad(what="trailer", expected=write_line(line).decode(), found=write_line(found).decode())

    def _after_trailer(self, line: Line) -> None:
        if not isinstance(line, SignatureLine) or self._signature is not None:
            raise BadLine("nothing comes after trailer and signature")
        self._signature = line

    def _end(self) -> None:
        for problem in self._book.problems if self._book is not None else ():
            place = "" if problem.number is None else f"anchor {problem.number}: "
            self._add_bad(what="anchors", expected=problem.expected, found=f"{place}{problem.found}")
        if self._header is None:
            if not self._bad_count:
                self._add_bad(what="header", expected="a bundle of courante audit", found="nothing")
            return
        if self._trailer is None:
            self._add_bad(what="trailer", expected="a trailer", found="the end of the file")
            return
        self._check_signature(write_line(self._trailer), self._signature)

    def _check_signature(self, signed: bytes, line: SignatureLine | None) -> None:
        if line is None:
            if self._key is not None:
                self._add_bad(what="signature", expected=f"one by {self._key}", found="none")
            return
        if self._key is not None and line.key != self._key:
            self._add_bad(what="signature", expected=f"one by {self._key}", found=f"one by {line.key}")
        elif line.algorithm != ALGORITHM or not is_signed(line.key, line.signature, signed):
            self._add_bad(what="signature", expected=f"one by {line.key}", found="one that does not fit the trailer")

    def _add_bad(self, *, what: str, seq: int | None = None, expected: str = "", found: str = "") -> None:
        self._keep_bad(Bad(run_id=None, seq=seq, what=what, expected=expected, found=found))

    def _keep_bad(self, bad: Bad) -> None:
        self._bad_count += 1
        if len(self._bad) < BAD_MAX:
            self._bad.append(bad)

    def _read_ir(self, address: str) -> bytes | None:
        offset = self._irs.get(address)
        if offset is None:
            return None
        content = self._kept.get(address)
        if content is None:
            line = self._again(offset)
            content = line.content.encode() if isinstance(line, IrLine) else b""
            self._kept[address] = content
            if len(self._kept) > IRS_MAX:
                self._kept.popitem(last=False)
        return content

    def _read_version(self, workflow: str, version: int) -> bytes | None:
        address = self._versions.get((workflow, version))
        return None if address is None else self._read_ir(address)

    def _read_content(self, offset: int) -> bytes:
        line = self._again(offset)
        assert isinstance(line, ContentLine)
        return as_bytes(line.content, line.content_base64)

    def _again(self, offset: int) -> Line:
        self._file.seek(offset)
        return read_line(self._file.readline(LINE_BYTES_MAX)[:-1])
