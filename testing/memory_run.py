"""One run in memory, as the scripts keep it in Redis: a marking, and the fences, places, entries and timers around it.

The twin of the hash ``run:<id>`` with its streams and timers (lua/KEYS.md). What changes the marking are the rules
themselves; here is only what a marking does not know. Deterministic: no clock but ``now_ms``, no randomness.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

from ..sdk.floor.live_marking import marking_of
from ..sdk.floor.restoring import RestoredRun, brings_value
from ..sdk.marking.marking import FORCED, OVERDUE, Marking, Place, Token, TokenKind
from ..sdk.marking.marking_values import read_value
from ..sdk.marking.plan import Plan, is_for_handler, value_field
from ..sdk.marking.purse import purse_of
from ..sdk.marking.room import room_of
from ..sdk.marking.scopes import CLOSING_NODE, Scope, parse_token_key, token_key
from ..sdk.marking.slot_words import slot_of
from .slot_table import SlotTable

At = tuple[int, Scope]

EPOCH_FENCES = 2**32
ASIDE, BACK = "p", "g"
"""Places of the scripts that a marking does not know: put aside by a pause, given back."""


class Entry(NamedTuple):
    """A wake-up for a token, with its fence at that time."""

    number: int
    at: At
    fence: int


class Logged(NamedTuple):
    """The events of one transition, as they stand in the outbox."""

    first_seq: int
    facts: int
    codes: str
    blob: bytes
    at_ms: int


class FloorMarking(Marking):
    """A marking that remembers which tokens came into being."""

    def __init__(self) -> None:
        super().__init__()
        self.born: list[At] = []

    def put(self, node: int, scope: Scope, token: Token) -> None:
        super().put(node, scope, token)
        self.born.append((node, scope))


@dataclass(kw_only=True)
class MemoryRun:
    """``queue``: entries that nobody has; ``pending``: delivered, and not yet acknowledged. ``zeros``: how often the
    counter came to zero. ``timers``: due times in ms by ``<token>|<fence>`` and as lua/KEYS.md says.
    """

    run_id: str
    plan: Plan
    now_ms: int = 1_000_000
    epoch: int = 1
    marking: FloorMarking = field(default_factory=FloorMarking)
    fences: dict[At, int] = field(default_factory=dict[At, int])
    places: dict[At, str] = field(default_factory=dict[At, str])
    entries: dict[At, int] = field(default_factory=dict[At, int])
    queue: dict[int, Entry] = field(default_factory=dict[int, Entry])
    pending: dict[int, Entry] = field(default_factory=dict[int, Entry])
    timers: dict[str, int] = field(default_factory=dict[str, int])
    outbox: list[Logged] = field(default_factory=list[Logged])
    slots: SlotTable = field(default_factory=SlotTable)
    zeros: int = 0
    last_entry: int = 0

    def __post_init__(self) -> None:
        self.marking.room = room_of(self.plan.ir)
        self.marking.purse = purse_of(self.plan.ir)

    @property
    def first_fence(self) -> int:
        return self.epoch * EPOCH_FENCES + 1

    def enqueue(self, at: At, fence: int) -> None:
        """A new entry for a token, or none while it waits for room; whatever else points to it is stale."""
        self.places.pop(at, None)
        self.fences[at] = fence
        if self.marking.tokens[at].place is Place.ROOM:
            self.entries.pop(at, None)
            return
        self.last_entry += 1
        self.entries[at] = self.last_entry
        self.queue[self.last_entry] = Entry(self.last_entry, at, fence)
        patience_ms = self._patience_ms(at)
        if patience_ms is not None:
            self.timers[f"!queue/{token_key(*at)}|{fence}"] = self.now_ms + patience_ms

    def _patience_ms(self, at: At) -> int | None:
        token = self.marking.tokens[at]
        word = token.extra.rpartition("+")[2]
        if token.kind is not TokenKind.NORMAL or word in (FORCED, OVERDUE):
            return None
        node = self.plan.ir.nodes[at[0]]
        is_waited_for = is_for_handler(node, token.extra, brings_value=brings_value(token, word))
        return node.queue_timeout_ms if is_waited_for else None

    def let_in(self) -> None:
        """At the end of a transition: entries for those for which there is room now."""
        for at in self.marking.let_in():
            self.enqueue(at, self.fences[at])

    def again(self, at: At) -> None:
        """The token is queued again, under a higher fence."""
        self.enqueue(at, self.fences[at] + 1)

    def park(self, at: At, due_ms: int, place: str = "") -> None:
        """``due_ms``: 0 without a timer. ``place``: BACK, or nothing where the marking knows."""
        self.fences[at] += 1
        self.entries.pop(at, None)
        self.places.pop(at, None)
        if place:
            self.places[at] = place
        if due_ms:
            self.timers[f"{token_key(*at)}|{self.fences[at]}"] = due_ms

    def welcome(self, due_ms: int = 0) -> None:
        """Queue or park the tokens that came into being."""
        for at in self.marking.born:
            token = self.marking.tokens.get(at)
            if token is None:
                continue
            if token.place is Place.TIMER:
                token.due = due_ms
                self.fences[at] = self.first_fence
                self.timers[f"{token_key(*at)}|{self.fences[at]}"] = due_ms
            elif token.place is Place.HELD:
                self.fences[at] = self.first_fence
            else:
                self.enqueue(at, self.first_fence)
        self.marking.born.clear()

    @classmethod
    def restored(cls, run: RestoredRun, plan: Plan, before: MemoryRun) -> MemoryRun:
        """Return the run as a recovery writes it (lua/restore_runs.lua), in the epoch after that of ``before``.

        What it is comes by the way of its hash, so that what the engine writes there and reads there are one.
        """
        made = cls(run_id=run.run_id, plan=plan, now_ms=before.now_ms, epoch=before.epoch + 1)
        made.last_entry, made.zeros = before.last_entry, int(run.is_done)
        fence = made.first_fence
        state = {"h": run.head, **dict(run.fields)}
        for token in run.tokens:
            state[f"t{token.token}"] = f"{fence}|{token.place}|{token.deliveries}|{token.due}|{token.ready}"
        found = marking_of(
            {name.encode(): word if isinstance(word, bytes) else str(word).encode() for name, word in state.items()}
        )
        for name in (each.name for each in fields(Marking)):
            setattr(made.marking, name, getattr(found, name))
        for token in run.tokens:
            at = parse_token_key(token.token)
            made.restore_share(at)
            if token.place == "q":
                made.enqueue(at, fence)
            else:
                made.fences[at] = fence
                if token.due and token.place not in (Place.ROOM, Place.BUDGET):
                    made.timers[f"{token.token}|{fence}"] = int(token.due)
        made.slots.touched.clear()
        for timer in run.timers:
            made.timers[f"{timer.name}|{timer.behind or fence}"] = timer.due
        return made

    def restore_share(self, at: At) -> None:
        token = self.marking.tokens[at]
        if token.kind is TokenKind.NORMAL and (name := slot_of(token.extra)):
            self.slots.hold(at, name)
        if token.place is Place.SLOT:
            self.slots.ask(at, token, self.priority_of(at))

    def priority_of(self, at: At) -> str:
        return self.plan.ir.nodes[at[0]].stream.partition(":")[2]

    def redirect(self, codes: list[str]) -> None:
        """Queue again the tokens that codes say were released, granted, withdrawn or forced."""
        for code in codes:
            if code[0] in "LGVJ":
                node, scope = code[1:].split(":")[:2]
                self.again(parse_token_key(f"{node}:{scope}" if scope else node))

    def take(self, at: At) -> None:
        """The token is gone."""
        del self.marking.tokens[at]
        self.marking.leave(at)
        for known in (self.fences, self.places, self.entries):
            known.pop(at, None)

    def place_of(self, at: At) -> str:
        token = self.marking.tokens[at]
        return token.place.value or self.places.get(at, "q")

    def record(self, at: At) -> bytes:
        """The token's record, as in Redis but for its stream and its reads."""
        token = self.marking.tokens[at]
        entry = str(token.due) if token.due else str(self.entries.get(at, 0) or "")
        head = f"{self.fences[at]}|{self.place_of(at)}|{token.deliveries}|{entry}"
        return f"{head}|{token.kind}||{token.attempt}|{token.extra}||{token.live}".encode()

    def values(self, at: At) -> list[bytes | None]:
        """The context values that come with a token: what its node reads, the loop's, and what its release brought."""
        number, scope = at
        token = self.marking.tokens[at]
        if number == CLOSING_NODE:
            return [token_key(*self.marking.completed[-1]).encode() if self.marking.completed else None]
        if token.kind is TokenKind.COLLECT:
            return [self.value(f"n{token_key(self.plan.maps.region(number).node, scope)}")]
        if number < 0 or token.kind is not TokenKind.NORMAL:
            return []
        fields = [*self.plan.reads(number, scope, token.live), value_field(number, scope)]
        return [self.value(field) for field in fields]

    def value(self, field: str) -> bytes | None:
        if field.startswith("t"):
            place = parse_token_key(field[1:])
            return self.record(place) if place in self.marking.tokens else None
        return read_value(self.marking, field)
