"""Events: the immutable facts of a run, and how they travel from a transition to the log.

A worker encodes each event once: ``facts`` (a small JSON object, part of the hash chain) and ``payload`` (a JSON
value, kept apart so that it can be emptied without breaking a chain; the chain covers its digest). All events of
one transition are one opaque ``EventBlob``; the script adds the first sequence number, the count and the time.

One outbox entry holds one call's transitions, as flat stream fields:

    h                                           "<epoch> <partition sequence> <time in ms>"
    <run>|<first seq>|<n>|<codes>               the blob of the n events of one transition ("" when n is 0)

``codes`` are the events that only the script knows, joined by ``;``. They take the sequence numbers after the
worker's events, in order. Nodes are numbers in the IR, scopes are ``ScopeKey`` text:

    F<node>:<scope>:<live>    join.fired; live: "*" all in-edges, "-1,2" all but these, "+0" only these
    D<node>:<scope>:<d|f>     join.died, dead or failed
    P<node>:<scope>:<due>     timer.set; due: ms since the epoch
    T<node>:<scope>           timer.released
    W<node>:<scope>           token.withdrawn (a drain's sweep met it parked)
    K<node>:<scope>:<n>       token.claimed (its holder was silent for longer than the lease, or its entry was gone; n
                              times until now)
    S                         run.swept (nothing is parked any more)
    X<reason>                 run.draining (a command, or a limit that was reached)
    L<node>:<scope>:<word>    token.released; s<k>: by the k-th of the names it waited for, s-: its time is over
    G<node>:<scope>           mutex.granted
    g<node>:<scope>           slot.granted (of a concurrency key)
    b<node>:<scope>           budget.granted (what its call may take is reserved)
    e<node>:<scope>           budget.refused (the budget of the run has not so much any more)
    V<node>:<scope>           step.withdrawn (it lives on as a skip token)
    J<node>:<scope>           token.forced (to the end that a command says)
    O<node>:<scope>           token.overdue (nobody took it from its queue in time)
    Y<node>:<scope>           approval.escalated
    I<node>:<scope>:<live>    fanout.completed, of an aggregate: items, ok, failed, skipped, joined by "."; "!": closed
    A<node>:<scope>           fanout.closed (a map, by its first failed item)
    E<node>:<scope>           token.dropped (below a map that was closed)
    Q<node>:<scope>           join.dropped (half-filled, below a map that was closed)
    C<node>:<scope>           fanout.dropped (a map that was open, below one that was closed)
    M<node>:<scope>           fanout.swept (nothing is left below the closed map)
    B                         closing.released (nothing else is left: time to undo what was done)
    U                         run.woken (nothing is put aside by a pause any more)
    N                         command.ignored (there was nothing that it could act on)
    Z<n>                      run.halted: the counter is zero with n half-filled joins and open maps (CORRUPT)
    H<word>                   run.halted: what Redis had of the run was damaged (counter, record, missing ...)
    R                         run.rebuilt: it goes on from where the log was, whatever Redis had
    m<from>,<to>,<version>,<by>,<reason>  run.migrated: it goes on with another IR; both hashes, the version that it is
                              of, and in hex who asked for it and why

The partition sequence grows by one per outbox entry, so that a gap or a rewind shows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import msgspec

FACTS_VERSION = 1
DAMAGES = frozenset({"counter", "record", "missing", "state", "log", "again", "unreadable"})
"""Why a run was halted that may be rebuilt from its log. ``log``: which cannot be followed; ``again``: it was rebuilt
as often as that is tried; ``unreadable``: workers cannot read a token of it. These three are left to a person.
"""


SCRIPT_EVENTS = frozenset(
    """approval.escalated budget.granted budget.refused closing.released command.ignored fanout.closed
    fanout.completed fanout.dropped fanout.swept join.died join.dropped join.fired mutex.granted run.draining
    run.halted run.swept run.woken slot.granted step.withdrawn timer.released timer.set token.claimed token.dropped
    token.forced token.overdue token.released token.withdrawn""".split()
)
"""What the scripts say of themselves, after the events of a transition and before those of the next."""


BELOW_CLOSED = "map_closed"
"""Why a token was dropped: a failure has closed a map around it."""
ITEM_FAILED = "item_failed"
"""Why a step that failed in the body of a map is no dead letter: its item has failed, and the aggregate decides."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a step failed. ``type``: the name of the exception, or the code. ``traceback``: the last frames.

    ``kind``: retryable or fatal, where the document does not say. ``failure_class``, JSON ``class``: network, timeout,
    an HTTP status, output_invalid or error. Both are empty in older logs, and where it was no step that failed.
    """

    type: str
    message: str
    kind: str = ""
    failure_class: str = msgspec.field(default="", name="class")
    node: str = ""
    attempt: int = 0
    worker: str = ""
    traceback: str = ""


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an event says, but for run, sequence number and time, which the script gives.

    ``edges``: one letter per outgoing edge of the node in IR order (``l`` live, ``d`` dead, ``f`` failed), left out
    when every normal edge is live and no other. ``loop``: ``back``, ``break`` or ``exhausted``. ``ms``: duration.
    ``due``: ms since the epoch. ``data``: what only this type has (see docs/reference/events.md).
    """

    type: str
    node: str = ""
    scope: str = ""
    attempt: int = 0
    worker: str = ""
    edges: str = ""
    loop: str = ""
    reason: str = ""
    ms: int = 0
    due: int = 0
    error: ErrorInfo | None = None
    data: dict[str, object] = {}


_facts = msgspec.json.Encoder(order="deterministic")
_facts_decoder = msgspec.json.Decoder(Facts)
_blob = msgspec.msgpack.Encoder()
_blob_decoder = msgspec.msgpack.Decoder(list[tuple[bytes, bytes | None]])


def encode_facts(facts: Facts) -> bytes:
    """Return the canonical bytes that the chain is made of."""
    return _facts.encode(facts)


def decode_facts(content: bytes) -> Facts:
    """Raises msgspec.ValidationError where the bytes are not facts."""
    return _facts_decoder.decode(content)


def encode_blob(events: Sequence[tuple[bytes, bytes | None]]) -> bytes:
    """Return one transition's (facts, payload) pairs as one opaque value."""
    return _blob.encode(events)


def decode_blob(content: bytes) -> list[tuple[bytes, bytes | None]]:
    return _blob_decoder.decode(content) if content else []


def digest(payload: bytes) -> bytes:
    """Return the content address of a payload: BLAKE2b, 16 bytes (RFC 7693)."""
    return hashlib.blake2b(payload, digest_size=16).digest()


def chain_hash(previous: bytes, run_id: str, seq: int, at_ms: int, facts: bytes, payload_digest: bytes | None) -> bytes:
    """Return the hash of one row: BLAKE2b, 32 bytes, over the row before it and everything this row says.

    previous: 32 bytes, zeros for the first event of a run.
    """
    head = f"{run_id}|{seq}|{at_ms}|".encode()
    tail = b"" if payload_digest is None else payload_digest
    return hashlib.blake2b(previous + head + len(facts).to_bytes(4) + facts + tail, digest_size=32).digest()


GENESIS = bytes(32)


class RecordedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event as it stands in the log. ``payload`` is None where there is none, or where it was emptied."""

    run_id: str
    seq: int
    at_ms: int
    facts: Facts
    payload: bytes | None = None


def join_codes(codes: Iterable[str]) -> str:
    return ";".join(codes)
