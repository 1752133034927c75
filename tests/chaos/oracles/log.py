"""The log as Postgres has it: rows of runs, their facts, and the chain (docs/reference/events.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg

from chaos.oracles.finding import Finding

FINAL = frozenset({"run.completed", "run.failed", "run.cancelled", "run.timed_out"})

_EVENTS = """
SELECT l.run_id, l.seq, l.type, (extract(epoch FROM l.at) * 1000)::bigint AS at_ms, l.node, l.scope, l.attempt, l.facts,
       l.payload_digest, l.prev_hash, l.hash, p.payload
  FROM event_log l LEFT JOIN event_payloads p ON (p.run_id, p.seq, p.at) = (l.run_id, l.seq, l.at)
 WHERE l.env = $1 ORDER BY l.run_id, l.seq"""


@dataclass(frozen=True)
class Event:
    """One row. ``payload``: what it means, references followed; ``stored``: as it stands."""

    seq: int
    type: str
    at_ms: int
    node: str
    scope: str
    attempt: int
    facts: dict[str, Any]
    raw: bytes
    payload_digest: bytes | None
    prev_hash: bytes
    hash: bytes
    payload: bytes | None
    stored: bytes | None


async def read_log(conn: asyncpg.Connection[Any], env: str) -> dict[str, list[Event]]:
    """Return the events of every run, in order."""
    blobs: dict[str, bytes] = {
        row["digest"].hex(): row["content"]
        for row in await conn.fetch("SELECT digest, content FROM payloads WHERE env = $1", env)
    }
    runs: dict[str, list[Event]] = {}
    for row in await conn.fetch(_EVENTS, env):
        raw: bytes = row["facts"]
        stored: bytes | None = row["payload"]
        event = Event(
            seq=row["seq"],
            type=row["type"],
            at_ms=row["at_ms"],
            node=row["node"],
            scope=row["scope"],
            attempt=row["attempt"],
            facts=json.loads(raw),
            raw=raw,
            payload_digest=row["payload_digest"],
            prev_hash=row["prev_hash"],
            hash=row["hash"],
            payload=_follow(stored, blobs),
            stored=stored,
        )
        runs.setdefault(row["run_id"], []).append(event)
    return runs


def _follow(stored: bytes | None, blobs: dict[str, bytes]) -> bytes | None:
    """A payload that stands in its event, or that the event refers to."""
    if stored is None or not stored.startswith(b"@"):
        return stored
    return blobs.get(stored[1:].split(b":")[0].decode())


def check_chain(run_id: str, events: list[Event]) -> Iterator[Finding]:
    """O4: numbers from 1 without gap or double, every hash over the one before; one end, and nothing after it."""
    previous = bytes(32)
    for number, event in enumerate(events, start=1):
        if event.seq != number:
            yield Finding("O4", run_id, f"event {number} is missing: the next one is {event.seq}")
            return
        if event.prev_hash != previous:
            yield Finding("O4", run_id, f"event {number} does not follow the hash before it")
        if event.hash != _hash(run_id, event, previous):
            yield Finding("O4", run_id, f"the hash of event {number} does not fit it")
        if event.stored is not None and hashlib.blake2b(event.stored, digest_size=16).digest() != event.payload_digest:
            yield Finding("O4", run_id, f"the payload of event {number} is another one")
        if event.type == "event.quarantined":
            yield Finding("O4", run_id, f"event {number} was quarantined: {event.facts.get('reason')}")
        previous = event.hash
    ends = [event.seq for event in events if event.type in FINAL]
    if ends and ends != [len(events)]:
        yield Finding("O8", run_id, f"the run ended with events {ends} of {len(events)}")
    starts = [event.seq for event in events if event.type == "run.started"]
    if starts != [1]:
        yield Finding("O6", run_id, f"the run started with events {starts}")


def _hash(run_id: str, event: Event, previous: bytes) -> bytes:
    head = f"{run_id}|{event.seq}|{event.at_ms}|".encode()
    tail = event.payload_digest or b""
    content = previous + head + len(event.raw).to_bytes(4, "big") + event.raw + tail
    return hashlib.blake2b(content, digest_size=32).digest()
