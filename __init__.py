"""Courante: an event-sourced choreography engine on Redis Streams.

The public face. Names are loaded on first use, so that ``import courante`` costs nothing and
``courante --help`` stays quick. Everything that is not in ``__all__`` may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compiler.analysis.build import compile_workflow
    from .compiler.diagnostics import Diagnostic
    from .compiler.normalize import normalize
    from .compiler.workflow import Workflow
    from .sdk.authoring.around import StepCall
    from .sdk.authoring.building import workflow
    from .sdk.authoring.context import Context
    from .sdk.authoring.deferral import Deferred
    from .sdk.authoring.steps import lifespan, middleware, step, tool
    from .sdk.client.client import Client, RunResult
    from .sdk.schedules.schedule import CatchUp, Overlap, Schedule
    from .sdk.user_errors import FatalError, HttpError, RetryableError

__version__ = "0.1.0"

__all__ = [
    "CatchUp",
    "Client",
    "Context",
    "Deferred",
    "Diagnostic",
    "FatalError",
    "HttpError",
    "Overlap",
    "RetryableError",
    "RunResult",
    "Schedule",
    "StepCall",
    "Workflow",
    "__version__",
    "compile_workflow",
    "lifespan",
    "middleware",
    "normalize",
    "step",
    "tool",
    "workflow",
]

_PLACES = {
    "CatchUp": ".sdk.schedules.schedule",
    "Client": ".sdk.client.client",
    "Context": ".sdk.authoring.context",
    "Deferred": ".sdk.authoring.deferral",
    "Diagnostic": ".compiler.diagnostics",
    "FatalError": ".sdk.user_errors",
    "HttpError": ".sdk.user_errors",
    "Overlap": ".sdk.schedules.schedule",
    "RetryableError": ".sdk.user_errors",
    "RunResult": ".sdk.client.client",
    "Schedule": ".sdk.schedules.schedule",
    "StepCall": ".sdk.authoring.around",
    "Workflow": ".compiler.workflow",
    "compile_workflow": ".compiler.analysis.build",
    "lifespan": ".sdk.authoring.steps",
    "middleware": ".sdk.authoring.steps",
    "normalize": ".compiler.normalize",
    "step": ".sdk.authoring.steps",
    "tool": ".sdk.authoring.steps",
    "workflow": ".sdk.authoring.building",
}


def __getattr__(name: str) -> object:
    place = _PLACES.get(name)
    if place is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(place, __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
