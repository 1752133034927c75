"""Inputs: what a step was given, made again from what its log says of all that it reads. No handler is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..compiler.analysis.sites import SECRET_TYPES
from ..sdk.events import RecordedEvent
from ..sdk.fold.migrated import MIGRATED, ir_told
from ..sdk.marking.marking import TokenKind
from ..sdk.marking.plan import Plan
from ..sdk.marking.scopes import Scope, scope_key, token_key
from ..sdk.outcomes.item_values import cut_items
from ..sdk.outcomes.node_code import compile_node
from ..sdk.outcomes.step_config import render_config
from ..sdk.outcomes.step_context import StepContext, StepError
from .contents import Contents
from .history import Emptied, History

NOT_BEGUN, TAKEN_OVER, EMPTIED, RESULTS = "not_begun", "taken_over", "emptied", "results"


@dataclass(frozen=True)
class StepInput:
    """``content``: JSON, None where ``reason`` says why there is none: ``not_begun``, ``taken_over`` from the base run,
    ``emptied``, ``results`` (of a map's items, which an aggregate gathers), or what was wrong with an expression.

    ``config``: of a step whose config has templates, with these filled; not where they may name secrets.
    """

    content: bytes | None = None
    config: dict[str, Any] | None = None
    reason: str = ""


class _Given(NamedTuple):
    """What a token was given: where it was, and the values that ``Plan.reads`` names."""

    plan: Plan
    number: int
    live: str
    extra: str
    values: list[bytes | None]


class InputReader:
    """Reads a log to its end, event by event, for what one step was given in one scope. plans: of the run, by hash."""

    def __init__(self, run_id: str, first: Plan, plans: Mapping[str, Plan], node: str, scope: Scope) -> None:
        self._run_id = run_id
        self._plans = plans
        self._history = History(first)
        self._node = node
        self._scope = scope
        self._key = scope_key(scope)
        self._given: _Given | None = None
        self._reason = NOT_BEGUN

    def add(self, event: RecordedEvent) -> None:
        """Raises Corrupt."""
        facts = event.facts
        if facts.node == self._node and facts.scope == self._key:
            if facts.type == "step.reused":
                self._given, self._reason = None, TAKEN_OVER
            else:
                self._look()
        if facts.type == MIGRATED:
            self._history.move(self._plans[ir_told(facts)], event)
        else:
            self._history.add(event)

    def _look(self) -> None:
        """Note what the token of the step reads now, where there is one."""
        plan = self._history.plan
        number = plan.numbers.get(self._node)
        token = None if number is None else self._history.marking.tokens.get((number, self._scope))
        if number is None or token is None or token.kind is not TokenKind.NORMAL:
            return
        try:
            values = self._history.values(plan.reads(number, self._scope, token.live))
            released = self._history.released((number, self._scope))
        except Emptied:
            self._given, self._reason = None, EMPTIED
            return
        if released is not None:
            values.append(released)
        self._given = _Given(plan, number, token.live, token.extra, values)

    async def read(self, contents: Contents) -> StepInput:
        """Return it, when all events were added. Raises PayloadUnreadable."""
        self._look()
        given = self._given
        if given is None:
            return StepInput(reason=self._reason)
        node = given.plan.ir.nodes[given.number]
        if node.is_aggregate:
            return StepInput(reason=RESULTS)
        try:
            values = cut_items(given.plan, given.number, self._scope, await contents.load_all(given.values))
        except Emptied:
            return StepInput(reason=EMPTIED)
        step = StepContext(
            run_id=self._run_id,
            plan=given.plan,
            number=given.number,
            scope=self._scope,
            live=given.live,
            values=values,
            code=compile_node(given.plan.ir, node),
            key=token_key(given.number, self._scope),
            extra=given.extra,
        )
        return _made(step)


def _made(step: StepContext) -> StepInput:
    assert step.code is not None
    is_open = not step.code.template.is_constant and step.node.type not in SECRET_TYPES
    try:
        return StepInput(step.input_bytes(), render_config(step) if is_open else None)
    except StepError as error:
        return StepInput(reason=f"{error.type}: {error}")
