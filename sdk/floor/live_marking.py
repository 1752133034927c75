"""The live marking: a run's hash in Redis read as a ``Marking``. What the audit and the tests hold against ``fold``.

Reads only. Owners, fences and entry ids are left out, as in every marking; of outputs Redis keeps only those that
something reads (``Plan.is_read``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

from ..corrupt import Corrupt
from ..keys import PartitionKeys
from ..marking.joins import JoinRecord
from ..marking.map_plans import read_ends, read_record
from ..marking.marking import Marking, Mutex, Place, RunPhase, Token, TokenKind
from ..marking.purse import Fund, Purse, paid
from ..marking.room import Room
from ..marking.scopes import Scope, parse_token_key, token_key
from .calling import Connection

At = tuple[int, Scope]


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

    The counter must be the number of living tokens, and what the head says of unfinished joins and maps that of the
    records.
    """
    marking = Marking()
    rest: dict[str, bytes] = {}
    unfinished = counter = 0
    room: RoomHead | None = None
    row: dict[int, At] = {}
    purse: PurseRecord | None = None
    asking: dict[int, At] = {}
    for name, value in state.items():
        field = name.decode()
        try:
            if field == "h":
                head = RunHead.read(value.decode())
                marking.phase, marking.seq, marking.retries = head.phase, head.seq, head.retries
                counter, unfinished, room = head.counter, head.unfinished, head.room
            elif field[0] == "y":
                row[int(field[1:])] = parse_token_key(value.decode())
            elif field == "b":
                purse = PurseRecord.read(value.decode())
            elif field[0] == "B":
                asking[int(field[1:])] = parse_token_key(value.decode())
            elif field in _FIELDS:
                _FIELDS[field](marking, value)
            elif field not in _IGNORED and not _add(marking, field[0], field[1:], value):
                rest[field] = value
        except ValueError as error:
            raise Corrupt(f"the field {field!r} of the run says {value!r}") from error
    read_waits(marking, rest)
    if room is not None:
        _read_room(marking, room, row, state)
    if purse is not None:
        _read_purse(marking, purse, asking, state)
    if counter != len(marking.tokens):
        raise Corrupt(f"the counter is {counter}, and {len(marking.tokens)} tokens live")
    if unfinished != marking.unfinished:
        raise Corrupt(f"{unfinished} half-filled joins and open maps are counted, and there are {marking.unfinished}")
    return marking


class RoomHead(NamedTuple):
    """``busy``: tokens inside. ``first``, ``last``: the numbers of the row of those that wait to be let in."""

    limit: int
    busy: int
    first: int
    last: int


class RunHead(NamedTuple):
    """The field ``h`` of a run (lua/includes/runs.lua). ``closes``: its closing token is parked. ``unfinished``: see
    ``Marking``. ``is_sharing``: steps of it may hold slots of concurrency keys. ``has_purse``: it has a budget.
    """

    phase: RunPhase
    counter: int
    seq: int
    unfinished: int
    retries: int
    ir_hash: str
    closes: bool = False
    room: RoomHead | None = None
    is_sharing: bool = False
    has_purse: bool = False

    @classmethod
    def read(cls, text: str) -> RunHead:
        """Raises ValueError."""
        phase, counter, seq, unfinished, retries, ir_hash = text.split("|")
        number, is_bounded, room = retries.partition("*")
        return cls(
            RunPhase(phase),
            int(counter),
            int(seq),
            int(unfinished),
            int(number.rstrip("+!$")),
            ir_hash,
            "+" in number,
            RoomHead(*map(int, room.split(","))) if is_bounded else None,
            "!" in number,
            "$" in number,
        )

    def write(self) -> str:
        room = "" if self.room is None else f"*{','.join(map(str, self.room))}"
        retries = f"{self.retries}{'+' if self.closes else ''}{self._marks()}{room}"
        return f"{self.phase}|{self.counter}|{self.seq}|{self.unfinished}|{retries}|{self.ir_hash}"

    def _marks(self) -> str:
        return f"{'!' if self.is_sharing else ''}{'$' if self.has_purse else ''}"


class PurseRecord(NamedTuple):
    """The field ``b`` of a run (lua/includes/runs.lua). ``held``: how many tokens have reservations, and of how much;
    ``first``, ``last``: numbers of the row.
    """

    tokens: int | None
    cost: int | None
    refuses: bool
    spent_tokens: int
    spent_cost: int
    held: int = 0
    held_tokens: int = 0
    held_cost: int = 0
    first: int = 1
    last: int = 0
    fund: Fund | None = None

    @classmethod
    def read(cls, text: str) -> PurseRecord:
        """Raises ValueError."""
        own, _, shared = text.partition(";")
        tokens, cost, policy, *counts = own.split(",")
        fund = shared.split(",") if shared else []
        spent_tokens, spent_cost, held, held_tokens, held_cost, first, last = map(int, counts)
        return cls(
            tokens=_limit(tokens),
            cost=_limit(cost),
            refuses=policy == "f",
            spent_tokens=spent_tokens,
            spent_cost=spent_cost,
            held=held,
            held_tokens=held_tokens,
            held_cost=held_cost,
            first=first,
            last=last,
            fund=Fund(fund[0], _limit(fund[1]), _limit(fund[2]), fund[3] == "f") if fund else None,
        )

    def write(self) -> str:
        limits, policy = map(_numeral, self[:2]), "f" if self.refuses else "p"
        own = ",".join((*limits, policy, *map(str, self[3:10])))
        if self.fund is None:
            return own
        name, tokens, cost, refuses = self.fund
        return f"{own};{name},{_numeral(tokens)},{_numeral(cost)},{'f' if refuses else 'p'}"


def _limit(numeral: str) -> int | None:
    return int(numeral) if numeral else None


def _numeral(limit: int | None) -> str:
    return "" if limit is None else str(limit)


def read_token_record(record: str) -> Token:
    """Read ``fence|place|deliveries|entry|kind|stream|attempt|extra|reads|live`` (lua/includes/runs.lua).

    Of the own place in the ledger of a sweep (``extra``) the log knows nothing. ``entry`` is the due time where a timer
    is set for it. What it waits for stands elsewhere (``read_waits``).
    """
    _, place, deliveries, entry, kind, _, attempt, extra, _, live = record.split("|")
    is_parked = place in tuple(Place)
    return Token(
        kind=TokenKind(kind),
        attempt=int(attempt),
        live=live,
        extra="" if kind in (TokenKind.SWEEP, TokenKind.WAKER, TokenKind.CLEAR) else extra,
        place=Place(place) if is_parked else Place.FLOOR,
        due=int(entry) if is_parked and entry and place not in (Place.ROOM, Place.BUDGET, Place.SLOT) else 0,
        deliveries=int(deliveries),
    )


def read_waits(marking: Marking, fields: dict[str, bytes]) -> None:
    """Read what tokens wait for, what came early, who holds what, and what is to be undone (lua/KEYS.md)."""
    for field, value in fields.items():
        if field[0] == "W" and (token := marking.tokens.get(parse_token_key(field[1:]))) is not None:
            words = value.decode().split()
            if words and words[-1].startswith("@"):
                token.escalates = int(words.pop()[1:])
            token.waits = tuple(words)
    for field, value in fields.items():
        kind, name = field[:2], field[2:]
        if kind == "w:":
            _read_waiting(marking, name, value.decode())
        elif kind == "m:":
            _read_mutex(marking, name, value.decode(), fields.get(f"M:{name}", b"").decode())
        elif kind == "g:":
            marking.signals[name] = [(int(number), fields[f"G{number}"]) for number in value.decode().split()]
    top = fields.get("cp", b"").decode()
    while top:
        marking.completed.insert(0, parse_token_key(top))
        top = fields[f"c{top}"].decode()


def _read_room(marking: Marking, head: RoomHead, row: dict[int, At], state: dict[bytes, bytes]) -> None:
    """Who is inside is told by the tokens, who waits by their records too: some in the row may have gone since."""
    room = marking.room = Room(head.limit)
    for number, at in sorted(row.items()):
        record = state.get(f"t{token_key(*at)}".encode(), b"").decode().split("|")
        if record[1:2] == [Place.ROOM] and record[3] == str(number) and head.first <= number <= head.last:
            room.waiting[at] = None
    for at, token in marking.tokens.items():
        if token.place is Place.FLOOR and token.kind is TokenKind.NORMAL:
            room.inside.add(at)
        elif token.place is Place.ROOM and at not in room.waiting:
            raise Corrupt(f"the token {token_key(*at)} waits in no row")
    if head.busy != len(room.inside):
        raise Corrupt(f"{head.busy} tokens are said to be inside, and there are {len(room.inside)}")


def _read_purse(marking: Marking, record: PurseRecord, asking: dict[int, At], state: dict[bytes, bytes]) -> None:
    """Who waits is told by the tokens too; what is reserved by these alone, and counted beside them."""
    purse = marking.purse = Purse(*record[:5], fund=record.fund)
    for number, at in sorted(asking.items()):
        words = state.get(f"t{token_key(*at)}".encode(), b"").decode().split("|")
        if words[1:2] == [Place.BUDGET] and words[3] == str(number) and record.first <= number <= record.last:
            purse.waiting[at] = None
    for at, token in marking.tokens.items():
        if token.place is Place.BUDGET and at not in purse.waiting:
            raise Corrupt(f"the token {token_key(*at)} waits in no row")
    held = [each for each in (paid(token.extra) for token in marking.tokens.values()) if each is not None]
    sums = (len(held), sum(each.tokens for each in held), sum(each.cost for each in held))
    if sums != (record.held, record.held_tokens, record.held_cost):
        raise Corrupt(f"reservations are counted as {record[5:8]}, and they are {sums}")


def _read_mutex(marking: Marking, name: str, holder: str, waiters: str) -> None:
    asked = [parse_token_key(each) for each in waiters.split()]
    living = [at for at in asked if at in marking.tokens and marking.tokens[at].place is Place.MUTEX]
    if parse_token_key(holder) in marking.tokens:  # one that a drain has taken away holds nothing
        marking.mutexes[name] = Mutex(parse_token_key(holder), living)
    for at in living:
        marking.tokens[at].waits = (name,)


def _read_waiting(marking: Marking, name: str, text: str) -> None:
    """Tokens that went leave their places in the list of a name behind."""
    living: list[tuple[int, Scope]] = []
    for at in map(parse_token_key, text.split()):
        token = marking.tokens.get(at)
        if token is not None and token.place is Place.SIGNAL and name in token.waits:
            living.append(at)
    if living:
        marking.waiting[name] = living


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


def _add(marking: Marking, kind: str, key: str, value: bytes) -> bool:
    """One field that belongs to a token, a join or a value (``plan.context_field``). False: it is none of these."""
    if kind not in _OF_PLACES:
        if kind not in _OF_WAITS:
            raise Corrupt(f"the run has a field {kind + key!r}")
        return False
    place = parse_token_key(key)
    kept = {
        "o": marking.outputs,
        "i": marking.inputs,
        "e": marking.errors,
        "s": marking.statuses,
        "v": marking.values,
        "r": marking.results,
        "E": marking.item_errors,
    }
    if kind in kept:
        kept[kind][place] = value
    elif kind == "n":
        marking.maps[place] = read_record(value.decode())
    elif kind == "q":
        marking.chunks[place] = read_ends(value.decode())
    elif kind == "t":
        marking.tokens[place] = read_token_record(value.decode())
    elif kind == "j":
        marking.joins[place] = read_join_record(value.decode())
    elif kind == "x":
        marking.marks.add(place)
    elif kind == "l":
        marking.last[place] = int(value)
    return True


_OF_PLACES = frozenset("oiesvtjxldrEnqN")
"""``d``: details of a heartbeat, which only the next attempt sees; ``N``: what the IR says of a map."""
_OF_WAITS = frozenset("wWmMgGc")


def _set_reason(marking: Marking, value: bytes) -> None:
    marking.reason = value.decode()


def _set_error(marking: Marking, value: bytes) -> None:
    marking.error = value


def _set_command(marking: Marking, value: bytes) -> None:
    marking.command = int(value)


def _set_input(marking: Marking, value: bytes) -> None:
    marking.input = value


def _set_start(marking: Marking, value: bytes) -> None:
    marking.started_ms = int(value)


_FIELDS: dict[str, Callable[[Marking, bytes], None]] = {
    "at": _set_start,
    "why": _set_reason,
    "err": _set_error,
    "cmd": _set_command,
    "in": _set_input,
}
_IGNORED = frozenset({"end", "fin", "out", "T!timeout", "T!expire"})
"""The end itself, which a marking has not; and timers that follow from the IR and the start."""
