"""Redeciding: where the edges of a step go that is answered for, when a run is enacted again. Pure.

As the log says, or decided again with the expressions of the plan: on request, and behind every given output. What the
expressions read comes from the marking; what is stored apart must have been brought.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, TypeAlias

from ..floor.payloads import is_reference
from ..fold.cuts import Settled
from ..marking.marking import Marking, Token
from ..marking.marking_values import read_value
from ..marking.plan import Plan
from ..marking.rules import taken
from ..marking.scopes import Scope, token_key
from ..outcomes.item_values import count_items, cut_item, cut_items, split_list
from ..outcomes.map_openings import forced_items, open_map
from ..outcomes.node_code import Codes
from ..outcomes.routing import route
from ..outcomes.step_context import StepContext, decode_json
from .kept_contents import KeptContents
from .recall import Recall, Relisted, matched

At: TypeAlias = tuple[int, Scope]
WHEN = "when"
"""Instead of a decision: the step is skipped by its condition; with nothing instead of what is now, it is to run."""


class Unloaded(Exception):
    """Payloads are needed that are stored apart: bring ``references``, and enact on."""

    def __init__(self, references: Iterable[bytes]) -> None:
        super().__init__("payloads are stored apart")
        self.references = tuple(references)


class Listed(NamedTuple):
    """The items of a map: how many, and ``output``: the list of values, JSON bytes or a reference."""

    number: int
    output: bytes | None


class Decisions:
    """``rerouted``: where they differ from the base run's, as (then, now), each as ``Facts.edges``, or WHEN.

    contents: what payloads stand for that are stored apart. is_again: all decisions are made again, not only those of
    given outputs; lists of maps too, unless ``had`` is None. ``firsts``: how many values these lists have of maps to
    which more were added; had: how many they had then, where that is not the same.
    """

    def __init__(
        self,
        plan: Plan,
        recall: Recall,
        marking: Marking,
        given: Mapping[At, bytes],
        contents: KeptContents,
        *,
        is_again: bool,
        had: Mapping[At, int] | None = None,
    ) -> None:
        self._plan = plan
        self._recall = recall
        self._marking = marking
        self._given = given
        self._contents = contents
        self._is_again = is_again
        self._had = had
        self.firsts: dict[At, int] = {}
        self.codes = Codes(plan)
        self.rerouted: dict[At, tuple[str, str]] = {}

    def decide(self, at: At, token: Token, settled: Settled) -> str:
        """Return where the edges go, nothing where the step is skipped now. Raises StepError, Unloaded."""
        node, edges = self._plan.ir.nodes[at[0]], self._plan.ir.edges
        then = settled.edges or taken(node, edges)
        if not self._is_again and at not in self._given:
            return then
        step, code = self.context(at, token), self.codes.of(at[0])
        is_free = at not in self._given and not self._recall.is_forced(at)
        if is_free and code.when is not None and step.evaluate(code.when) is not True:
            self.rerouted[at] = then, WHEN
            return ""
        now = then
        if node.is_map or not code.routes:
            now = taken(node, edges)
        elif settled.output is not None:
            now = route(step, decode_json(self.load([settled.output])[0] or b"null"))
        known = self._recall.answer(at)
        before = "" if known is None or known.settled.status != "SUCCEEDED" else known.settled.edges
        before = before or ("" if known is None else taken(node, edges))
        if before != now:
            self.rerouted[at] = before, now
        return now

    def runs_now(self, at: At, token: Token, settled: Settled) -> bool:
        """Whether a step runs that its condition has skipped. Raises StepError, Unloaded."""
        when = self.codes.of(at[0]).when
        if not self._is_again or settled.reason != "condition_false":
            return False
        if when is not None and self.context(at, token).evaluate(when) is not True:
            return False
        self.rerouted[at] = WHEN, ""
        return True

    def items(self, at: At, token: Token, settled: Settled) -> Listed:
        """Return the list of a map, and tell ``recall`` where it is another one. Raises StepError, Unloaded."""
        if at in self._given:
            given = forced_items(self.context(at, token), self.load([settled.output])[0] or b"null")
            return Listed(given.count, settled.output)
        is_again = self._is_again and self._had is not None and settled.output is not None
        if not is_again or self._recall.is_forced(at):
            return Listed(settled.items, settled.output)
        known = split_list(self.load([settled.output])[0] or b"[]")
        values = split_list(open_map(self.context(at, token)).output)
        if "more" in self._plan.ir.nodes[at[0]].config:
            self.firsts[at] = len(values)
            assert self._had is not None
            values += known[self._had.get(self._recall.then(at) or at, len(values)) :]
        batch = self._plan.maps.region(at[0]).batch
        count = count_items(len(values), batch)
        if (values, count) == (known, settled.items):
            return Listed(count, settled.output)
        is_cut_so = count_items(len(known), batch) == settled.items
        before = _cut(known, batch) if is_cut_so else [b""] * settled.items
        self._recall.relisted[at] = Relisted(settled.items, matched(before, _cut(values, batch)))
        return Listed(count, b"[" + b",".join(values) + b"]")

    def values(self, at: At, token: Token) -> list[bytes | None]:
        """Return what a step reads, as the marking has it: also references."""
        fields = self._plan.reads(*at, token.live)
        return [None if name.startswith("t") else read_value(self._marking, name) for name in fields]

    def context(self, at: At, token: Token) -> StepContext:
        """Raises Unloaded."""
        return self.context_of(self.codes, at, token.live, self.values(at, token))

    def context_of(self, codes: Codes, at: At, live: str, values: list[bytes | None]) -> StepContext:
        """Return what the expressions of a step see that reads these values. Raises Unloaded."""
        number, scope = at
        return StepContext(
            run_id=self._recall.oracle.run_id,
            plan=codes.plan,
            number=number,
            scope=scope,
            live=live,
            values=cut_items(codes.plan, number, scope, self.load(values)),
            code=codes.of(number),
            key=token_key(number, scope),
        )

    def load(self, values: list[bytes | None]) -> list[bytes | None]:
        """Return what they stand for. Raises Unloaded."""
        found = [self._contents.get(value) if value and is_reference(value) else value for value in values]
        missing = [value for value, content in zip(values, found, strict=True) if value and content is None]
        if missing:
            raise Unloaded(missing)
        return found


def _cut(values: list[bytes], batch: int) -> list[bytes]:
    """The items as JSON bytes."""
    if not batch:
        return values
    return [cut_item(values, index, batch) or b"" for index in range(count_items(len(values), batch))]
