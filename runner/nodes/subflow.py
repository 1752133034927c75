"""``subflow``: parks and holds no slot while another run does its work; what that gives is its output.

The log is told what to run, and the supervisor starts it (supervisor/children.py).
"""

import re

from ...compiler.reading import WORKFLOW_ID_PATTERN
from ...sdk.outcomes.outcomes import Outcome, Waits
from ...sdk.outcomes.step_config import render_config
from ...sdk.outcomes.step_context import StepError
from ...sdk.outcomes.subflows import CHILD
from ...sdk.signal_names import child_name
from ..work import Work

_WORKFLOW_ID = re.compile(WORKFLOW_ID_PATTERN.removesuffix("$"), re.ASCII)


def run_subflow(work: Work) -> Outcome:
    config = render_config(work)
    workflow = config.get("workflow")
    if not isinstance(workflow, str) or not _WORKFLOW_ID.fullmatch(workflow):
        raise StepError("CONFIG_INVALID", f"'workflow' gives {workflow!r:.200}, which is no id of a workflow")
    child = {name: config[name] for name in ("workflow", "version", "detached") if name in config}
    names = (child_name(work.key, work.attempt),)
    return Waits(CHILD, names, work.node.timeout_ms, said={"child": child}, payload=work.input_bytes())
