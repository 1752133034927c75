"""Webhooks: who is told of what by a signed request, and what could not be sent.

The URL of one may be a secret in itself: to see it takes the scope operate.
"""

from __future__ import annotations

import msgspec

from ...sdk.access import Scope
from ..bodies import NoBody, NoQuery
from ..route import Answer, Asked, Routes
from ..wire.webhooks import (
    DeadAsked,
    DeadDropped,
    DeadRequests,
    DeadRetried,
    WebhookAsked,
    WebhookMade,
    WebhookPage,
    WebhookRemoved,
    WebhookTested,
    dead_request,
    webhook_made,
    webhook_shown,
    webhook_tested,
)
from .runs import By, Filter

routes = Routes("webhooks")


class OfWebhook(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``webhook``: only of this one."""

    webhook: Filter | None = None


@routes.get("/v1/webhooks", scope=Scope.OPERATE)
async def list_(asked: Asked[NoQuery, NoBody]) -> WebhookPage:
    """List webhooks, with what waits to be sent and what was given up."""
    return WebhookPage(webhooks=[webhook_shown(one) for one in await asked.backend.client.webhooks.list()])


@routes.post("/v1/webhooks", scope=Scope.ADMIN, statuses=(201,), errors=("webhook_invalid", "webhook_exists"))
async def add(asked: Asked[NoQuery, WebhookAsked]) -> Answer[WebhookMade]:
    """Tell a URL of what happens from now on.

    The answer has the key of the signatures, this once.
    """
    body = asked.body
    made, secret = await asked.backend.client.webhooks.add(
        body.name, body.url, body.on, workflow=body.workflow, by=asked.by(body.by)
    )
    return Answer(webhook_made(made, secret), 201)


@routes.get("/v1/webhooks/dead", scope=Scope.OPERATE, errors=("webhook_not_found",))
async def dead(asked: Asked[OfWebhook, NoBody]) -> DeadRequests:
    """List requests that were given up."""
    found = await asked.backend.client.webhooks.dead(asked.query.webhook)
    return DeadRequests(dead=[dead_request(one) for one in found])


@routes.delete("/v1/webhooks/{name}", scope=Scope.ADMIN, errors=("webhook_not_found",))
async def remove(asked: Asked[By, NoBody]) -> WebhookRemoved:
    """Tell a webhook no more; what was not sent is dropped."""
    name = asked.at("name")
    dropped = await asked.backend.client.webhooks.remove(name, by=asked.by(asked.query.by))
    return WebhookRemoved(removed=name, dropped=dropped)


@routes.post("/v1/webhooks/{name}/test", scope=Scope.OPERATE, errors=("webhook_not_found",))
async def test(asked: Asked[NoQuery, NoBody]) -> WebhookTested:
    """Have a supervisor send a request of the type test, and say what became of it, within 20 seconds."""
    return webhook_tested(await asked.backend.client.webhooks.test(asked.at("name")))


@routes.post("/v1/webhooks/{name}/dead/retry", scope=Scope.OPERATE, errors=("webhook_not_found",))
async def retry_dead(asked: Asked[NoQuery, DeadAsked]) -> DeadRetried:
    """Send all that was given up again."""
    name, by = asked.at("name"), asked.by(asked.body.by)
    return DeadRetried(webhook=name, retried=await asked.backend.client.webhooks.retry_dead(name, by=by))


@routes.post("/v1/webhooks/{name}/dead/drop", scope=Scope.OPERATE, errors=("webhook_not_found",))
async def drop_dead(asked: Asked[NoQuery, DeadAsked]) -> DeadDropped:
    """Forget all that was given up."""
    name, by = asked.at("name"), asked.by(asked.body.by)
    return DeadDropped(webhook=name, dropped=await asked.backend.client.webhooks.drop_dead(name, by=by))
