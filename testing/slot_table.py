"""The slots of concurrency keys and the rates of one run in memory: the twin of lua/includes/shares.lua."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ..sdk.marking.marking import PARKS, Marking, Place, Token
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
    """``holders`` and ``waiting`` by the name of the key; those that wait with their place in the row."""

    holders: dict[str, set[At]] = field(default_factory=dict[str, set[At]])
    waiting: dict[str, dict[At, tuple[int, int, int]]] = field(
        default_factory=dict[str, dict[At, tuple[int, int, int]]]
    )
    turns: dict[str, Turns] = field(default_factory=dict[str, Turns])
    full_at: dict[str, float] = field(default_factory=dict[str, float])
    """Per rate, when its bucket will be full again, in ms."""

    def ask(self, at: At, token: Token, priority: str) -> None:
        name, _, fair = asked(token)
        turns = self.turns.setdefault(name, Turns())
        turn = turns.last
        if fair:
            turn = turns.theirs[fair] = max(turn, turns.theirs.get(fair, 0)) + 1
        turns.count += 1
        self.waiting.setdefault(name, {})[at] = RANKS[priority], turn, turns.count

    def hold(self, at: At, name: str) -> None:
        self.holders.setdefault(name, set()).add(at)

    def settle(self, marking: Marking) -> list[At]:
        """At the end of a call: forget what tokens hold or wait for no more; return who has a slot now, in order."""
        for name, held in self.holders.items():
            for at in [at for at in held if at not in marking.tokens or slot_of(marking.tokens[at].extra) != name]:
                held.discard(at)
        granted: list[At] = []
        for name, row in sorted(self.waiting.items()):
            for at in [at for at in row if at not in marking.tokens or marking.tokens[at].place is not Place.SLOT]:
                del row[at]
            if marking.phase not in PARKS:  # a run that ends gets none
                row.clear()
            while row:
                at = min(row, key=row.__getitem__)
                if len(self.holders.setdefault(name, set())) >= int(asked(marking.tokens[at])[1]):
                    break
                self.turns[name].last = row.pop(at)[1]
                self.hold(at, name)
                granted.append(at)
            if not row:
                self.turns.pop(name, None)
        self.waiting = {name: row for name, row in self.waiting.items() if row}
        return granted

    def pace(self, name: str, limit: int, per_ms: int, now_ms: int) -> int:
        """Take a token from a bucket; return when it may be used."""
        full = max(self.full_at.get(name, 0), now_ms)
        interval = per_ms / limit
        self.full_at[name] = full + interval
        return max(now_ms, math.ceil(full - (limit - 1) * interval))


def asked(token: Token) -> tuple[str, str, str]:
    """What a token waits for: the name of a key, its limit, and whose turn it takes."""
    name, limit, fair = token.extra.rpartition("+")[2].removeprefix(ASKS).split(".")
    return name, limit, fair
