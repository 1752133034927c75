"""Webhooks as they travel; the key of the signatures only where one is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ...sdk.client.webhooks import NAME, URL_CHARS_MAX, Tested
from ...sdk.moments import iso_text
from ...sdk.stores.webhooks import DeadDelivery, Webhook, WebhookKind
from .commands import Word
from .moments import Moment


class WebhookAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``on``: what it is told of; ``run.ended``: also of those that failed. ``workflow``: only of this one."""

    name: Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]
    url: Annotated[str, Meta(min_length=1, max_length=URL_CHARS_MAX)]
    on: Annotated[list[WebhookKind], Meta(min_length=1, max_length=len(WebhookKind))]
    workflow: Annotated[str, Meta(min_length=1, max_length=512)] | None = None
    by: Word | None = None


class WebhookShown(msgspec.Struct, frozen=True, kw_only=True):
    """``due``, ``dead``: requests that wait to be sent, and that were given up."""

    name: str
    url: str
    on: list[str]
    workflow: str | None
    by: str | None
    created_at: Moment
    due: int
    dead: int


class WebhookMade(WebhookShown, frozen=True, kw_only=True):
    """``secret``: the key of the signatures; it is told this once."""

    secret: str


class WebhookPage(msgspec.Struct, frozen=True, kw_only=True):
    webhooks: list[WebhookShown]


class WebhookRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """``dropped``: requests that are not sent any more."""

    removed: str
    dropped: int


class WebhookTested(msgspec.Struct, frozen=True, kw_only=True):
    """``state``: due, it is tried again; dead, it was given up."""

    webhook: str
    id: str
    is_sent: bool
    state: Literal["sent", "due", "dead"]
    error: str | None


class DeadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """``body``: what was sent."""

    webhook: str
    id: str
    body: Any
    attempts: int
    error: str | None
    created_at: Moment


class DeadRequests(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest first."""

    dead: list[DeadRequest]


class DeadAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``by``: who wants it, where that is somebody else than who asks."""

    by: Word | None = None


class DeadRetried(msgspec.Struct, frozen=True, kw_only=True):
    webhook: str
    retried: int


class DeadDropped(msgspec.Struct, frozen=True, kw_only=True):
    webhook: str
    dropped: int


def webhook_shown(one: Webhook) -> WebhookShown:
    return WebhookShown(**_fields(one))


def webhook_made(one: Webhook, secret: str) -> WebhookMade:
    return WebhookMade(**_fields(one), secret=secret)


def webhook_tested(found: Tested) -> WebhookTested:
    return WebhookTested(
        webhook=found.webhook,
        id=found.event_id,
        is_sent=found.state == "sent",
        state=found.state,
        error=found.error,
    )


def dead_request(one: DeadDelivery) -> DeadRequest:
    return DeadRequest(
        webhook=one.webhook,
        id=one.event_id,
        body=msgspec.json.decode(one.body),
        attempts=one.attempts,
        error=one.error,
        created_at=iso_text(one.created_at),
    )


def _fields(one: Webhook) -> dict[str, Any]:
    return {
        "name": one.name,
        "url": one.url,
        "on": list(one.kinds),
        "workflow": one.workflow,
        "by": one.by,
        "created_at": iso_text(one.created_at),
        "due": one.due,
        "dead": one.dead,
    }
