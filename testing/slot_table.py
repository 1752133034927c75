"""The slots of concurrency keys and the rates of one run in memory: the twin of lua/includes/shares.lua."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..sdk.marking.marking import PARKS, Marking, Place, RunPhase, Token
from ..sdk.marking.scopes import Scope
from ..sdk.marking.slot_words import ASKS, slot_of

At = tuple[int, Scope]
Row = tuple[int, int, int]
"""A place in a row: by priority, turn and order."""
RANKS = {"high": 0, "normal": 1, "low": 2}


@dataclass
class Turns:
    """Of one name. ``last``: the turn that came last; ``theirs``: the last turn that each waits for."""

    last: int = 0
    count: int = 0
    theirs: dict[str, int] = field(default_factory=dict[str, int])


@dataclass
class SlotTable:
    """``holders`` and ``waiting`` by the name of the key; those that wait with their place in the row. ``aside``: those
    that have left it because the run is paused.
    """

    holders: dict[str, set[At]] = field(default_factory=dict[str, set[At]])
    waiting: dict[str, dict[At, tuple[int, int, int]]] = field(
        default_factory=dict[str, dict[At, tuple[int, int, int]]]
    )
    turns: dict[str, Turns] = field(default_factory=dict[str, Turns])
    full_at: dict[str, float] = field(default_factory=dict[str, float])
    """Per rate, when its bucket will be full again, in ms."""
    aside: dict[At, tuple[str, Row]] = field(default_factory=dict[At, tuple[str, Row]])
    touched: set[str] = field(default_factory=set[str])
    """Names that the call which is under way has something to do with."""

    def ask(self, at: At, token: Token, priority: str) -> None:
        name, _, fair = asked(token)
        self.touched.add(name)
        turns = self.turns.setdefault(name, Turns())
        turn = turns.last
        if fair:
            turn = turns.theirs[fair] = max(turn, turns.theirs.get(fair, 0)) + 1
        turns.count += 1
        self.waiting.setdefault(name, {})[at] = RANKS[priority], turn, turns.count

    def hold(self, at: At, name: str) -> None:
        self.holders.setdefault(name, set()).add(at)

    def come_back(self, marking: Marking) -> None:
        """The run goes on: who has left the row is in it again, and whose turn it is is let in."""
        for at, token in marking.tokens.items():
            if token.place is Place.SLOT:
                name = asked(token)[0]
                self.touched.add(name)
                if at in self.aside:
                    _, self.waiting.setdefault(name, {})[at] = self.aside.pop(at)

    def settle(self, marking: Marking) -> list[At]:
        """At the end of a call: forget what tokens hold or wait for no more; return who has a slot now, in order."""
        self._forget_gone(marking)
        granted: list[At] = []
        for name, row in sorted(self.waiting.items()):
            if marking.phase not in PARKS:  # a run that ends gets none
                row.clear()
            while row and name in self.touched:
                at = min(row, key=row.__getitem__)
                if len(self.holders.setdefault(name, set())) >= int(asked(marking.tokens[at])[1]):
                    break
                if marking.phase is RunPhase.PAUSED:
                    self.aside[at] = name, row.pop(at)
                    continue
                self.turns[name].last = row.pop(at)[1]
                self.hold(at, name)
                granted.append(at)
        self.waiting = {name: row for name, row in self.waiting.items() if row}
        for name in self.turns.keys() - self.waiting.keys() - {name for name, _ in self.aside.values()}:
            del self.turns[name]
        self.touched.clear()
        return granted

    def _forget_gone(self, marking: Marking) -> None:
        for name, held in self.holders.items():
            gone = [at for at in held if at not in marking.tokens or slot_of(marking.tokens[at].extra) != name]
            held.difference_update(gone)
            self.touched.update([name] if gone else [])
        for name, row in self.waiting.items():
            for at in [at for at in row if not _waits(marking, at)]:
                del row[at]
                self.touched.add(name)
        for at in [at for at in self.aside if not _waits(marking, at)]:
            self.touched.add(self.aside.pop(at)[0])

    def pace(self, name: str, limit: int, per_ms: int, now_ms: int) -> int:
        """Take a token from a bucket; return when it may be used."""
        full = max(self.full_at.get(name, 0), now_ms)
        interval = per_ms / limit
        self.full_at[name] = full + interval
        return max(now_ms, math.ceil(full - (limit - 1) * interval))


def _waits(marking: Marking, at: At) -> bool:
    return at in marking.tokens and marking.tokens[at].place is Place.SLOT


def asked(token: Token) -> tuple[str, str, str]:
    """What a token waits for: the name of a key, its limit, and whose turn it takes."""
    name, limit, fair = token.extra.rpartition("+")[2].removeprefix(ASKS).split(".")
    return name, limit, fair
