"""Node types: one file per type. ``INLINE`` ones return at once; the others are awaited in a task of their own."""

from ...sdk.outcomes.map_openings import open_map
from ...sdk.outcomes.outcomes import Outcome
from ..toolbox import Toolbox
from ..work import Work
from .aggregate import run_aggregate
from .conditional import run_conditional
from .echo import run_echo
from .filter import run_filter
from .function import run_function
from .noop import run_noop
from .sleep import run_sleep
from .subflow import run_subflow
from .tool import run_tool
from .transform import run_transform
from .validate import run_validate
from .wait import run_wait

INLINE = {
    "noop": run_noop,
    "conditional": run_conditional,
    "echo": run_echo,
    "transform": run_transform,
    "filter": run_filter,
    "validate": run_validate,
    "wait": run_wait,
    "subflow": run_subflow,
    "map": open_map,
    "aggregate": run_aggregate,
}


async def _run_http(work: Work, tools: Toolbox) -> Outcome:
    from .http import run_http  # it brings httpx, which takes a worker longer to load than all else

    return await run_http(work, tools)


async def _run_llm(work: Work, tools: Toolbox) -> Outcome:
    from .llm import run_llm  # as for http, but for workers that run no models

    return await run_llm(work, tools)


async def _run_agent(work: Work, tools: Toolbox) -> Outcome:
    from .agent import run_agent  # as for llm

    return await run_agent(work, tools)


AWAITED = {
    "function": run_function,
    "http": _run_http,
    "llm": _run_llm,
    "agent": _run_agent,
    "sleep": run_sleep,
    "tool": run_tool,
}

__all__ = ["AWAITED", "INLINE"]
