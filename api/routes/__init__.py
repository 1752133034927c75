"""All routes, by noun."""

from __future__ import annotations

from ..route import Route
from . import health, workflows

ROUTES: tuple[Route, ...] = tuple(route for noun in (workflows, health) for route in noun.routes.all)
