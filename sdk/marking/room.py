"""Room: in a run that is bounded, who is worked on and who waits to be let in. Pure; the twin of lua/includes/runs.lua.

Only tokens of steps take room: queued, in somebody's hands, given back or put aside by a pause. Whoever comes to the
floor is put at the end of the row, and the end of the transition lets in as many as there is room for. Nothing of it is
logged, because all of it follows from what is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ...compiler.ir import Ir
from .scopes import Scope

At = tuple[int, Scope]


@dataclass(slots=True, eq=False)
class Room:
    """``limit``: how many tokens at once. ``waiting``: in the order in which they are let in; a set in order."""

    limit: int
    inside: set[At] = field(default_factory=lambda: set())
    waiting: dict[At, None] = field(default_factory=lambda: {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Room):
            return NotImplemented
        return (self.limit, self.inside, [*self.waiting]) == (other.limit, other.inside, [*other.waiting])

    __hash__ = None  # type: ignore[assignment]  # it changes

    def leave(self, at: At) -> None:
        self.inside.discard(at)
        self.waiting.pop(at, None)

    def let_in(self) -> list[At]:
        """Return whose turn it is now, in order; they are inside."""
        found: list[At] = []
        while self.waiting and len(self.inside) < self.limit:
            at = next(iter(self.waiting))
            del self.waiting[at]
            self.inside.add(at)
            found.append(at)
        return found

    def open(self) -> list[At]:
        """Let everybody in, because nothing is worked on any more; return who waited."""
        found = [*self.waiting]
        self.inside.update(found)
        self.waiting.clear()
        return found


def room_of(ir: Ir) -> Room | None:
    """The empty room of a run; None where it may work on any number of tokens."""
    return None if ir.max_parallel is None else Room(ir.max_parallel)
