"""Commands: what someone outside asks of the engine, durable and numbered per run before Redis hears of it.

Number 1 is the start. A start with an idempotency key gets its run id from the key: the same key is the same run, and
the same key with another request is a conflict. Rows never change; what was applied is seen in the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias

import asyncpg
import msgspec

from ..base_terms import BaseTerms, decode_terms, encode_terms
from ..events import digest
from ..sealing.payload_terms import PAYLOAD_TERMS
from .connection import Connection
from .errors import UnknownRun
from .queries import load_queries

_sql = load_queries("commands")
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_encoder = msgspec.json.Encoder()


class StartCommand(msgspec.Struct, frozen=True, kw_only=True):
    """The start of one run, resolved: ``version`` and ``ir_hash`` are what it will execute.

    ``input``: canonical JSON. ``asked_version``: what the caller named, None for the latest; a repeated request stays
    the same one when the latest has moved. ``partition``: from 0. ``base_seq``: the event of the base run from which it
    goes on; None where it begins at its beginning. ``base_terms``: how it does; None for a retry. ``created_at``: of
    the acceptance, once it is known.
    """

    env: str
    run_id: str
    partition: int
    workflow: str
    version: int
    ir_hash: str
    input: bytes
    asked_version: int | None = None
    idempotency_key: str | None = None
    by: str | None = None
    tags: tuple[str, ...] = ()
    trigger: str = "initial"
    start_at: datetime | None = None
    expires_at: datetime | None = None
    traceparent: str | None = None
    base_run_id: str | None = None
    base_seq: int | None = None
    base_terms: BaseTerms | None = None
    created_at: datetime | None = None

    def body_digest(self, stored: bytes, terms: bytes | None = None) -> bytes:
        """Return the digest of what was asked, 16 bytes. Who, when and the trace are not part of it.

        stored, terms: the input and the base terms as they are stored, so that nobody can find out by it what encrypted
        ones say.
        """
        base = () if self.base_seq is None else (self.base_seq,)
        asked = (self.workflow, self.asked_version, self.tags, self.base_run_id, *base)
        parts = [_encoder.encode(asked), stored] if terms is None else [_encoder.encode(asked), terms, stored]
        return hashlib.blake2b(b"\n".join(parts), digest_size=16).digest()


class Accepted(msgspec.Struct, frozen=True, tag=True):
    """A new run. It is durable when the caller's transaction is."""

    run_id: str
    created_at: datetime


class Duplicate(msgspec.Struct, frozen=True, tag=True):
    """The same request was accepted before; ``created_at`` is of then."""

    run_id: str
    created_at: datetime


class Conflict(msgspec.Struct, frozen=True, tag=True):
    """The run id, or the key that it is derived from, belongs to another request."""

    run_id: str


class StartToApply(msgspec.Struct, frozen=True, kw_only=True):
    """A committed start whose ``run.started`` is not in the log. ``input``, ``base_terms``: as they are stored.

    ``xact``: the number of the transaction that accepted it.
    """

    run_id: str
    partition: int
    workflow: str
    version: int
    ir_hash: str
    input: bytes
    input_digest: bytes
    idempotency_key: str | None
    by: str | None
    tags: tuple[str, ...]
    trigger: str
    start_at: datetime | None
    expires_at: datetime | None
    traceparent: str | None
    base_run_id: str | None
    base_seq: int | None
    base_terms: bytes | None
    created_at: datetime
    xact: int


class Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=True):
    """A numbered command as it stands in Postgres; its body may be encrypted (``command_bodies.open_body``)."""

    number: int
    type: str
    by: str | None
    body: bytes
    created_at: datetime
    decides: str | None = None


class Decided(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind", tag=True):
    """Someone else decided this token first: who, what and when."""

    number: int
    type: str
    by: str | None
    body: bytes
    created_at: datetime


def run_id_of_key(env: str, key: str) -> str:
    """Return the id of the run that an idempotency key stands for: ``run_`` and 26 characters as in a ULID."""
    number = int.from_bytes(hashlib.blake2b(f"{env}\n{key}".encode(), digest_size=16).digest())
    return "run_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


async def insert_starts(conn: Connection, starts: Sequence[StartCommand]) -> list[Accepted | Duplicate | Conflict]:
    """Commit many starts at once; the answers are in the order given. Idempotent by run id.

    One statement, a second one where something was there already. Two starts of one run in one call are told apart
    as if they had come one after the other. Ordered by run id, so that concurrent calls cannot deadlock.
    Raises PayloadUnreadable where a request of the same id was encrypted, so that they cannot be told apart.
    """
    if not starts:
        return []
    inputs = [PAYLOAD_TERMS.encode(start.input) for start in starts]
    terms = [encode_terms(start.base_terms) for start in starts]
    digests = [start.body_digest(input, said) for start, input, said in zip(starts, inputs, terms, strict=True)]
    rows = await conn.fetch(_sql["insert_starts"], *_columns(starts, inputs, digests), terms)
    created: dict[str, datetime] = {row[0]: row[1] for row in rows}
    if len(created) == len(starts):
        return [Accepted(start.run_id, created[start.run_id]) for start in starts]
    found = await conn.fetch(_sql["find_starts"], [start.run_id for start in starts])
    stored = {row["run_id"]: row for row in found}
    answers: list[Accepted | Duplicate | Conflict] = []
    for start, body_digest in zip(starts, digests, strict=True):
        row = stored[start.run_id]
        if not await _is_same(conn, row, start, body_digest):
            answers.append(Conflict(start.run_id))
        elif created.pop(start.run_id, None) is not None:
            answers.append(Accepted(start.run_id, row["created_at"]))
        else:
            answers.append(Duplicate(start.run_id, row["created_at"]))
    return answers


async def _is_same(conn: Connection, row: asyncpg.Record, start: StartCommand, body_digest: bytes) -> bool:
    """Whether a stored start is the same request; perhaps it was encrypted by an older key, or not at all."""
    if row["env"] != start.env:
        return False
    if row["body_digest"] == body_digest:
        return True
    found = await conn.fetchrow(_sql["get_body"], start.run_id)
    assert found is not None
    body, terms = found
    if row["body_digest"] != start.body_digest(body, terms) or decode_terms(terms) != start.base_terms:
        return False
    return PAYLOAD_TERMS.decode(body) == start.input


async def starts_to_apply(
    conn: Connection,
    env: str,
    partition: int,
    *,
    older_than_ms: int = 0,
    limit: int = 1_000,
    put_off: Mapping[str, int] | None = None,
    restarts: int = 1_000,
    again: Sequence[str] = (),
) -> list[StartToApply]:
    """Return committed starts with no ``run.started`` in the log: the oldest that begin at their beginning, up to
    ``limit``, the oldest that go on from other runs, up to ``restarts``, and ``again``: some that were put off.

    put_off: runs that are left out, each with the ``xact`` of its start. A start that waits for ``start_at`` is among
    them: applying it parks it. Cost: the starts committed since the last call that found nothing older, not the
    history; a mark by transaction number keeps that exact. Writes the mark.
    """
    horizon: str = await conn.fetchval(_sql["snapshot_xmin"])
    mark: str = await conn.fetchval(_sql["get_mark"], env, partition) or "0"
    off = put_off or {}
    what = (env, partition, mark, older_than_ms, limit, list(off), max(1, restarts), list(again))
    rows = await conn.fetch(_sql["starts_to_apply"], *what)
    oldest = min([int(horizon), *off.values(), *(int(row["xact"]) for row in rows)])
    await conn.execute(_sql["move_mark"], env, partition, str(oldest))
    return [_start_to_apply(dict(row)) for row in rows if row["is_old"]]


async def append_command(
    conn: Connection, run_id: str, type: str, body: bytes, *, by: str | None = None, decides: str | None = None
) -> Command | Decided:
    """Give a command the next number of its run, in one transaction; concurrent calls for a run take turns.

    decides: a token; the first decision stands and a later one is told of it. Raises UnknownRun.
    """
    async with conn.transaction():
        run = await conn.fetchrow(_sql["lock_run"], run_id)
        if run is None:
            raise UnknownRun(run_id)
        if decides is not None and (first := await conn.fetchrow(_sql["find_decision"], run_id, decides)) is not None:
            return Decided(**dict(first))
        values = (run["env"], run_id, type, run["partition"], body, digest(body), by, decides)
        row = await conn.fetchrow(_sql["append_command"], *values)
        assert row is not None
        created_at: datetime = row["created_at"]
        return Command(number=row["number"], type=type, by=by, body=body, created_at=created_at, decides=decides)


async def get_command(conn: Connection, run_id: str, number: int) -> Command | None:
    """Return a command as it is stored."""
    row = await conn.fetchrow(_sql["get_command"], run_id, number)
    return None if row is None else Command(**dict(row))


async def commands_after(conn: Connection, run_id: str, number: int) -> list[Command]:
    """Return the commands of a run that come after ``number``, in order."""
    return [Command(**dict(row)) for row in await conn.fetch(_sql["commands_after"], run_id, number)]


class CommandedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that commands are given to. ``status``: None where the log does not have it yet."""

    partition: int
    workflow: str
    ir_hash: str
    status: str | None
    finished_at: datetime | None
    is_halted: bool


async def find_run(conn: Connection, env: str, run_id: str) -> CommandedRun:
    """Raises UnknownRun."""
    row = await conn.fetchrow(_sql["find_run"], run_id, env)
    if row is None:
        raise UnknownRun(run_id)
    return CommandedRun(**dict(row))


async def find_decision(conn: Connection, run_id: str, decides: str) -> Decided | None:
    """Return who has decided something, None where nobody has."""
    row = await conn.fetchrow(_sql["find_decision"], run_id, decides)
    return None if row is None else Decided(**dict(row))


async def find_decisions(conn: Connection, run_id: str, types: Sequence[str]) -> list[Decided]:
    """Return the decisions of a run of some types, in order."""
    return [Decided(**dict(row)) for row in await conn.fetch(_sql["find_decisions"], run_id, list(types))]


async def find_starters(conn: Connection, run_id: str) -> list[str | None]:
    """Return who has started a run, the runs that it goes on from, and those that it is a step of.

    None: nobody has said so, or retention has deleted one of them.
    """
    return [row["by"] for row in await conn.fetch(_sql["find_starters"], run_id)]


async def find_releases(conn: Connection, run_id: str) -> list[Decided]:
    """Return the approvals and ends by force of a run, and of those that it goes on from."""
    return [Decided(**dict(row)) for row in await conn.fetch(_sql["find_releases"], run_id)]


Place: TypeAlias = tuple[int, str, int]
"""By which commands are ordered that are to be applied."""
FIRST: Place = (0, "", 0)


class CommandToApply(msgspec.Struct, frozen=True, kw_only=True):
    """A committed command that the log does not have, of a run that has not ended. ``xact``: as of a start."""

    run_id: str
    ir_hash: str
    command: Command
    xact: int

    @property
    def place(self) -> Place:
        return self.xact, self.run_id, self.command.number


async def commands_to_apply(
    conn: Connection,
    env: str,
    partition: int,
    *,
    older_than_ms: int = 0,
    limit: int = 1_000,
    put_off: Mapping[str, int] | None = None,
    after: Place = FIRST,
) -> list[CommandToApply]:
    """Return committed commands that the log does not have, those of a run in order. Writes a mark, as for starts, when
    it begins at the first.

    put_off: as for starts. after: the last one of the page before. Halted runs are left out: whoever repairs one gives
    it its commands. Cost: the commands committed since the last call that found nothing older, not the history.
    """
    horizon: str = await conn.fetchval(_sql["snapshot_xmin"])
    mark: str = await conn.fetchval(_sql["get_command_mark"], env, partition) or "0"
    off = put_off or {}
    what = (env, partition, mark, older_than_ms, limit, list(off), str(after[0]), *after[1:])
    rows = await conn.fetch(_sql["commands_to_apply"], *what)
    if after == FIRST:
        oldest = min([int(horizon), *off.values(), *(int(row["xact"]) for row in rows[:1])])
        await conn.execute(_sql["move_command_mark"], env, partition, str(oldest))
    return [
        CommandToApply(
            run_id=row["run_id"],
            ir_hash=row["ir_hash"],
            command=Command(**{name: row[name] for name in Command.__struct_fields__}),
            xact=int(row["xact"]),
        )
        for row in rows
        if row["is_old"]
    ]


def _start_to_apply(row: dict[str, Any]) -> StartToApply:
    fields: dict[str, Any] = {name: row[name] for name in StartToApply.__struct_fields__}
    fields |= {"tags": tuple(row["tags"]), "xact": int(row["xact"])}
    return StartToApply(**fields)


def _columns(
    starts: Sequence[StartCommand], inputs: Sequence[bytes], digests: Sequence[bytes]
) -> tuple[list[object], ...]:
    """The arrays of ``insert_starts``, in its order."""
    return (
        [start.env for start in starts],
        [start.run_id for start in starts],
        [start.partition for start in starts],
        list(inputs),
        list(digests),
        [start.by for start in starts],
        [start.workflow for start in starts],
        [start.version for start in starts],
        [start.ir_hash for start in starts],
        [digest(stored) for stored in inputs],
        [start.idempotency_key for start in starts],
        [_array(start.tags) for start in starts],
        [start.trigger for start in starts],
        [start.start_at for start in starts],
        [start.expires_at for start in starts],
        [start.traceparent for start in starts],
        [start.base_run_id for start in starts],
        [start.base_seq for start in starts],
    )


def _array(words: Sequence[str]) -> str:
    """The text of a Postgres array, because arrays of arrays must not be ragged."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in words)
    return "{" + ",".join(f'"{word}"' for word in quoted) + "}" if words else "{}"
