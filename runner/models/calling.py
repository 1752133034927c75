"""One call of a model: sent by the connector of its provider, ended in time, and counted whatever becomes of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
import msgspec

from ...sdk.cancellation import CancelReason
from ...sdk.spending.spent import Spent
from .answer import ModelAnswer
from .anthropic import Anthropic
from .echo import call_echo
from .openai import OpenAi
from .request import ModelRequest, input_bytes, output_tokens_max
from .router import provider_of
from .sending import Taking, send
from .wire import Connector

if TYPE_CHECKING:
    from ..toolbox import Toolbox
    from ..work import Work

_CONNECTORS: dict[str, Connector] = {"openai": OpenAi(), "anthropic": Anthropic()}
TOKENS_UNLIMITED = 100_000
"""What an answer may have taken where the request says no limit."""


class CallCancelled(Exception):
    """The run is over: its answer is not waited for."""


async def call_model(
    request: ModelRequest, work: Work, tools: Toolbox, on_partial: Callable[[str], None] | None = None
) -> ModelAnswer:
    """Call the model and add what that takes to ``work.spent``.

    on_partial: told the pieces of a streamed answer, in order. Raises StepError, HttpError, TimeoutError and httpx's
    errors. A call that ends without telling its usage, also by a cancellation, counts with the most that it can have
    taken; one that the provider refuses takes nothing.
    """
    provider_of(request.model, request.provider)
    taking = Taking()
    try:
        answer = await _in_time(request, work, tools, taking, on_partial or _nobody)
    except BaseException:
        if taking.may_have_taken:
            work.spent = work.spent.plus(most_spent(request, tools, work.now_ms))
        raise
    if answer.is_usage_told:
        spent = _priced(request, answer, tools, work.now_ms)
    else:
        spent = most_spent(request, tools, work.now_ms)
    work.spent = work.spent.plus(spent)
    return answer


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
    most = tools.prices.most(request.provider, request.model, input_bytes(request), tokens, at_ms)
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
        raise TimeoutError(f"the model {request.model!r} has not answered within {limit_s:g} s")
    raise CallCancelled("the run is over")


async def _end_with_run(work: Work, scope: anyio.CancelScope) -> None:
    assert work.held is not None
    if await work.held.cancellation is CancelReason.CANCELLED:
        scope.cancel()


async def _call(
    request: ModelRequest, tools: Toolbox, taking: Taking, on_partial: Callable[[str], None]
) -> ModelAnswer:
    connector = _CONNECTORS.get(request.provider)
    if connector is None:
        return await call_echo(request, on_partial)
    return await send(connector, request, tools, taking, on_partial)


def _nobody(_piece: str) -> None:
    """Nobody wants to see it."""
