"""Redeciding: where the edges of a step go that is answered for, when a run is enacted again. Pure.

As the log says, or decided again with the expressions of the plan: on request, and behind every given output. What the
expressions read comes from the marking; what is stored apart must have been brought.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

from .cuts import Settled
from .item_values import cut_items
from .map_openings import forced_items
from .marking import Marking, Token
from .marking_values import read_value
from .node_code import NodeCode, compile_node
from .oracle import Oracle
from .payloads import is_reference
from .plan import Plan
from .routing import route
from .rules import taken
from .scopes import Scope, token_key
from .step_context import StepContext, decode_json

At: TypeAlias = tuple[int, Scope]
WHEN = "when"
"""Instead of a decision: the step is skipped by its condition; with nothing instead of what is now, it is to run."""


class Unloaded(Exception):
    """Payloads are needed that are stored apart: bring ``references``, and enact again."""

    def __init__(self, references: Iterable[bytes]) -> None:
        super().__init__("payloads are stored apart")
        self.references = tuple(references)


class Decisions:
    """``rerouted``: where they differ from the base run's, as (place, then, now), each as ``Facts.edges``, or WHEN.

    contents: payloads by their references. is_again: all decisions are made again, not only those of given outputs.
    """

    def __init__(
        self,
        plan: Plan,
        oracle: Oracle,
        marking: Marking,
        given: Mapping[At, bytes],
        contents: Mapping[bytes, bytes],
        *,
        is_again: bool,
    ) -> None:
        self._plan = plan
        self._oracle = oracle
        self._marking = marking
        self._given = given
        self._contents = contents
        self._is_again = is_again
        self._codes: dict[int, NodeCode] = {}
        self.rerouted: list[tuple[At, str, str]] = []

    def decide(self, at: At, token: Token, settled: Settled) -> str:
        """Return where the edges go, nothing where the step is skipped now. Raises StepError, Unloaded."""
        node, edges = self._plan.ir.nodes[at[0]], self._plan.ir.edges
        then = settled.edges or taken(node, edges)
        if not self._is_again and at not in self._given:
            return then
        step, code = self._context(at, token), self._code(at[0])
        is_free = at not in self._given and at not in self._oracle.forced
        if is_free and code.when is not None and step.evaluate(code.when) is not True:
            self.rerouted.append((at, then, WHEN))
            return ""
        now = then
        if node.is_map or not code.routes:
            now = taken(node, edges)
        elif settled.output is not None:
            now = route(step, decode_json(self._load([settled.output])[0] or b"null"))
        known = self._oracle.answers.get(at)
        before = "" if known is None or known.settled.status != "SUCCEEDED" else known.settled.edges
        before = before or ("" if known is None else taken(node, edges))
        if before != now:
            self.rerouted.append((at, before, now))
        return now

    def runs_now(self, at: At, token: Token, settled: Settled) -> bool:
        """Whether a step runs that its condition has skipped. Raises StepError, Unloaded."""
        when = self._code(at[0]).when
        if not self._is_again or settled.reason != "condition_false" or when is None:
            return False
        if self._context(at, token).evaluate(when) is not True:
            return False
        self.rerouted.append((at, WHEN, ""))
        return True

    def items(self, at: At, token: Token, settled: Settled) -> int:
        """Return how many items a map has. Raises StepError, Unloaded."""
        if at not in self._given:
            return settled.items
        return forced_items(self._context(at, token), self._load([settled.output])[0] or b"null").count

    def _code(self, number: int) -> NodeCode:
        if number not in self._codes:
            self._codes[number] = compile_node(self._plan.ir, self._plan.ir.nodes[number])
        return self._codes[number]

    def _context(self, at: At, token: Token) -> StepContext:
        number, scope = at
        fields = self._plan.reads(number, scope, token.live)
        values = [None if name.startswith("t") else read_value(self._marking, name) for name in fields]
        return StepContext(
            run_id=self._oracle.run_id,
            plan=self._plan,
            number=number,
            scope=scope,
            live=token.live,
            values=cut_items(self._plan, number, scope, self._load(values)),
            code=self._code(number),
            key=token_key(number, scope),
        )

    def _load(self, values: list[bytes | None]) -> list[bytes | None]:
        apart = [value for value in values if value is not None and is_reference(value)]
        missing = [value for value in apart if value not in self._contents]
        if missing:
            raise Unloaded(missing)
        return [value if value is None else self._contents.get(value, value) for value in values]
