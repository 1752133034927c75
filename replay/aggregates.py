"""Aggregates, made again: from the results of a map's items, or the outputs of several nodes, as the log has them."""

from __future__ import annotations

import msgspec

from ..sdk.events import Facts, RecordedEvent
from ..sdk.marking.map_plans import write_ends
from ..sdk.marking.marking import FORCED, TokenKind
from ..sdk.marking.scopes import parse_token_key, token_key
from ..sdk.outcomes.aggregates import aggregate_items, aggregate_predecessors
from ..sdk.outcomes.gathering import Gatherer
from ..sdk.outcomes.item_values import cut_items
from ..sdk.outcomes.node_code import Codes
from ..sdk.outcomes.step_context import StepContext, StepError
from .contents import Contents
from .decisions import Disagreement
from .gate_checks import shown
from .history import Emptied, History, Place

FAILURES = frozenset({"ITEMS_FAILED", "RESULT_INVALID"})
"""How an aggregate fails on what it reads."""


class Aggregates:
    """Of one run."""

    def __init__(self, history: History, codes: Codes, contents: Contents) -> None:
        self._history = history
        self._codes = codes
        self._contents = contents
        self._gatherer = Gatherer(self._read, contents.load_each, _nothing)

    def place(self, facts: Facts) -> Place | None:
        """Return where an event says what an aggregate came to, before it is applied; None where it says no such."""
        error = facts.error.type if facts.error is not None else ""
        if facts.type != "step.succeeded" and not (facts.type == "step.failed" and error in FAILURES):
            return None
        place = self._history.place(facts)
        if place is None or self._history.plan.ir.nodes[place[0]].type != "aggregate":
            return None
        token = self._history.marking.tokens.get(place)
        is_plain = token is not None and token.kind is TokenKind.NORMAL and FORCED not in token.extra.split("+")
        return place if is_plain else None

    async def check(self, place: Place, event: RecordedEvent) -> Disagreement | None:
        """Make it again; None where it comes to the same. Raises Emptied."""
        step = await self._step(place, event.run_id)
        found = await self._found(event)
        try:
            if step.node.is_aggregate:
                made = aggregate_items(step, await self._gatherer.results(step))
            else:
                made = aggregate_predecessors(step)
        except StepError as error:
            made_text = f"failed, {error.type}"
            return None if made_text == found else Disagreement("aggregate", made_text, _text(found))
        is_same = isinstance(found, bytes) and msgspec.json.decode(found) == msgspec.json.decode(made)
        return None if is_same else Disagreement("aggregate", shown(made), _text(found))

    async def _found(self, event: RecordedEvent) -> bytes | str:
        if event.facts.error is not None:
            return f"failed, {event.facts.error.type}"
        if event.payload is None:
            raise Emptied(f"the output of event {event.seq}")
        return await self._contents.load(event.payload)

    async def _step(self, place: Place, run_id: str) -> StepContext:
        plan, token = self._history.plan, self._history.marking.tokens[place]
        values = await self._contents.load_all(self._history.values(plan.reads(*place, token.live)))
        return StepContext(
            run_id=run_id,
            plan=plan,
            number=place[0],
            scope=place[1],
            live=token.live,
            values=cut_items(plan, *place, values),
            code=self._codes.of(place[0]),
            key=token_key(*place),
            extra=token.extra,
        )

    async def _read(self, run_id: str, fields: list[str]) -> list[bytes | None]:
        """Return fields as the run has them in Redis."""
        del run_id
        return [self._value(field) for field in fields]

    def _value(self, field: str) -> bytes | None:
        kind, marking = field[0], self._history.marking
        if kind not in "qrE":
            return self._history.values([field])[0]
        at = parse_token_key(field[1:])
        if kind == "q":
            ends = marking.chunks.get(at)
            return None if ends is None else write_ends(ends).encode()
        if kind == "E":
            return marking.item_errors.get(at)
        return marking.results.get(at)


async def _nothing(step: StepContext) -> dict[int, bytes]:
    """What the marking has not was emptied."""
    raise Emptied(token_key(step.number, step.scope))


def _text(found: bytes | str) -> str:
    return found if isinstance(found, str) else shown(found)
