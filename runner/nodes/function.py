"""``function``: calls a registered step. ``async`` ones on the loop, plain ones in a thread, or in a process.

``input_selector`` names another one, which is called first: what it returns is the input.
"""

from typing import Any

import anyio.to_thread

from ...sdk.authoring.around import call_through
from ...sdk.authoring.context import Context
from ...sdk.authoring.deferral import Deferred, DeferToken
from ...sdk.authoring.steps import Step
from ...sdk.marking.scopes import scope_text
from ...sdk.outcomes.outcomes import OUTSIDE, Outcome, Succeeded, Waits
from ...sdk.outcomes.step_context import StepError, decode_json, encode_json
from ...sdk.signal_names import outside_name
from ..interruptions import interrupts_nobody_else
from ..toolbox import Toolbox
from ..work import Work


async def run_function(work: Work, tools: Toolbox) -> Outcome:
    handler = str(work.node.config.get("handler", ""))
    step = tools.steps.get(handler)
    if step is None:
        return tools.elsewhere.give_back(work, handler)
    name = work.node.config.get("input_selector")
    if name is not None and not work.live.startswith("b"):
        selector = tools.steps.get(str(name))
        if selector is None:
            return tools.elsewhere.give_back(work, str(name))
        work.input_json = await _select(work, selector, tools)
    if work.look_up is not None:
        found = await work.look_up(work)
        if found is not None:
            return found
    if step.isolation == "process" and not tools.steps.around:
        output = await _call_apart(work, step, tools)
        return _deferred(work, output) if isinstance(output, Deferred) else Succeeded(output)
    output = await _call(work, step, tools, step.hints.read(work.input_bytes()) if step.takes_input else None)
    return _deferred(work, output) if isinstance(output, Deferred) else Succeeded(step.hints.write(output))


def _deferred(work: Work, deferred: Deferred) -> Outcome:
    """The attempt ends elsewhere: its token waits for a word about it, at most as long as an attempt may take."""
    if deferred.token != DeferToken(work.run_id, work.key, work.attempt).text:
        raise StepError("OUTPUT_MISMATCH", "the step returns the token of another attempt: return ctx.defer() itself")
    return Waits(OUTSIDE, (outside_name(work.key, work.attempt),), work.node.timeout_ms)


async def _select(work: Work, selector: Step, tools: Toolbox) -> bytes:
    """Return the input that a function has selected."""
    seen = selector.hints.read(encode_json(_selectable(work))) if selector.takes_input else None
    value = await _call(work, selector, tools, seen)
    try:
        return selector.hints.write(value)
    except StepError as error:
        said = str(error).removeprefix("this is ")
        raise StepError("INPUT_INVALID", f"{selector.name!r} selects {said}") from error


def _selectable(work: Work) -> dict[str, Any]:
    """What a selector chooses from: the run's input and the steps that this one depends on, as expressions see them."""
    roots = work.context()
    return {name: roots[name] for name in ("input", "steps", "outputs", "inputs", "run", "loop")}


async def _call_apart(work: Work, step: Step, tools: Toolbox) -> bytes | Deferred:
    """Run a step in a process, which reads its input and writes its output itself."""
    return await tools.cells.run(step, work.input_bytes() if step.takes_input else b"", step_context(work, tools))


async def _call(work: Work, step: Step, tools: Toolbox, given: Any) -> Any:
    context = step_context(work, tools) if step.takes_context or tools.steps.around else None
    arguments = step.arguments(given, context)

    async def run() -> Any:
        if step.isolation == "process":
            output = await _call_apart(work, step, tools)
            return output if isinstance(output, Deferred) else decode_json(output)
        if step.is_async:
            return await step.function(*arguments)
        # A worker that is told to stop at once does not wait for a thread; nobody can stop one.
        return await anyio.to_thread.run_sync(step.function, *arguments, abandon_on_cancel=True)

    with interrupts_nobody_else("the step"):
        if context is not None and tools.steps.around:
            return await call_through(tools.steps.around, step.name, given, context, run)
        return await run()


def idempotency_key(work: Work) -> str:
    """The same for every attempt of this step in this run and scope."""
    scope = scope_text(work.plan.ir, work.number, work.scope)
    return f"{work.run_id}/{work.node.id}" + (f"/{scope}" if scope else "")


def step_context(work: Work, tools: Toolbox) -> Context:
    """Return what a step may know about this attempt."""
    assert work.held is not None
    tries = 1 if work.node.retry is None else work.node.retry.max_attempts
    return Context(
        work.run_id,
        work.plan.ir.workflow,
        work.node.id,
        scope_text(work.plan.ir, work.number, work.scope),
        work.attempt,
        idempotency_key(work),
        tools.worker,
        tries,
        work.key,
        work.held,
        tools,
        step_log=tools.step_log(work),
    )
