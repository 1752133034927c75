"""The live marking: a run's hash in Redis read as a ``Marking``. What the audit and the tests hold against ``fold``.

Reads only. Owners, fences and entry ids are left out, as in every marking; of outputs Redis keeps only those that
something reads (``Plan.is_read``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from .keys import PartitionKeys
from .marking import Corrupt, JoinRecord, Marking, RunPhase, Token, TokenKind
from .scopes import parse_token_key
from .scripts import Connection


async def read_marking(redis: Connection, keys: PartitionKeys, run_id: str) -> Marking | None:
    """Return the marking of a run, or None where Redis does not know it.

    Raises Corrupt for what no script writes.
    """
    state = await _read_hash(redis, keys.run(run_id))
    return marking_of(state) if state else None


async def _read_hash(redis: Connection, key: str) -> dict[bytes, bytes]:
    found: object = await redis.execute_command("HGETALL", key)
    if isinstance(found, dict):
        return cast("dict[bytes, bytes]", found)
    flat = cast("list[bytes]", found)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def marking_of(state: dict[bytes, bytes]) -> Marking:
    """Return the marking that the fields of a run's hash say. Raises Corrupt.

    The counter must be the number of living tokens, and the head's number of half-filled joins that of the records.
    """
    marking = Marking()
    half_filled = counter = 0
    for name, value in state.items():
        field = name.decode()
        try:
            if field == "h":
                head = RunHead.read(value.decode())
                marking.phase, marking.seq = head.phase, head.seq
                counter, half_filled = head.counter, head.half_filled
            elif field in _FIELDS:
                _FIELDS[field](marking, value)
            elif field not in _IGNORED:
                _add(marking, field[0], field[1:], value)
        except ValueError as error:
            raise Corrupt(f"the field {field!r} of the run says {value!r}") from error
    if counter != len(marking.tokens):
        raise Corrupt(f"the counter is {counter}, and {len(marking.tokens)} tokens live")
    if half_filled != len(marking.joins):
        raise Corrupt(f"{half_filled} half-filled joins are counted, and there are {len(marking.joins)}")
    return marking


class RunHead(NamedTuple):
    """The field ``h`` of a run (lua/includes/runs.lua)."""

    phase: RunPhase
    counter: int
    seq: int
    half_filled: int
    retries: int
    ir_hash: str

    @classmethod
    def read(cls, text: str) -> RunHead:
        """Raises ValueError."""
        phase, counter, seq, half_filled, retries, ir_hash = text.split("|")
        return cls(RunPhase(phase), int(counter), int(seq), int(half_filled), int(retries), ir_hash)


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


def _add(marking: Marking, kind: str, key: str, value: bytes) -> None:
    """One field that belongs to a token, a join or a value (``plan.context_field``)."""
    place = parse_token_key(key)
    kept = {"o": marking.outputs, "i": marking.inputs, "e": marking.errors, "s": marking.statuses}.get(kind)
    if kept is not None:
        kept[place] = value
    elif kind == "t":
        marking.tokens[place] = read_token_record(value.decode())
    elif kind == "j":
        marking.joins[place] = read_join_record(value.decode())
    elif kind == "l":
        marking.last[place] = int(value)
    else:
        raise Corrupt(f"the run has a field {kind + key!r}")


def _set_reason(marking: Marking, value: bytes) -> None:
    marking.reason = value.decode()


def _set_error(marking: Marking, value: bytes) -> None:
    marking.error = value


def _set_command(marking: Marking, value: bytes) -> None:
    marking.command = int(value)


def _set_input(marking: Marking, value: bytes) -> None:
    marking.input = value


_FIELDS: dict[str, Callable[[Marking, bytes], None]] = {
    "why": _set_reason,
    "err": _set_error,
    "cmd": _set_command,
    "in": _set_input,
}
_IGNORED = frozenset({"at", "end", "fin", "out"})
"""Times, and the end itself, which a marking has not."""
