"""``tool``: calls a tool by name. Its input is the arguments, by name; its output is what the tool gives.

Further fields of the config are arguments too, unless the input has them. The arguments are kept with the step, so that
what was asked, what came of it and how long it took can be read with the run.
"""

from __future__ import annotations

from typing import Any

from ...compiler.tool_config import TOOL_FIELDS
from ...sdk.authoring.tools import handler_of
from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_config import render_config
from ...sdk.outcomes.step_context import StepError
from ..toolbox import Toolbox
from ..tools.offer import CALL_S, read_arguments, write_arguments
from ..work import Work
from .failures import told_failures
from .function import step_context


async def run_tool(work: Work, tools: Toolbox) -> Outcome:
    name = asked_of(work)
    tool = tools.shelf.find(name)
    if tool is None:
        return tools.elsewhere.give_back(work, handler_of(name))
    log = tools.step_log(work)
    log.line("calling tool", tool=name)
    with told_failures(log):
        limit_s = CALL_S if work.node.timeout_ms is None else None
        output = await tool.call(work.input_bytes(), step_context(work, tools), limit_s)
    log.line("tool has answered", tool=name, result_bytes=len(output))
    return Succeeded(output)


def asked_of(work: Work) -> str:
    """Return which tool is to be called, and make the arguments the input of the work. Raises StepError."""
    config = render_config(work)
    name = _name(config)
    work.tool = name if name != work.node.config["tool"] else ""
    settings = {field: value for field, value in config.items() if field not in TOOL_FIELDS and field[:2] != "x-"}
    work.input_json = write_arguments(settings | read_arguments(work.input_bytes()))
    return name


def _name(config: dict[str, Any]) -> str:
    """Raises StepError for what is no name, and for a tool that the document does not allow."""
    name, allowed = config["tool"], config.get("allow")
    if not isinstance(name, str):
        raise StepError("INPUT_INVALID", f"the name of a tool is a text, not {name!r}"[:200])
    if allowed is not None and name not in allowed:
        raise StepError("INPUT_INVALID", f"the tool {name[:200]!r} is none of those that this step may call")
    return name
