"""``sleep``: holds its slot for a while, then passes its input on."""

import anyio

from ...compiler.durations import parse_duration
from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_config import render_config
from ...sdk.outcomes.step_context import StepError
from ..toolbox import Toolbox
from ..work import Work


async def run_sleep(work: Work, tools: Toolbox) -> Outcome:
    del tools
    ms = parse_duration(render_config(work).get("for", 0))
    if ms is None:
        raise StepError("CONFIG_INVALID", "'for' is a duration like 250ms, 30s or 10m")
    await anyio.sleep(ms / 1000)
    return Succeeded(work.input_bytes())
