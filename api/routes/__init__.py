"""All routes, by noun. Those that are asked for most often stand first."""

from __future__ import annotations

from ..route import Route
from . import aliases, commands, health, logs, operations, operators, runs, sessions, workflows

NOUNS = (
    runs.routes,
    logs.routes,
    commands.routes,
    workflows.routes,
    operations.approvals,
    operations.dead_letters,
    operations.schedules,
    operations.workers,
    health.routes,
    aliases.routes,
    sessions.routes,
    operators.routes,
)
ROUTES: tuple[Route, ...] = tuple(route for noun in NOUNS for route in noun.all)
