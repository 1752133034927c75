"""Restoring: a marking becomes the state of a run in Redis again. The inverse of ``live_marking``, whole, in one place.

Pure. What a marking has not is made anew: every token gets the first fence of the new epoch and an entry of its own, a
sweep begins at its beginning, the time that a token may wait in its queue begins again, and details of a heartbeat are
gone. ``MARKING``, ``TOKEN``, ``JOIN`` and ``MUTEX`` name every field that is known here; a test holds them against the
structs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from ..marking.joins import JoinRecord
from ..marking.map_plans import write_ends, write_record
from ..marking.marking import EXPIRED, FORCED, GOES_ON, OVERDUE, Marking, Place, RunPhase, Token, TokenKind
from ..marking.plan import SYSTEM_STREAM, Plan, context_field, value_field
from ..marking.purse import paid
from ..marking.scopes import CLOSING_NODE, START_NODE, Scope, token_key
from .calling import Word
from .live_marking import PurseRecord, RoomHead, RunHead

WRITES_MAX = 900
BYTES_MAX = 1_000_000
"""Of one call of ``restore_runs``; a run that has more is written in parts."""

TOKEN = frozenset("kind attempt live extra place due waits deliveries escalates".split())
JOIN = frozenset("live dead failed is_settled told slots".split())
MUTEX = frozenset("holder waiters".split())

ENGINE_READY = {
    TokenKind.SWEEP: "w|system:high|1|0||",
    TokenKind.WAKER: "u|system:high|1|0||",
    TokenKind.CLOSING: f"x|{SYSTEM_STREAM}|1||cp|",
    TokenKind.FILL: f"f|{SYSTEM_STREAM}|1|||",
    TokenKind.CLEAR: "z|system:high|1|||",
}
"""As the scripts write it (lua/includes/ending.lua, lua/includes/maps.lua, lua/apply_commands.lua)."""

At = tuple[int, Scope]
Fields = Iterable[tuple[str, Word]]


class PlacedToken(NamedTuple):
    """``place``: as in a token's record. ``due``: when its timer goes off, in ms since the epoch, or nothing; of one
    that waits for room its number in the row.
    """

    token: str
    place: str
    due: str
    deliveries: int
    ready: str


class OtherTimer(NamedTuple):
    """A timer that does not release a token: ``<run>|<name>|<behind>``, the fence where ``behind`` is empty."""

    name: str
    behind: str
    due: int


class RestoredRun(NamedTuple):
    """``head``: the field ``h``. ``is_done``: its counter is zero, which somebody must be told."""

    run_id: str
    head: str
    fields: list[tuple[str, Word]]
    tokens: list[PlacedToken]
    timers: list[OtherTimer]
    is_done: bool
    codes: str


def restore(
    run_id: str, plan: Plan, marking: Marking, *, codes: Iterable[str] = (), is_logged: bool = False
) -> RestoredRun:
    """Return what Redis must hold for the run to go on from its marking. codes: of events that follow its last one.

    is_logged: the log has all of it, where results of maps are read then.
    """
    fields: list[tuple[str, Word]] = []
    for name, give in MARKING.items():
        if give is not None and not (is_logged and name == "results"):
            fields += give(plan, marking)
    closing, room = marking.tokens.get((CLOSING_NODE, ())), marking.room
    head = RunHead(
        marking.phase,
        marking.counter,
        marking.seq,
        marking.unfinished,
        marking.retries,
        plan.hash,
        closing is not None and closing.place is Place.HELD,
        None if room is None else RoomHead(room.limit, len(room.inside), 1, len(room.waiting)),
        plan.is_sharing,
        marking.purse is not None,
    )
    is_alive = marking.phase not in (RunPhase.ENDED, RunPhase.HALTED)
    return RestoredRun(
        run_id,
        head.write(),
        fields,
        list(_placed(plan, marking)),
        list(_other_timers(plan, marking)),
        is_alive and not marking.counter,
        ";".join(codes),
    )


def halted(run_id: str, ir_hash: str, seq: int, codes: Iterable[str] = ()) -> RestoredRun:
    """Return a run of which nothing can be told but that it must not be started again. seq: of its last event."""
    head = RunHead(RunPhase.HALTED, 0, seq, 0, 0, ir_hash).write()
    return RestoredRun(run_id, head, [], [], [], False, ";".join(codes))


def _placed(plan: Plan, marking: Marking) -> Iterator[PlacedToken]:
    row = {} if marking.room is None else {at: str(number) for number, at in enumerate(marking.room.waiting, start=1)}
    if marking.purse is not None:
        row |= {at: str(number) for number, at in enumerate(marking.purse.waiting, start=1)}
    for at, token in marking.tokens.items():
        placed = place_token(plan, at, token)
        yield placed._replace(due=row[at]) if at in row else placed


def place_token(plan: Plan, at: At, token: Token) -> PlacedToken:
    """Return where a living token is, and what its record says."""
    place = "q" if token.place is Place.FLOOR else str(token.place)
    due = str(token.due) if token.due else ""
    return PlacedToken(token_key(*at), place, due, token.deliveries, token_ready(plan, at, token))


def token_ready(plan: Plan, at: At, token: Token) -> str:
    """Return ``kind|stream|attempt|extra|reads|live`` of a living token, as whoever put it there wrote it."""
    if token.kind is TokenKind.COLLECT:
        return f"g|system:high|1||n{token_key(plan.maps.region(at[0]).node, at[1])}|"
    if token.kind in ENGINE_READY:
        return ENGINE_READY[token.kind]
    if token.kind is not TokenKind.NORMAL:
        return f"{token.kind}|{SYSTEM_STREAM}|1|{token.extra}||"
    word = token.extra.rpartition("+")[2]
    ready = plan.parked_ready(
        *at, token.live, attempt=token.attempt, extra=token.extra, brings_value=brings_value(token, word)
    )
    if word in ENGINE_STREAMS:
        kind, _, rest = ready.split("|", 2)
        return f"{kind}|{ENGINE_STREAMS[word]}|{rest}"
    return ready


ENGINE_STREAMS = {FORCED: "system:high", OVERDUE: SYSTEM_STREAM}
"""Where any worker takes the tokens that an outsider or the time has brought to their end."""


def brings_value(token: Token, word: str) -> bool:
    """Whether its next worker is given the value of a release: also of one that brings none, because time was up."""
    is_released = word in (EXPIRED, FORCED) or (word[:1] == "s" and word[1:].isdigit())
    return token.place is Place.SIGNAL or is_released


def _other_timers(plan: Plan, marking: Marking) -> Iterator[OtherTimer]:
    """The end of the run, and of waiting for its start; whom a decision is passed on to."""
    if marking.phase in GOES_ON and plan.ir.timeout_ms is not None:
        yield OtherTimer("!timeout", plan.closes, marking.started_ms + plan.ir.timeout_ms)
    start = marking.tokens.get((START_NODE, ()))
    if start is not None and "@" in start.extra:
        yield OtherTimer("!expire", "0", int(start.extra.partition("@")[2]))
    for at, token in marking.tokens.items():
        if token.escalates:
            yield OtherTimer(f"!escalate/{token_key(*at)}", "", token.escalates)


def join_record(join: JoinRecord) -> str:
    """Return ``live,dead,failed,settled,told,slots`` (lua/includes/joins.lua)."""
    slots = "+".join(map(str, join.slots))
    return f"{join.live},{join.dead},{join.failed},{int(join.is_settled)},{join.told},{slots}"


def restore_calls(runs: Iterable[RestoredRun]) -> Iterator[list[Word]]:
    """Yield the words of one call of ``restore_runs`` after the other, but for the first two."""
    words: list[Word] = []
    writes = size = 0
    for run in runs:
        for part, its_writes, its_size in _parts(run):
            if words and (writes + its_writes > WRITES_MAX or size + its_size > BYTES_MAX):
                yield words
                words, writes, size = [], 0, 0
            words += part
            writes += its_writes
            size += its_size
    if words:
        yield words


def _parts(run: RestoredRun) -> Iterator[tuple[list[Word], int, int]]:
    """Yield (words, writes, bytes) of the run's parts; codes, and that its counter is zero, come with the last one."""
    fields: list[Word] = []
    tokens: list[Word] = []
    timers: list[Word] = [word for timer in run.timers for word in timer]
    writes, size = 2 + len(run.timers), 0
    for field, value in run.fields:
        length = len(value) if isinstance(value, str | bytes) else 0
        if writes >= WRITES_MAX or size + length > BYTES_MAX:
            yield _words(run, fields, tokens, timers), writes, size
            fields, timers, writes, size = [], [], 2, 0
        fields += (field, value)
        writes += 1
        size += length
    for token in run.tokens:
        if writes >= WRITES_MAX:
            yield _words(run, fields, tokens, timers), writes, size
            fields, tokens, timers, writes, size = [], [], [], 2, 0
        tokens += token
        writes += 2
        size += len(token.ready)
    yield _words(run, fields, tokens, timers, codes=run.codes, is_done=run.is_done), writes, size


def _words(
    run: RestoredRun,
    fields: list[Word],
    tokens: list[Word],
    timers: list[Word],
    *,
    codes: str = "",
    is_done: bool = False,
) -> list[Word]:
    head: list[Word] = [run.run_id, run.head, codes, "1" if is_done else ""]
    return [*head, len(fields), *fields, len(tokens), *tokens, len(timers), *timers]


def _values(kind: str, values: Mapping[At, bytes]) -> Fields:
    return [(context_field(kind, *at), value) for at, value in values.items()]


def _outputs(plan: Plan, marking: Marking) -> Fields:
    """Only those that something reads are kept in Redis."""
    return _values("o", {at: value for at, value in marking.outputs.items() if plan.is_read[at[0]]})


def _joins(_plan: Plan, marking: Marking) -> Fields:
    return [(f"j{token_key(*at)}", join_record(join)) for at, join in marking.joins.items()]


def _error(_plan: Plan, marking: Marking) -> Fields:
    return [] if marking.error is None else [("err", marking.error)]


def _waiting(_plan: Plan, marking: Marking) -> Fields:
    names = [(f"w:{name}", _list(waiting)) for name, waiting in marking.waiting.items()]
    signals = [(at, token) for at, token in marking.tokens.items() if token.place is Place.SIGNAL]
    return [*names, *((f"W{token_key(*at)}", _waits(token)) for at, token in signals)]


def _waits(token: Token) -> str:
    """The names, and when somebody else is told."""
    return " ".join((*token.waits, f"@{token.escalates}") if token.escalates else token.waits)


def _signals(_plan: Plan, marking: Marking) -> Fields:
    early: list[tuple[str, Word]] = []
    for name, kept in marking.signals.items():
        early.append((f"g:{name}", " ".join(str(number) for number, _ in kept)))
        early += [(f"G{number}", value) for number, value in kept]
    return early


def _mutexes(_plan: Plan, marking: Marking) -> Fields:
    slots: list[tuple[str, Word]] = []
    for name, mutex in marking.mutexes.items():
        slots.append((f"m:{name}", token_key(*mutex.holder)))
        if mutex.waiters:
            slots.append((f"M:{name}", _list(mutex.waiters)))
    return slots


def _row(_plan: Plan, marking: Marking) -> Fields:
    """Those that wait for room, by their numbers; who is inside is in the head."""
    waiting = () if marking.room is None else marking.room.waiting
    return [(f"y{number}", token_key(*at)) for number, at in enumerate(waiting, start=1)]


def _purse(_plan: Plan, marking: Marking) -> Fields:
    """What is spent and reserved, and the row of those that wait, by their numbers."""
    purse = marking.purse
    if purse is None:
        return []
    held = [each for each in (paid(token.extra) for token in marking.tokens.values()) if each is not None]
    record = PurseRecord(
        purse.tokens,
        purse.cost,
        purse.refuses,
        purse.spent_tokens,
        purse.spent_cost,
        len(held),
        sum(each.tokens for each in held),
        sum(each.cost for each in held),
        1,
        len(purse.waiting),
        purse.fund,
    )
    row = [(f"B{number}", token_key(*at)) for number, at in enumerate(purse.waiting, start=1)]
    return [("b", record.write()), *row]


def _completed(_plan: Plan, marking: Marking) -> Fields:
    """A stack: ``cp`` is its top, and ``c<token>`` what is below."""
    keys = [token_key(*at) for at in marking.completed]
    stack = [(f"c{key}", below) for key, below in zip(keys, ["", *keys], strict=False)]
    return [*stack, ("cp", keys[-1])] if keys else []


def _maps(plan: Plan, marking: Marking) -> Fields:
    fields: list[tuple[str, Word]] = []
    for at, record in marking.maps.items():
        fields.append((context_field("n", *at), write_record(record)))
        if not record.is_closed:
            fields.append((context_field("N", *at), plan.map_terms(*at)))
    return fields


def _list(places: Iterable[At]) -> str:
    return " ".join(token_key(*at) for at in places)


MARKING: Mapping[str, Callable[[Plan, Marking], Fields] | None] = {
    "phase": None,  # these four are in the head
    "seq": None,
    "retries": None,
    "tokens": None,
    "joins": _joins,
    "reason": lambda _, marking: [("why", marking.reason)] if marking.reason else [],
    "error": _error,
    "outputs": _outputs,
    "inputs": lambda _, marking: _values("i", marking.inputs),
    "statuses": lambda _, marking: _values("s", marking.statuses),
    "errors": lambda _, marking: _values("e", marking.errors),
    "last": lambda _, marking: [(context_field("l", *at), index) for at, index in marking.last.items()],
    "waiting": _waiting,
    "signals": _signals,
    "values": lambda _, marking: [(value_field(*at), value) for at, value in marking.values.items()],
    "mutexes": _mutexes,
    "room": _row,
    "purse": _purse,
    "completed": _completed,
    "marks": lambda _, marking: [(context_field("x", *at), "1") for at in marking.marks],
    "maps": _maps,
    "chunks": lambda _, marking: [(context_field("q", *at), write_ends(ends)) for at, ends in marking.chunks.items()],
    "results": lambda _, marking: _values("r", marking.results),
    "item_errors": lambda _, marking: _values("E", marking.item_errors),
    "input": lambda _, marking: [("in", marking.input)],
    "started_ms": lambda _, marking: [("at", marking.started_ms)],
    "command": lambda _, marking: [("cmd", marking.command)],
}
"""Every field of a marking, and what it becomes in the run's hash."""
