"""Chaining: transitions become rows of the log, each with the hash of the one before it in its run.

Pure: heads that are not in memory are looked up by the caller. Nothing is remembered before ``keep`` says that a
batch is committed. This is the hot loop of the recorder: a few microseconds per event.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ...sdk.events import GENESIS, Facts, chain_hash, decode_blob, decode_facts, digest, encode_facts
from ...sdk.fold.fold_ends import FINAL
from ...sdk.fold.migrated import MIGRATED, MIGRATED_CODE, ir_told, moved_to
from ...sdk.sealing.artifacts import refers
from ...sdk.stores import copy_format
from .entries import QUARANTINED, Entry, LogDiverged, Transition, quarantine, read_code
from .map_results import Told, told_results
from .projections import Projection

HEADS_MAX = 100_000
FACTS_MAX = 10_000
"""Decoded facts kept: most steps say the very same bytes."""

LOG_COLUMNS = "env partition at run_id seq type node scope attempt worker facts payload_digest prev_hash hash".split()
PAYLOAD_COLUMNS = "env at run_id seq payload".split()

Head = tuple[int, bytes]
_DIGEST = (16).to_bytes(4)
_HASH = (32).to_bytes(4)

Poison = frozenset[tuple[str, int]]


Read = tuple[bytes, "bytes | None", Facts, bytes]
"""One event as it came: facts bytes, payload, facts, and the columns type to facts of its row in the log."""


@dataclass(slots=True)
class Batch:
    """Everything that one transaction appends: binary rows, and what they say. ``references``: of payloads to blobs.

    ``results``: of maps, and lists of their items.
    """

    projection: Projection
    count: int = 0
    rows: bytearray = field(default_factory=bytearray)
    payloads: bytearray = field(default_factory=bytearray)
    references: set[bytes] = field(default_factory=set[bytes])
    results: list[Told] = field(default_factory=list[Told])
    heads: dict[str, Head] = field(default_factory=dict[str, Head])
    irs: dict[str, str] = field(default_factory=dict[str, str])
    quarantined: list[tuple[str, int, str]] = field(default_factory=list[tuple[str, int, str]])


class Chains:
    """The chain heads and the IR hashes of the runs of one partition, as far as they are in memory.

    counts: batches tell what a meter counts.
    """

    def __init__(self, env: str, partition: int, *, counts: bool = False) -> None:
        self.env = env
        self._counts = counts
        self.partition = partition
        self._heads: dict[str, Head] = {}
        self._irs: dict[str, str] = {}
        self._facts: dict[bytes, tuple[Facts, bytes]] = {}
        shared = copy_format.text(env)
        self._row_start = copy_format.columns(len(LOG_COLUMNS)) + shared + copy_format.bigint(partition)
        self._payload_start = copy_format.columns(len(PAYLOAD_COLUMNS)) + shared

    def forget(self) -> None:
        """After a batch whose fate is not known."""
        self._heads.clear()
        self._irs.clear()

    def without_head(self, entries: Sequence[Entry], after: Batch | None = None) -> list[str]:
        """Return the runs whose head must be looked up before ``build``. after: what is known besides."""
        heads, begun, unknown = self._heads, set(after.heads if after else ()), dict[str, None]()
        for entry in entries:
            for transition in entry.transitions:
                run_id = transition.run_id
                if transition.first_seq == 1:
                    begun.add(run_id)
                elif run_id not in heads and run_id not in begun:
                    unknown[run_id] = None
        return list(unknown)

    def learn_heads(self, heads: Mapping[str, Head]) -> None:
        self._heads.update(heads)

    def learn_irs(self, irs: Mapping[str, str]) -> None:
        self._irs.update(irs)

    def irs_of_codes(self, entries: Sequence[Entry], after: Batch | None = None) -> dict[str, str | None]:
        """Return the IR hash of every run with codes that name nodes, None where it must be looked up.

        after: what is known besides.
        """
        wanted: dict[str, str | None] = {}
        begun = after.irs if after else {}
        moved: dict[str, str | None] = {}
        for entry in entries:
            for transition in entry.transitions:
                if transition.codes:
                    run_id = transition.run_id
                    wanted[run_id] = begun.get(run_id) or self._irs.get(run_id)
                    if transition.codes.startswith(MIGRATED_CODE):  # its nodes keep their numbers, and there are more
                        moved[run_id] = moved_to(transition.codes)
        wanted |= moved
        if None not in wanted.values():
            return wanted
        for entry in entries:
            for transition in entry.transitions:
                if transition.first_seq == 1 and wanted.get(transition.run_id, "") is None:
                    reads = self._read(transition, ())
                    wanted[transition.run_id] = ir_told(reads[0][2]) if reads else ""
        return wanted

    def build(self, entries: Sequence[Entry], node_ids: Mapping[str, Sequence[str]], poison: Poison) -> Batch:
        """Return the rows of the entries. node_ids: per run. poison: (run, seq) that Postgres cannot store.

        Raises LogDiverged (run_seq) where a transition does not continue its run.
        """
        batch = self.begin()
        for entry in entries:
            self.extend(batch, entry, node_ids, poison)
        return batch

    def begin(self) -> Batch:
        return Batch(Projection(self.env, [] if self._counts else None))

    def extend(
        self,
        batch: Batch,
        entry: Entry,
        node_ids: Mapping[str, Sequence[str]],
        poison: Poison = frozenset(),
        after: Batch | None = None,
    ) -> None:
        """Add the rows of one more entry. after: a batch before this one that ``keep`` has not seen yet."""
        at = copy_format.timestamptz(entry.at)
        earlier = after.heads if after else {}
        for transition in entry.transitions:
            run_id = transition.run_id
            head = batch.heads.get(run_id) or earlier.get(run_id) or self._heads.get(run_id) or (0, GENESIS)
            if transition.first_seq != head[0] + 1:
                found = f"{run_id} goes on with event {transition.first_seq} where the log has {head[0]}"
                raise LogDiverged("run_seq", self.partition, entry.id, found)
            reads = self._read(transition, node_ids.get(run_id, ()))
            if poison:
                reads = _without_poison(reads, run_id, head[0], poison)
            batch.heads[run_id] = self._append(batch, entry, at, run_id, head, reads)

    def build_each(
        self, entries: Sequence[Entry], node_ids: Mapping[str, Sequence[str]], poison: Poison
    ) -> Iterator[tuple[str, int, Batch]]:
        """Yield (run, seq, batch of this event alone), to find out which of them cannot be stored."""
        heads: dict[str, Head] = {}
        for entry in entries:
            at = copy_format.timestamptz(entry.at)
            for transition in entry.transitions:
                run_id = transition.run_id
                head = heads.get(run_id) or self._heads.get(run_id) or (0, GENESIS)
                reads = self._read(transition, node_ids.get(run_id, ()))
                for read in _without_poison(reads, run_id, head[0], poison):
                    batch = Batch(Projection(self.env))
                    head = heads[run_id] = self._append(batch, entry, at, run_id, head, [read])
                    yield run_id, head[0], batch

    def keep(self, batch: Batch) -> None:
        """Remember the heads of a batch that is committed."""
        self._heads.update(batch.heads)
        self._irs.update(batch.irs)
        for run_id in batch.projection.ended:
            self._heads.pop(run_id, None)
            self._irs.pop(run_id, None)
        for known in (self._heads, self._irs):
            while len(known) > HEADS_MAX:
                del known[next(iter(known))]

    def ended_in(self, entries: Sequence[Entry]) -> list[str]:
        """Return the runs that end in these entries."""
        return [
            transition.run_id
            for entry in entries
            for transition in entry.transitions
            if any(read[2].type in FINAL for read in self._read(transition, ()))
        ]

    def results_in(self, entries: Sequence[Entry]) -> list[Told]:
        """Return the results of maps that these entries tell."""
        return [
            told
            for entry in entries
            for transition in entry.transitions
            for _, payload, facts, _ in self._read(transition, ())
            if payload is not None and (told := told_results(transition.run_id, facts, payload))
        ]

    def _append(self, batch: Batch, entry: Entry, at: bytes, run_id: str, head: Head, reads: Sequence[Read]) -> Head:
        """Add the events of one transition and return the new head. at: of the entry, as a column."""
        seq, previous = head
        rows, payloads, project = batch.rows, batch.payloads, batch.projection.add
        place = at + copy_format.text(run_id)
        for content, payload, facts, columns in reads:
            seq += 1
            found = None
            number = copy_format.bigint(seq)
            if payload is not None:
                found = digest(payload)
                payloads += b"".join((self._payload_start, place, number, copy_format.bytea(payload)))
                if payload.startswith(b"@") or refers(payload):
                    batch.references.add(payload)
                if told := told_results(run_id, facts, payload):
                    batch.results.append(told)
            row_hash = chain_hash(previous, run_id, seq, entry.at_ms, content, found)
            column = copy_format.NULL if found is None else _DIGEST + found
            rows += b"".join((self._row_start, place, number, columns, column, _HASH, previous, _HASH, row_hash))
            project(self.partition, run_id, seq, entry.at, facts, found is not None, row_hash)
            previous = row_hash
            if seq == 1 or facts.type == MIGRATED:
                batch.irs[run_id] = ir_told(facts)
            if facts.type == QUARANTINED:
                batch.quarantined.append((run_id, seq, facts.reason))
        batch.count += len(reads)
        return seq, previous

    def _read(self, transition: Transition, node_ids: Sequence[str]) -> list[Read]:
        """Return the events of a transition. What cannot be read is quarantined in its place."""
        try:
            pairs = decode_blob(transition.blob)
        except msgspec.MsgspecError as error:
            return _unreadable(transition, str(error))
        if len(pairs) != transition.count:
            return _unreadable(transition, f"the blob holds {len(pairs)} events instead of {transition.count}")
        reads: list[Read] = []
        for content, payload in pairs:
            known = self._facts.get(content)
            if known is None:
                try:
                    known = _understand(content)
                except (msgspec.MsgspecError, RecursionError, struct.error, UnicodeEncodeError) as error:
                    reads.append(_quarantined(str(error), content, payload))
                    continue
                if len(self._facts) >= FACTS_MAX:
                    self._facts.clear()
                self._facts[content] = known
            reads.append((content, payload, *known))
        if transition.codes:
            reads += [_read_code(code, node_ids) for code in transition.codes.split(";")]
        return reads


def _understand(content: bytes) -> tuple[Facts, bytes]:
    facts = decode_facts(content)
    return facts, _columns(facts, content)


def _columns(facts: Facts, content: bytes) -> bytes:
    text = copy_format.text
    parts = (
        text(facts.type),
        text(facts.node),
        text(facts.scope),
        copy_format.bigint(facts.attempt),
        text(facts.worker),
    )
    return b"".join((*parts, copy_format.bytea(content)))


def _read_code(code: str, node_ids: Sequence[str]) -> Read:
    try:
        facts = read_code(code, node_ids)
    except ValueError as error:
        return _quarantined(str(error), code.encode(), None)
    content = encode_facts(facts)
    return content, None, facts, _columns(facts, content)


def _without_poison(reads: Sequence[Read], run_id: str, seq: int, poison: Poison) -> list[Read]:
    """seq: of the event before the first."""
    return [
        _quarantined("not storable", read[0], read[1]) if (run_id, number) in poison else read
        for number, read in enumerate(reads, start=seq + 1)
    ]


def _quarantined(reason: str, content: bytes, payload: bytes | None, part: int = 0) -> Read:
    facts = quarantine(reason, content, payload, part=part)
    encoded = encode_facts(facts)
    return encoded, None, facts, _columns(facts, encoded)


def _unreadable(transition: Transition, reason: str) -> list[Read]:
    """The first event holds the bytes, the others say that they were among them; codes are kept raw."""
    codes = transition.codes.split(";") if transition.codes else []
    reads = [_quarantined(reason, transition.blob, None, part) for part in range(transition.count)]
    return reads + [_quarantined(reason, code.encode(), None) for code in codes]
