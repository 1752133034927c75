"""What is always true of a run, whatever happens to it."""

from __future__ import annotations

from collections import Counter

from ..sdk.events import RecordedEvent
from ..sdk.marking.marking import HOLDS, PARKS, Marking, Place, RunPhase, TokenKind
from ..sdk.marking.plan import Plan
from ..sdk.marking.scopes import WAKER_NODE
from ..sdk.marking.slot_words import ASKS, slot_of
from .budget_row import answer

FIELDS = """phase seq command input reason error tokens joins last inputs statuses errors waiting signals values mutexes
    room purse completed marks retries""".split()
ENDS = frozenset(
    """step.succeeded step.skipped step.failed path.died gate.passed token.withdrawn token.dropped
    run.compensated""".split()
)
ONCE = ENDS | {"join.fired", "join.died", "compensation.started"}
TAKEN_AWAY = frozenset({"token.dropped", "token.withdrawn"})
JOINS = frozenset({"join.fired", "join.died"})


class Violation(AssertionError):
    """Something that is always true was not."""


class Invariants:
    """Follows one run. ``plan``: that it has now."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._seen: set[tuple[str, str, str]] = set()

    def add(self, event: RecordedEvent) -> None:
        """A token is consumed once, a join decides once, a step is undone once."""
        facts = event.facts
        if facts.type not in ONCE:
            return
        what = "join" if facts.type in JOINS else "undo" if facts.type == "compensation.started" else "token"
        key = what, facts.node, facts.scope
        if facts.type in TAKEN_AWAY and key in self._seen:
            key = "cursor", facts.node, facts.scope  # its step has settled; the fold says whether it was still there
        if key in self._seen:
            raise Violation(f"{facts.type} of {facts.node} {facts.scope}: a second end")
        self._seen.add(key)

    def check(self, live: Marking, folded: Marking) -> None:
        """The floor says what the log says; nobody holds what another holds."""
        for name in FIELDS:
            one, other = getattr(live, name), getattr(folded, name)
            if one != other:
                raise Violation(f"{name}: on the floor {one}, by the log {other}")
        read = {at: output for at, output in folded.outputs.items() if self.plan.is_read[at[0]]}
        if live.outputs != read:
            raise Violation(f"outputs: on the floor {live.outputs}, by the log {read}")
        holders = [
            self.plan.ir.nodes[at[0]].mutex
            for at, token in live.tokens.items()
            if at[0] >= 0 and HOLDS in token.extra.split("+")
        ]
        if len(holders) != len(set(holders)):
            raise Violation(f"two tokens hold one mutex: {holders}")
        self._check_room(live)
        self._check_slots(live)
        self._check_purse(live)

    def _check_purse(self, live: Marking) -> None:
        """No more is spent and reserved than may be, unless a call took more than it could; nobody waits in vain."""
        if live.purse is None or live.phase not in PARKS or not live.purse.waiting:
            return
        if answer(live, next(iter(live.purse.waiting))) is not None:
            raise Violation(f"who asks for a part of the budget is not answered: {live.purse}")

    def _check_slots(self, live: Marking) -> None:
        """No more hold a slot than there are, and nobody waits for one that is there."""
        asking = [token for token in live.tokens.values() if token.place is Place.SLOT]
        held = Counter(slot_of(token.extra) for token in live.tokens.values() if token.kind is TokenKind.NORMAL)
        most = max((node.concurrency.limit for node in self.plan.ir.nodes if node.concurrency is not None), default=0)
        if any(count > most for name, count in held.items() if name):
            raise Violation(f"of {most} slots are taken: {held}")
        is_waking = live.phase is RunPhase.PAUSED or (WAKER_NODE, ()) in live.tokens
        for token in asking if live.phase in PARKS and not is_waking else []:
            name, limit, _ = token.extra.rpartition("+")[2].removeprefix(ASKS).split(".")
            if held[name] < int(limit):
                raise Violation(f"a token waits for a slot of {name}, and {held[name]} of {limit} are taken")

    def _check_room(self, live: Marking) -> None:
        """No more is worked on than may be, and nobody waits for room that is there."""
        if live.room is None or live.phase not in PARKS:
            return
        busy, waiting, limit = len(live.room.inside), len(live.room.waiting), live.room.limit
        if busy > limit or (waiting and busy < limit):
            raise Violation(f"{busy} tokens of at most {limit} are worked on, and {waiting} wait")

    def end(self, marking: Marking, zeros: int) -> None:
        """The counter came to zero once, and nothing is left of what tokens leave behind."""
        if zeros != 1:
            raise Violation(f"the counter came to zero {zeros} times")
        if marking.phase is not RunPhase.ENDED or marking.tokens:
            raise Violation("the run has not ended")
        if marking.room is not None and (marking.room.inside or marking.room.waiting):
            raise Violation(f"room is taken in a run that has ended: {marking.room}")
        left = {name: getattr(marking, name) for name in ("waiting", "values", "completed")}
        if any(left.values()) and not (marking.reason == "" and left["completed"]):
            raise Violation(f"something is left: {left}")
