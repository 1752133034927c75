"""Handlers: what stands in for steps during a rehearsal."""

from __future__ import annotations

from asyncio import Runner
from collections.abc import Callable, Collection, Mapping
from functools import partial
from types import TracebackType
from typing import Any, Self

import anyio

from ..compiler.durations import parse_duration
from ..compiler.subflows import SUBFLOW
from ..runner.nodes.subflow import run_subflow
from ..runner.nodes.tool import asked_of as asked_of_tool
from ..runner.work import Work
from ..sdk.authoring.context import Context, Unheld
from ..sdk.authoring.deferral import Deferred
from ..sdk.authoring.steps import Step, Steps
from ..sdk.marking.marking import TokenKind
from ..sdk.marking.scopes import scope_text
from ..sdk.outcomes.outcomes import OUTSIDE, Outcome, Succeeded, Waits
from ..sdk.outcomes.step_config import render_config
from ..sdk.outcomes.step_context import StepError, encode_json
from ..sdk.signal_names import outside_name
from .child_runs import asked_of
from .script import Attempts, Mock

WORKER = "rehearsal"


class NotMocked(AssertionError):
    """A step was reached for which the test has no stand-in."""


class Handlers:
    """``mocks``: by the id of the node, else by the name of the handler, else by the node's type.

    ``workflows``: ids of those that a subflow may run for itself.
    ``async`` functions run on a loop of their own, one after the other; what they wait for with ``anyio.sleep`` takes
    real time. ``missing``: a step that was reached and has no stand-in.
    """

    def __init__(self, mocks: Mapping[str, Mock], registered: Steps | None, workflows: Collection[str] = ()) -> None:
        self._workflows = workflows
        self._mocks = mocks
        self._registered = registered
        self._runner = Runner()
        self.missing: NotMocked | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.close()

    def __call__(self, work: Work) -> Outcome:
        """Run one attempt. Raises what it raises."""
        node = work.node
        if node.type == "tool":
            handler = asked_of_tool(work)
        else:
            handler = str(node.config.get("workflow" if node.type == SUBFLOW else "handler", ""))
        for name in (node.id, handler, node.type):
            if name and name in self._mocks:
                return self._play(work, self._mocks[name])
        if node.type == "sleep":
            return Succeeded(work.input_bytes())
        if node.type == SUBFLOW:
            outcome = run_subflow(work)
            handler = asked_of(outcome).workflow
            if handler in self._workflows:
                return outcome
        known = self._registered or Steps()
        tool = known.tools.get(handler) if node.type == "tool" else None
        if tool is not None:
            named = tool.arguments.read(work.input_bytes()) | ({tool.context: _context(work)} if tool.context else {})
            return Succeeded(tool.arguments.write(self._run(work, partial(tool.function, **named), tool.is_async)))
        step = known.get(handler)
        if step is not None:
            return self._play(work, step.function)
        what = f"handler {handler!r}" if handler else f"type {node.type!r}"
        how = f"add one for {handler or node.id!r}"
        if node.type == SUBFLOW:
            what, how = f"workflow {handler!r}", f"{how}, or give its document in workflows="
        self.missing = NotMocked(f"step {node.id!r} ({what}) has no stand-in: {how}")
        raise self.missing

    @staticmethod
    def lasts_ms(work: Work) -> int:
        """How long the attempt holds its slot, by the simulated clock. ``work.code`` is set."""
        if work.kind is not TokenKind.NORMAL or work.number < 0 or work.node.type != "sleep":
            return 0
        try:
            return parse_duration(render_config(work).get("for", 0)) or 0
        except StepError:
            return 0  # it fails when it runs

    def _play(self, work: Work, mock: Mock) -> Outcome:
        if isinstance(mock, Attempts):
            mock = mock(work.attempt)
        if isinstance(mock, BaseException):
            raise mock
        if not callable(mock):
            return Succeeded(encode_json(mock))
        steps = Steps()
        steps.add(mock, work.node.id)
        step = steps.get(work.node.id)
        assert step is not None
        value = self._call(work, step)
        if isinstance(value, Deferred):
            return Waits(OUTSIDE, (outside_name(work.key, work.attempt),), work.node.timeout_ms)
        return Succeeded(step.hints.write(value))

    def _call(self, work: Work, step: Step) -> Any:
        given = step.hints.read(work.input_bytes()) if step.takes_input else None
        arguments = step.arguments(given, _context(work))
        return self._run(work, partial(step.function, *arguments), step.is_async)

    def _run(self, work: Work, function: Callable[[], Any], is_async: bool) -> Any:
        if not is_async:
            return function()

        async def call() -> Any:
            timeout_ms = work.node.timeout_ms
            try:
                with anyio.fail_after(None if timeout_ms is None else timeout_ms / 1000):
                    return await function()
            except TimeoutError as error:
                if timeout_ms is None:
                    raise
                raise StepError("TIMEOUT", f"it has not ended within {timeout_ms} ms") from error

        return self._runner.run(call())


def _context(work: Work) -> Context:
    scope = scope_text(work.plan.ir, work.number, work.scope)
    key = f"{work.run_id}/{work.node.id}" + (f"/{scope}" if scope else "")
    tries = 1 if work.node.retry is None else work.node.retry.max_attempts
    return Context(
        work.run_id, work.plan.ir.workflow, work.node.id, scope, work.attempt, key, WORKER, tries, work.key, Unheld()
    )
