"""``function``: calls a registered step. ``async`` ones on the loop, plain ones in a thread."""

from typing import Any

import anyio.to_thread

from ...sdk.scopes import scope_text
from ...sdk.step_context import decode_json, encode_json
from ...sdk.steps import Context, Step, Steps
from ..outcomes import GivenBack, Outcome, Succeeded
from ..work import Work

UNKNOWN_DELAY_MS = 1_000
"""A handler that this worker does not have: another worker may."""


async def run_function(work: Work, steps: Steps, worker: str) -> Outcome:
    step = steps.get(str(work.node.config.get("handler", "")))
    if step is None:
        return GivenBack(UNKNOWN_DELAY_MS)
    arguments = _arguments(work, step, worker)
    if step.is_async:
        output = await step.function(*arguments)
    else:
        # A worker that is told to stop at once does not wait for a thread; nobody can stop one.
        output = await anyio.to_thread.run_sync(step.function, *arguments, abandon_on_cancel=True)
    return Succeeded(encode_json(output))


def _arguments(work: Work, step: Step, worker: str) -> list[Any]:
    if step.arity == 0:
        return []
    arguments: list[Any] = [decode_json(work.input_bytes())]
    if step.arity == 2:
        scope = scope_text(work.plan.ir, work.number, work.scope)
        key = f"{work.run_id}/{work.node.id}" + (f"/{scope}" if scope else "")
        arguments.append(Context(work.run_id, work.plan.ir.workflow, work.node.id, scope, work.attempt, key, worker))
    return arguments
