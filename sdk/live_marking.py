"""The live marking: a run's keys in Redis read as a ``Marking``. What the audit and the tests hold against ``fold``.

Reads only. Owners, fences and entry ids are left out, as in every marking; of outputs Redis keeps only those that
something reads (``Plan.is_read``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from .keys import PartitionKeys
from .marking import Corrupt, JoinRecord, Marking, RunPhase, Token, TokenKind
from .scopes import parse_token_key
from .scripts import Connection

READS_MAX = 100
"""How often a run that moves on is read again."""


class RunMoves(Exception):
    """The run changed during every attempt to read it. Try again later."""


async def read_marking(redis: Connection, keys: PartitionKeys, run_id: str) -> Marking | None:
    """Return the marking of a run, or None where Redis does not know it.

    The two hashes are read one after the other, and again where the run's sequence number has moved meanwhile: every
    transition that changes a marking logs something. Raises RunMoves, and Corrupt for what no script writes.
    """
    run, context = keys.run(run_id), keys.context(run_id)
    for _ in range(READS_MAX):
        state = await _read_hash(redis, run)
        if not state:
            return None
        values = await _read_hash(redis, context)
        if await redis.execute_command("HGET", run, "seq") == state[b"seq"]:
            return marking_of(state, values)
    raise RunMoves(f"run {run_id} moves on faster than it can be read")


async def _read_hash(redis: Connection, key: str) -> dict[bytes, bytes]:
    found: object = await redis.execute_command("HGETALL", key)
    if isinstance(found, dict):
        return cast("dict[bytes, bytes]", found)
    flat = cast("list[bytes]", found)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def marking_of(state: dict[bytes, bytes], context: dict[bytes, bytes]) -> Marking:
    """Return the marking that the fields of the run hash and of the context hash say. Raises Corrupt.

    The counter must be the number of living tokens, and ``jn`` the number of join records.
    """
    marking = Marking()
    for name, value in state.items():
        field, text = name.decode(), value.decode()
        try:
            if field[0] == "t":
                marking.tokens[parse_token_key(field[1:])] = read_token_record(text)
            elif field[0] == "j" and field != "jn":
                marking.joins[parse_token_key(field[1:])] = read_join_record(text)
            elif field in _HEAD:
                _HEAD[field](marking, value)
        except ValueError as error:
            raise Corrupt(f"the field {field!r} of the run says {text!r}") from error
    if int(state[b"n"]) != len(marking.tokens):
        raise Corrupt(f"the counter is {int(state[b'n'])}, and {len(marking.tokens)} tokens live")
    half_filled = int(state.get(b"jn", b"0"))
    if half_filled != len(marking.joins):
        raise Corrupt(f"{half_filled} half-filled joins are counted, and there are {len(marking.joins)}")
    for name, value in context.items():
        _add_value(marking, name.decode(), value)
    return marking


def read_token_record(record: str) -> Token:
    """Read ``fence|place|deliveries|entry|kind|stream|attempt|extra|reads|live`` (lua/includes/runs.lua).

    Of a sweep's own place in the ledger (``extra``) the log knows nothing. ``entry`` is the due time while it is
    parked.
    """
    _, place, _, entry, kind, _, attempt, extra, _, live = record.split("|")
    return Token(
        kind=TokenKind(kind),
        attempt=int(attempt),
        live=live,
        extra="" if kind == TokenKind.SWEEP else extra,
        due=int(entry) if place == "t" else 0,
    )


def read_join_record(record: str) -> JoinRecord:
    """Read ``live,dead,failed,settled,told,slots`` (lua/includes/joins.lua)."""
    live, dead, failed, is_settled, told, slots = record.split(",")
    return JoinRecord(
        live=int(live),
        dead=int(dead),
        failed=int(failed),
        is_settled=is_settled == "1",
        told=told,
        slots=[int(slot) for slot in slots.split("+")] if slots else [],
    )


def _add_value(marking: Marking, field: str, value: bytes) -> None:
    """One context value (``plan.context_field``)."""
    if field == "in":
        marking.input = value
    elif field[0] == "l":
        marking.last[parse_token_key(field[1:])] = int(value)
    elif field != "out":
        kept = {"o": marking.outputs, "i": marking.inputs, "e": marking.errors, "s": marking.statuses}.get(field[0])
        if kept is None:
            raise Corrupt(f"the context has a field {field!r}")
        kept[parse_token_key(field[1:])] = value


def _set_phase(marking: Marking, value: bytes) -> None:
    marking.phase = RunPhase(value.decode())


def _set_reason(marking: Marking, value: bytes) -> None:
    marking.reason = value.decode()


def _set_error(marking: Marking, value: bytes) -> None:
    marking.error = value


def _set_seq(marking: Marking, value: bytes) -> None:
    marking.seq = int(value)


def _set_command(marking: Marking, value: bytes) -> None:
    marking.command = int(value)


_HEAD: dict[str, Callable[[Marking, bytes], None]] = {
    "st": _set_phase,
    "why": _set_reason,
    "err": _set_error,
    "seq": _set_seq,
    "cmd": _set_command,
}
"""The fields of the run hash that a marking has; the others are ``n`` and ``jn`` (checked), IR and times."""
