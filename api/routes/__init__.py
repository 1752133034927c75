"""All routes, by noun. Those that are asked for most often stand first."""

from __future__ import annotations

from ..route import Route
from . import (
    aliases,
    anchors,
    approvals,
    audit,
    cache,
    commands,
    dead_letters,
    forgetting,
    health,
    keys,
    logs,
    migrations,
    operators,
    pauses,
    replays,
    restarts,
    runs,
    schedules,
    sessions,
    states,
    statistics,
    webhooks,
    workers,
    workflows,
)

NOUNS = (
    runs.routes,
    logs.routes,
    states.routes,
    replays.routes,
    commands.routes,
    restarts.routes,
    migrations.routes,
    workflows.routes,
    approvals.routes,
    dead_letters.routes,
    schedules.routes,
    workers.routes,
    statistics.routes,
    webhooks.routes,
    health.routes,
    aliases.routes,
    sessions.routes,
    pauses.routes,
    cache.routes,
    keys.routes,
    audit.routes,
    anchors.routes,
    forgetting.routes,
    operators.routes,
)
ROUTES: tuple[Route, ...] = tuple(route for noun in NOUNS for route in noun.all)
