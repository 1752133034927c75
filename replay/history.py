"""The history of a run, folded event by event, with the context values as they were at any of its moments.

A token read its context when it was delivered, between its emission and its settling. The log does not say when, so a
value that came into being in between may or may not have been seen: ``moments`` gives every state that it can have met.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import NamedTuple

from ..sdk.events import Facts, RecordedEvent
from ..sdk.fold.fold import Folder
from ..sdk.marking.marking import Marking, Token
from ..sdk.marking.plan import Plan, context_field
from ..sdk.marking.purse import purse_of
from ..sdk.marking.scopes import Scope, parse_token_key
from .steps import StepKey, StepState, StepStates
from .sweeping import Reach

Place = tuple[int, Scope]
SWEEP_MIN = 10_000
"""Values that are kept before those are looked for that nobody can read any more."""
SWEEP_GROWTH = 2
"""That is done again when there are so many times as many as it left."""


class Value(NamedTuple):
    """A context value. ``seq``: of the event that wrote it. ``content``: None where its payload was emptied."""

    seq: int
    content: bytes | None


class Emptied(Exception):
    """A payload that is needed is not stored any more: retention or privacy removed it."""


class TracedMarking(Marking):
    """A marking that knows since which event each token lives."""

    def __init__(self) -> None:
        super().__init__()
        self.births: dict[Place, int] = {}

    def put(self, node: int, scope: Scope, token: Token) -> None:
        super().put(node, scope, token)
        self.births[node, scope] = self.seq + 1

    def take(self, node: int, scope: Scope) -> Token:
        self.births.pop((node, scope), None)
        return super().take(node, scope)


def _is_output(event: RecordedEvent, known: Value | None) -> bool:
    """Whether an event says what a step has given. A map that waits again in a restarted run does not repeat it."""
    facts = event.facts
    match facts.type:
        case "step.succeeded":
            return True
        case "step.reused":
            return facts.data.get("status") == "SUCCEEDED"
        case "value.restored":
            return bool(facts.data.get("output"))
        case _:
            return facts.reason == "more" and facts.type == "step.waiting" and (event.payload is not None or not known)


def _is_reached(reach: Reach, name: str) -> bool:
    """Whether a context value can still be read: the input, or ``o5:2.7``."""
    if name == "in":
        return True
    at = parse_token_key(name[1:])
    return reach.has_last(*at) if name[0] == "l" else reach.has(*at)


class History:
    """One run, as far as it has been read. Memory follows what is still to be read, not the number of events.

    on_final: told of each execution that has come to its end, which is then no more among ``steps``.
    """

    def __init__(self, plan: Plan, on_final: Callable[[StepKey, StepState], None] | None = None) -> None:
        self.plan = plan
        self.steps = StepStates(on_final)
        self._marking = TracedMarking()
        self._irs = {str(plan.hash): plan.ir}
        self._folder = Folder(plan.ir, plan.numbers, self._irs)
        self._marking.purse = purse_of(plan.ir)
        self._folder.marking = self._marking
        self._values: dict[str, Value] = {}
        self._lasts = 0
        self._sweep_at = SWEEP_MIN
        self._is_emptied = False

    @property
    def marking(self) -> Marking:
        return self._marking

    @property
    def kept(self) -> int:
        """How many values are in memory."""
        return len(self._values) + len(self._marking.outputs)

    @property
    def status(self) -> str:
        """Of the run: PENDING, RUNNING, or how it ended."""
        return self._folder.status

    def place(self, facts: Facts) -> Place | None:
        """Return (node, scope) of an event about a node, else None."""
        number = self.plan.numbers.get(facts.node)
        if number is None:
            return None
        try:
            return number, tuple(map(int, facts.scope.split("."))) if facts.scope else ()
        except ValueError:
            return None

    def move(self, plan: Plan, event: RecordedEvent) -> None:
        """Apply the event by which the run goes on with another plan. Raises Corrupt."""
        self._irs[plan.hash] = plan.ir
        self.add(event)
        self.plan = plan

    def add(self, event: RecordedEvent) -> None:
        """Apply one event. Raises Corrupt."""
        self._folder.add(event)
        self.steps.add(event)
        self._keep(event)
        if len(self._marking.last) > self._lasts:
            self._keep_lasts(event.seq)
        if self.kept >= self._sweep_at:
            self._sweep()

    def _sweep(self) -> None:
        """Forget what nobody can read any more. Cost: what is kept, and so that of the events since the last time."""
        marking, reach = self._marking, Reach(self.plan.ir, self._marking)
        for kept in (marking.outputs, marking.inputs, marking.statuses, marking.errors):
            for place in [place for place in kept if not reach.has(*place)]:
                del kept[place]
        for at in [at for at in marking.last if not reach.has_last(*at)]:
            del marking.last[at]
        self._lasts = len(marking.last)
        self._values = {name: value for name, value in self._values.items() if _is_reached(reach, name)}
        self._sweep_at = max(SWEEP_MIN, SWEEP_GROWTH * self.kept)

    def _keep(self, event: RecordedEvent) -> None:
        """The values that a transition puts into the run's context (see ``runner.settling``)."""
        kind = event.facts.type
        has_ended = kind == "value.restored" and bool(event.facts.data.get("ended"))
        is_named = kind == "command.applied" and bool(event.facts.data.get("name"))
        if (is_named or (kind == "value.restored" and not has_ended)) and event.payload is None:
            self._is_emptied = True
        if kind == "run.started":
            self._values["in"] = Value(event.seq, event.payload)
        place = self.place(event.facts)
        if place is None:
            return
        if _is_output(event, self._values.get(context_field("o", *place))):
            self._values[context_field("o", *place)] = Value(event.seq, event.payload)
        elif kind == "step.input_kept":
            self._values[context_field("i", *place)] = Value(event.seq, event.payload)
        elif (has_ended or kind in ("step.failed", "step.reused")) and place in self._marking.errors:
            self._values[context_field("e", *place)] = Value(event.seq, self._marking.errors[place])
        if has_ended or kind in ("step.succeeded", "step.failed", "step.skipped", "step.reused"):
            status = self._marking.statuses.get(place)
            if status is not None:
                self._values[context_field("s", *place)] = Value(event.seq, status)

    def _keep_lasts(self, seq: int) -> None:
        """The last iterations of the loops that ended with this event: each is written once."""
        last = self._marking.last
        for region, scope in islice(reversed(last), len(last) - self._lasts):
            self._values[context_field("l", region, scope)] = Value(seq, str(last[region, scope]).encode())
        self._lasts = len(last)

    def released(self, place: Place) -> bytes | None:
        """Return what the release of a token has brought, or None. Raises Emptied where that cannot be said."""
        value = self._marking.values.get(place)
        if value is not None and self._is_emptied:
            raise Emptied("the value of a signal")
        return value

    def early(self, name: str, count: int) -> list[bytes]:
        """Return the values of the first early signals of a name. Raises Emptied where these cannot be said."""
        if count and self._is_emptied:
            raise Emptied("the values of signals")
        return [value for _, value in self._marking.signals.get(name, ())[:count]]

    def moments(self, place: Place, fields: Sequence[str]) -> list[int]:
        """Return the numbers of the last event that the token at ``place`` can have seen, the latest first.

        Only those between which one of the fields changed: mostly one.
        """
        born = self._marking.births[place]
        now = self._marking.seq
        changes = {seq for field in fields for seq in self._written(field) if born < seq <= now}
        return [now, *sorted((seq - 1 for seq in changes), reverse=True)]

    def values(self, fields: Sequence[str], upto: int | None = None) -> list[bytes | None]:
        """Return context values as they stood after event ``upto``. Raises Emptied."""
        limit = self._marking.seq if upto is None else upto
        return [self._read(field, limit) for field in fields]

    def _read(self, field: str, limit: int) -> bytes | None:
        name, _ = self._find(field, limit)
        value = self._values.get(name)
        if value is None or value.seq > limit:
            return None
        if value.content is None:
            raise Emptied(name)
        return value.content

    def _written(self, field: str) -> list[int]:
        """Return the events that wrote a field, or a last iteration on the way to it."""
        name, seqs = self._find(field, self._marking.seq)
        value = self._values.get(name)
        return seqs if value is None else [*seqs, value.seq]

    def _find(self, field: str, limit: int) -> tuple[str, list[int]]:
        """Return the field that ``?o5~2~L7`` stands for, and the events that wrote the last iterations in it.

        That is node 5 in scope (2, the last iteration of loop 7 there); "" where that loop has not ended.
        """
        if not field.startswith("?"):
            return field, []
        name, *parts = field[1:].split("~")
        scope: list[int] = []
        seqs: list[int] = []
        for part in parts:
            if not part.startswith("L"):
                scope.append(int(part))
                continue
            last = self._values.get(context_field("l", int(part[1:]), tuple(scope)))
            if last is None or last.content is None or last.seq > limit:
                return "", seqs
            scope.append(int(last.content))
            seqs.append(last.seq)
        return f"{name}:{'.'.join(map(str, scope))}", seqs
