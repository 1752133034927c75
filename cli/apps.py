"""Apps: modules of steps, named by ``--app`` and imported from the current directory or from what is installed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path

from ..sdk.authoring.steps import REGISTRY, Steps
from .exits import CliError, ExitCode


def load_apps(modules: Sequence[str]) -> Steps:
    """Import modules of steps and return all that is registered. Raises CliError that says which and where."""
    here = str(Path.cwd())
    if modules and here not in sys.path:
        sys.path.insert(0, here)
    for name in modules:
        _load(name)
    return REGISTRY


def _load(name: str) -> None:
    if name.endswith(".py") or "/" in name:
        module = name.removesuffix(".py").replace("/", ".").strip(".")
        raise CliError(ExitCode.USAGE, "bad_app", f"--app {name}: expected the name of a module", f"--app {module}")
    try:
        with redirect_stdout(sys.stderr):  # stdout is for results
            import_module(name)
    except ModuleNotFoundError as cause:
        if cause.name is None or not (name == cause.name or name.startswith(f"{cause.name}.")):
            raise _broken(name, cause) from cause
        hint = f"run the command in the directory that holds it; this one is {Path.cwd()}"
        raise CliError(
            ExitCode.USAGE, "app_not_found", f"--app {name}: there is no module {cause.name!r}", hint
        ) from cause
    except Exception as cause:
        raise _broken(name, cause) from cause


def _broken(name: str, cause: Exception) -> CliError:
    place = _place(cause)
    message = f"--app {name}: importing it failed: {type(cause).__name__}: {cause}{f' ({place})' if place else ''}"
    return CliError(ExitCode.USAGE, "app_broken", message, f"try: python -c 'import {name}'")


def _place(cause: Exception) -> str:
    """``file:line`` of whoever writes steps: neither Python's import nor what has refused it here."""
    if isinstance(cause, SyntaxError):
        return f"{cause.filename}:{cause.lineno}"
    places = [
        f"{frame.f_code.co_filename}:{line}"
        for frame, line in traceback.walk_tb(cause.__traceback__)
        if "importlib" not in frame.f_code.co_filename
        and not str(frame.f_globals.get("__name__", "")).startswith("courante.")
    ]
    return places[-1] if places else ""
