"""Archives: a month of the log in one file of compressed JSON Lines, which can be checked and put back by itself.

The first line says what it is; then come the runs as they were known, the events by run and number with their payloads,
the payloads that these refer to, and a last line with counts. Beside the file stands its manifest, written after it:
with counts and the SHA-256 of the file. A file without a manifest is not complete.
"""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import msgspec

from ...sdk.events import GENESIS, chain_hash, digest
from ...sdk.fault_points import reach

VERSION = 1
SUFFIX = ".jsonl.gz"
CHUNK_BYTES = 1024 * 1024
_HEX = 32


class Head(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="archive"):
    """``month``: name of the table. ``starts``, ``ends``: ISO 8601 in UTC; the end is not in it."""

    version: int
    month: str
    starts: str
    ends: str


class Run(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="run"):
    """A row of ``runs``."""

    row: msgspec.Raw


class Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="event"):
    """A row of ``event_log``; digests and hashes as hex. ``payload``: None where there is none, or it was emptied."""

    env: str
    partition: int
    run_id: str
    seq: int
    at_ms: int
    type: str
    node: str
    scope: str
    attempt: int
    worker: str
    facts: str
    payload: str | None
    payload_digest: str | None
    prev_hash: str
    hash: str


class Payload(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="payload"):
    """A payload beyond the inline limit, or an artifact, as it is stored; in Base64."""

    env: str
    digest: str
    content: bytes


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    events: int
    runs: int
    payloads: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What stands beside an archive. ``sha256``: of the file, as hex."""

    file: str
    month: str
    starts: str
    ends: str
    sha256: str
    size_bytes: int
    events: int
    runs: int
    payloads: int


class ArchiveBroken(Exception):
    """A file that is no archive, or does not hold what it says. ``where``: line, from 1; 0 where it is the file."""

    def __init__(self, where: int, problem: str) -> None:
        super().__init__(f"line {where}: {problem}" if where else problem)
        self.where = where
        self.problem = problem


Line = Head | Run | Event | Payload | End
_encode = msgspec.json.Encoder().encode
_decoder: msgspec.json.Decoder[Line] = msgspec.json.Decoder(Line)


class Writer:
    """Writes one archive. Nothing stands at its place before ``finish``; what was left there before is written over."""

    def __init__(self, folder: Path, head: Head) -> None:
        self.path = folder / f"{head.month}{SUFFIX}"
        self._partial = folder / f"{head.month}{SUFFIX}.partial"
        self._head = head
        self._raw: BinaryIO = self._partial.open("wb")
        self._file = gzip.GzipFile(filename="", fileobj=self._raw, mode="wb", compresslevel=6, mtime=0)
        self._counts = {Event: 0, Run: 0, Payload: 0}
        self._write(head)

    def add(self, line: Run | Event | Payload) -> None:
        self._counts[type(line)] += 1
        self._write(line)

    def finish(self) -> Manifest:
        """Put the file and its manifest in their places, durable; return the manifest."""
        end = End(events=self._counts[Event], runs=self._counts[Run], payloads=self._counts[Payload])
        self._write(end)
        self._file.close()
        self._raw.flush()
        os.fsync(self._raw.fileno())
        self._raw.close()
        manifest = Manifest(
            file=self.path.name,
            month=self._head.month,
            starts=self._head.starts,
            ends=self._head.ends,
            sha256=sha256_of(self._partial),
            size_bytes=self._partial.stat().st_size,
            events=end.events,
            runs=end.runs,
            payloads=end.payloads,
        )
        manifest_path(self.path).unlink(missing_ok=True)  # of an older file of this name
        self._partial.replace(self.path)
        reach("before_manifest")
        _put(manifest_path(self.path), msgspec.json.format(_encode(manifest)) + b"\n")
        return manifest

    def abandon(self) -> None:
        self._file.close()
        self._raw.close()
        self._partial.unlink(missing_ok=True)

    def _write(self, line: Line) -> None:
        self._file.write(_encode(line) + b"\n")


def manifest_path(path: Path) -> Path:
    """Return where the manifest of an archive stands."""
    return path.with_name(path.name + ".manifest.json")


def read_manifest(path: Path) -> Manifest | None:
    """Return the manifest of an archive; None where it has none, and so is not complete. Raises ArchiveBroken."""
    try:
        return msgspec.json.decode(manifest_path(path).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise ArchiveBroken(0, f"its manifest cannot be read: {error}") from error


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file as hex."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of an archive in order. Raises ArchiveBroken, OSError."""
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            for content in file:
                number += 1
                yield _decoder.decode(content)
    except (msgspec.MsgspecError, EOFError, gzip.BadGzipFile, ValueError) as error:
        raise ArchiveBroken(number, f"it cannot be read: {error}") from error


def first_event(path: Path) -> Event:
    """Return the first event of an archive that has one. Raises ArchiveBroken, OSError."""
    for line in read_lines(path):
        if isinstance(line, Event):
            return line
    raise ArchiveBroken(0, "it has no events, and its manifest counts some")


def verify_archive(path: Path) -> Manifest:
    """Check a file against its manifest, and everything in it; return the manifest.

    Checked: the hash of the file, the counts, that every event continues the chain of its run, and that payloads are
    those of their digests. Raises ArchiveBroken, OSError.
    """
    path.stat()
    manifest = read_manifest(path)
    if manifest is None:
        raise ArchiveBroken(0, "it has no manifest: it was not written to its end")
    if sha256_of(path) != manifest.sha256:
        raise ArchiveBroken(0, "its SHA-256 is not that of its manifest")
    check = _Check()
    for number, line in enumerate(read_lines(path), start=1):
        try:
            check.add(line)
        except ValueError as error:
            raise ArchiveBroken(number, str(error)) from error
    counts = (manifest.events, manifest.runs, manifest.payloads)
    if check.end is None or (check.end.events, check.end.runs, check.end.payloads) != counts:
        raise ArchiveBroken(0, "its last line is missing, or counts otherwise than its manifest")
    return manifest


class _Check:
    """One archive, line by line. ``end``: its last line, once it has come."""

    def __init__(self) -> None:
        self.end: End | None = None
        self._is_begun = False
        self._counts = {Event: 0, Run: 0, Payload: 0}
        self._run_id, self._seq, self._hash = "", 0, GENESIS

    def add(self, line: Line) -> None:
        """Raises ValueError."""
        if self.end is not None or self._is_begun == isinstance(line, Head):
            raise ValueError("a line stands where none may")
        self._is_begun = True
        if isinstance(line, Head):
            if line.version > VERSION:
                raise ValueError(f"it is of version {line.version}; upgrade to read it")
        elif isinstance(line, End):
            found = (self._counts[Event], self._counts[Run], self._counts[Payload])
            if found != (line.events, line.runs, line.payloads):
                raise ValueError("it does not hold as many lines as it says")
            self.end = line
        else:
            self._counts[type(line)] += 1
            if isinstance(line, Event):
                self._add_event(line)
            elif isinstance(line, Payload) and digest(line.content).hex() != line.digest:
                raise ValueError(f"payload {line.digest} is not that of its digest")

    def _add_event(self, event: Event) -> None:
        place = f"event {event.seq} of {event.run_id}"
        previous = bytes.fromhex(event.prev_hash)
        if event.run_id == self._run_id:
            if (event.seq, previous) != (self._seq + 1, self._hash):
                raise ValueError(f"{place} does not continue the one before it")
        elif event.seq == 1 and previous != GENESIS:
            raise ValueError(f"{place} is not a beginning")
        found = None if event.payload_digest is None else bytes.fromhex(event.payload_digest)
        own = chain_hash(previous, event.run_id, event.seq, event.at_ms, event.facts.encode(), found)
        if own.hex() != event.hash:
            raise ValueError(f"{place}: its hash does not fit what it says")
        if event.payload is not None and digest(event.payload.encode()) != found:
            raise ValueError(f"{place}: its payload is not that of its digest")
        self._run_id, self._seq, self._hash = event.run_id, event.seq, own


def iso_of(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _put(path: Path, content: bytes) -> None:
    """Write a small file at once, or not at all; what it stands beside is durable then too."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
