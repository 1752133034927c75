"""Apps: modules of steps, named by ``--app`` and imported from the current directory or from what is installed."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
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
    frames = traceback.extract_tb(cause.__traceback__)
    frame = next((f for f in reversed(frames) if "importlib" not in f.filename), None)
    place = f" ({frame.filename}:{frame.lineno})" if frame is not None else ""
    if isinstance(cause, SyntaxError):
        place = f" ({cause.filename}:{cause.lineno})"
    message = f"--app {name}: importing it failed: {type(cause).__name__}: {cause}{place}"
    return CliError(ExitCode.USAGE, "app_broken", message, f"try: python -c 'import {name}'")
