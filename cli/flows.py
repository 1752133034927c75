"""Flows: workflow files in Python, run for the workflow that they build."""

from __future__ import annotations

import runpy
import sys
from contextlib import redirect_stdout
from pathlib import Path

from ..sdk.authoring.building import Flow
from .exits import CliError, ExitCode

SUFFIX = ".py"
NAME = "flow"


def load_flow(path: str) -> Flow:
    """Run a file and return the workflow that it builds: its ``flow``, or the only one. Raises CliError."""
    if not Path(path).is_file():
        hint = f"the current directory is {Path.cwd()}"
        raise CliError(ExitCode.NOT_FOUND, "file_not_found", f"there is no workflow file {path}", hint)
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        with redirect_stdout(sys.stderr):  # stdout is for what is made of it
            found = runpy.run_path(path, run_name="courante_flow")
    except Exception as cause:
        message = f"{path}: running it failed: {type(cause).__name__}: {cause}"
        raise CliError(ExitCode.INVALID, "flow_broken", message, f"try: python {path}") from cause
    flows = {name: value for name, value in found.items() if isinstance(value, Flow)}
    if NAME in flows:
        return flows[NAME]
    if len({id(flow) for flow in flows.values()}) != 1:
        message = f"{path} builds {'no workflow' if not flows else ', '.join(sorted(flows))}"
        raise CliError(ExitCode.INVALID, "flow_unclear", message, "call the one that is meant 'flow'")
    return next(iter(flows.values()))
