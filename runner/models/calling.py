"""One call of a model: sent by the connector of its provider, ended in time, and counted whatever becomes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import msgspec

from ...compiler.model_names import speaks_responses
from ...sdk.authoring.cancellation import CancelReason
from ...sdk.spending.spent import Spent
from ...sdk.step_error import StepError
from .answer import ModelAnswer, StopReason
from .anthropic import Anthropic
from .defaults import defaults_of
from .echo import call_echo
from .openai import OpenAi
from .request import LIMITS, ModelRequest, input_tokens_max, output_tokens_max
from .responses import Responses
from .router import provider_of
from .sending import Taking, send
from .wire import Connector

if TYPE_CHECKING:
    from ..toolbox import Toolbox
    from ..work import Work

_CONNECTORS: dict[str, Connector] = {"openai": OpenAi(), "anthropic": Anthropic()}
_RESPONSES = Responses()
TOKENS_UNLIMITED = 128_000
"""What an answer may have taken where the request says no limit."""


class CallCancelled(Exception):
    """The run is over: its answer is not waited for."""


async def call_model(
    request: ModelRequest, work: Work, tools: Toolbox, on_partial: Callable[[str], None] | None = None
) -> ModelAnswer:
    """Call the model and add what that takes to ``work.spent``.

    on_partial: told the pieces of a streamed answer, in order. Raises StepError, HttpError, TimeoutError and httpx's
    errors. A call that ends without telling its usage, also by a cancellation, counts with the most that it can have
    taken; one that the provider refuses takes nothing, and one that fails and tells its usage takes that.
    """
    provider_of(request.model, request.provider)
    taking = Taking()
    try:
        answer = await _in_time(request, work, tools, taking, on_partial or _nobody)
    except BaseException:
        if taking.usage is not None:
            work.spent = work.spent.plus(tools.prices.spent(request.provider, request.model, taking.usage, work.now_ms))
        elif taking.may_have_taken:
            work.spent = work.spent.plus(most_spent(request, tools, work.now_ms))
        raise
    if answer.is_usage_told:
        spent = _priced(request, answer, tools, work.now_ms)
    else:
        spent = most_spent(request, tools, work.now_ms)
    work.spent = work.spent.plus(spent)
    _check_said(answer, request)
    return answer


def _check_said(answer: ModelAnswer, request: ModelRequest) -> None:
    """Raise StepError (OUTPUT_INVALID) where nothing was said because nothing could be."""
    if answer.text.strip() or answer.tool_calls:
        return
    if answer.stop_reason is StopReason.LENGTH:
        most = output_tokens_max(request) or answer.usage.output_tokens
        why = f"all of its {most:,} max_tokens were used before, what it thinks counts"
    elif answer.stop_reason is StopReason.REFUSAL:
        why = "it refuses to answer"
    else:
        return
    raise StepError("OUTPUT_INVALID", f"{answer.model} has said nothing: {why}")


def _priced(request: ModelRequest, answer: ModelAnswer, tools: Toolbox, at_ms: int) -> Spent:
    """Return what an answer has taken. Where the name that it bears has no price, that of the request counts."""
    spent = tools.prices.spent(answer.provider, answer.model, answer.usage, at_ms)
    if not spent.unpriced:
        return spent
    asked = tools.prices.spent(answer.provider, request.model, answer.usage, at_ms)
    return spent if asked.unpriced else msgspec.structs.replace(asked, model=answer.model)


def most_spent(request: ModelRequest, tools: Toolbox, at_ms: int) -> Spent:
    """Return the most that a call can have taken of which nothing was heard."""
    tokens = output_tokens_max(request) or TOKENS_UNLIMITED
    if request.max_tokens is None and request.provider == "anthropic" and not request.extra.keys() & {*LIMITS}:
        tokens = defaults_of(request.provider, request.model).max_tokens or tokens  # it has to be told one
    most = tools.prices.most(request.provider, request.model, input_tokens_max(request), tokens, at_ms)
    return msgspec.structs.replace(most, unknown=1)


async def _in_time(
    request: ModelRequest, work: Work, tools: Toolbox, taking: Taking, on_partial: Callable[[str], None]
) -> ModelAnswer:
    """Call until the answer is there, its time is over, or the run."""
    limit_s = math.inf if work.node.timeout_ms is not None else tools.models.request_timeout_ms / 1_000
    answers: list[ModelAnswer] = []
    failures: list[Exception] = []
    with anyio.move_on_after(limit_s) as deadline:
        async with anyio.create_task_group() as group:
            group.start_soon(_end_with_run, work, group.cancel_scope)
            try:
                answers.append(await _call(request, tools, taking, on_partial))
            except Exception as error:  # noqa: BLE001 - kept apart from the group, whose errors come wrapped
                failures.append(error)
            group.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if answers:
        return answers[0]
    if deadline.cancelled_caught:
        hint = "a timeout of the step, or request_timeout_ms, can give it longer"
        raise TimeoutError(f"the model {request.model!r} has not answered within {limit_s:g} s ({hint})")
    raise CallCancelled("the run is over")


async def _end_with_run(work: Work, scope: anyio.CancelScope) -> None:
    assert work.held is not None
    if await work.held.cancellation is CancelReason.CANCELLED:
        scope.cancel()


async def _call(
    request: ModelRequest, tools: Toolbox, taking: Taking, on_partial: Callable[[str], None]
) -> ModelAnswer:
    connector = connector_of(request)
    if connector is None:
        return await call_echo(request, on_partial)
    return await send(connector, request, tools, taking, on_partial)


def connector_of(request: ModelRequest) -> Connector | None:
    """Return who speaks the format in which a request is sent; None for the provider echo."""
    if request.provider == "openai" and speaks_responses(request.model, has_tools=bool(request.tools)):
        return _RESPONSES
    return _CONNECTORS.get(request.provider)


def _nobody(_piece: str) -> None:
    """Nobody wants to see it."""
