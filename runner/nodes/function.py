"""``function``: calls a registered step. ``async`` ones on the loop, plain ones in a thread.

``input_selector`` names another one, which is called first: what it returns is the input.
"""

from typing import Any

import anyio.to_thread

from ...sdk.context import Context
from ...sdk.deferral import Deferred, DeferToken
from ...sdk.json_values import NotJson, encode_value
from ...sdk.outcomes import OUTSIDE, GivenBack, Outcome, Succeeded, Waits
from ...sdk.scopes import scope_text
from ...sdk.signal_names import outside_name
from ...sdk.step_context import StepError, decode_json, encode_json
from ...sdk.steps import Step, Steps
from ..work import Work

UNKNOWN_DELAY_MS = 1_000
"""A handler that this worker does not have: another worker may."""


async def run_function(work: Work, steps: Steps, worker: str) -> Outcome:
    step = steps.get(str(work.node.config.get("handler", "")))
    if step is None:
        return GivenBack(UNKNOWN_DELAY_MS)
    name = work.node.config.get("input_selector")
    if name is not None and not work.live.startswith("b"):
        selector = steps.get(str(name))
        if selector is None:
            return GivenBack(UNKNOWN_DELAY_MS)
        work.input_json = _as_input(selector, await _call(work, selector, worker, _selectable(work)))
    given = decode_json(work.input_bytes()) if step.arity else None
    output = await _call(work, step, worker, given)
    return _deferred(work, output) if isinstance(output, Deferred) else Succeeded(encode_json(output))


def _deferred(work: Work, deferred: Deferred) -> Outcome:
    """The attempt ends elsewhere: its token waits for a word about it, at most as long as an attempt may take."""
    if deferred.token != DeferToken(work.run_id, work.key, work.attempt).text:
        raise StepError("OUTPUT_INVALID", "the step returns the token of another attempt: return ctx.defer() itself")
    return Waits(OUTSIDE, (outside_name(work.key, work.attempt),), work.node.timeout_ms)


def _as_input(selector: Step, value: Any) -> bytes:
    try:
        return encode_value(value)
    except NotJson as error:
        raise StepError("INPUT_INVALID", f"{selector.name!r} selects no JSON value: {error}") from error


def _selectable(work: Work) -> dict[str, Any]:
    """What a selector chooses from: the run's input and the steps that this one depends on, as expressions see them."""
    roots = work.context()
    return {name: roots[name] for name in ("input", "steps", "outputs", "inputs", "run", "loop")}


async def _call(work: Work, step: Step, worker: str, given: Any) -> Any:
    arguments = [given, _context(work, worker)] if step.arity == 2 else [given][: step.arity]
    if step.is_async:
        return await step.function(*arguments)
    # A worker that is told to stop at once does not wait for a thread; nobody can stop one.
    return await anyio.to_thread.run_sync(step.function, *arguments, abandon_on_cancel=True)


def _context(work: Work, worker: str) -> Context:
    scope = scope_text(work.plan.ir, work.number, work.scope)
    key = f"{work.run_id}/{work.node.id}" + (f"/{scope}" if scope else "")
    assert work.held is not None
    tries = 1 if work.node.retry is None else work.node.retry.max_attempts
    return Context(
        work.run_id, work.plan.ir.workflow, work.node.id, scope, work.attempt, key, worker, tries, work.key, work.held
    )
