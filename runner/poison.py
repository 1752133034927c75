"""Poison: a token that has ended every worker that was given it, or they fell silent with it. Nobody tries again."""

from __future__ import annotations

import structlog

from ..sdk.step_error import StepError
from .budgets import lost_spending
from .work import Work

log = structlog.get_logger()


def poison(work: Work) -> StepError:
    """Return the error of its step, and note what its calls may have spent."""
    work.spent = lost_spending(work)
    log.error("token_poisoned", run_id=work.run_id, node=work.node.id, deliveries=work.deliveries)
    times = f"{work.deliveries} workers" if work.deliveries > 1 else "a worker"
    return StepError("POISONED", f"{times} fell silent with this step in hand; it is not given to another one")
