"""Faces of a client over an API: keys, operators, pauses, cached outputs and webhooks, by the names that the engine's
client has for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from ...api.wire.cache import CachePage, Invalidate, InvalidateDone
from ...api.wire.keys import KeyAsked, KeyMade, KeyPage, KeyShown
from ...api.wire.operators import OperationsShown
from ...api.wire.pauses import PausePage
from ...api.wire.webhooks import (
    DeadAsked,
    DeadDropped,
    DeadRequests,
    DeadRetried,
    WebhookAsked,
    WebhookMade,
    WebhookPage,
    WebhookRemoved,
    WebhookShown,
    WebhookTested,
)
from ...sdk.access.scopes import Scope
from ...sdk.client.step_caching import Invalidated
from ...sdk.client.webhooks import Tested
from ...sdk.json_values import encode_value
from ...sdk.stores.api_keys import ApiKey
from ...sdk.stores.operator_log import KeptOperation, OperationPage
from ...sdk.stores.pauses import Pause
from ...sdk.stores.step_cache import StepCacheStats
from ...sdk.stores.webhooks import DeadDelivery, Webhook, WebhookKind
from .connection import Connection
from .converted import as_kind, when
from .paths import at


class ApiAccess:
    """See ``sdk.client.access.Access``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    async def create_key(
        self, name: str, scopes: Iterable[str], *, expires_at: datetime | None = None, by: str | None = None
    ) -> tuple[ApiKey, str]:
        body = KeyAsked(name=name, scopes=[Scope(scope) for scope in scopes], expires_at=expires_at, by=by)
        made = await self._api.post(at("keys"), body, KeyMade)
        return as_kind(made, ApiKey), made.key

    async def list_keys(self, *, is_all: bool = False) -> list[ApiKey]:
        found = await self._api.get(at("keys"), KeyPage, {"all": is_all})
        return [as_kind(key, ApiKey) for key in found.keys]

    async def revoke_key(self, word: str, *, by: str | None = None) -> ApiKey:
        return as_kind(await self._api.delete(at("keys", word), KeyShown, {"by": by}), ApiKey)


class ApiOperators:
    """See ``sdk.client.operators.Operators``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    async def list(
        self, *, limit: int = 50, cursor: str | None = None, by: str | None = None, since: datetime | None = None
    ) -> OperationPage:
        query = {"limit": limit, "cursor": cursor, "by": by, "since": when(since)}
        page = await self._api.get(at("operators"), OperationsShown, query)
        return OperationPage(
            operations=[as_kind(one, KeptOperation, number=0) for one in page.operations], next=page.next
        )


class ApiPausing:
    """See ``sdk.client.pausing.Pausing``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    async def list(self) -> list[Pause]:
        found = await self._api.get(at("pauses"), PausePage)
        return [as_kind(one, Pause, created_at=one.since) for one in found.pauses]


class ApiCache:
    """See ``sdk.client.step_caching.StepCaching``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    async def statistics(self, *, workflow: str = "", step: str = "") -> Sequence[StepCacheStats]:
        found = await self._api.get(at("cache"), CachePage, {"workflow": workflow, "step": step})
        return [as_kind(one, StepCacheStats) for one in found.steps]

    async def invalidate(
        self,
        *,
        key: str = "",
        workflow: str = "",
        step: str = "",
        older_than_ms: int = 0,
        is_all: bool = False,
        dry_run: bool = False,
    ) -> Invalidated:
        body = Invalidate(
            key=key, workflow=workflow, step=step, older_than_ms=older_than_ms, all=is_all, dry_run=dry_run
        )
        done = await self._api.post(at("cache", "invalidate"), body, InvalidateDone)
        return Invalidated(postgres=done.postgres, redis=done.redis, is_dry=dry_run)


class ApiWebhooks:
    """See ``sdk.client.webhooks.Webhooks``."""

    def __init__(self, connection: Connection) -> None:
        self._api = connection

    async def add(
        self, name: str, url: str, kinds: Sequence[str], *, workflow: str | None = None, by: str | None = None
    ) -> tuple[Webhook, str]:
        on = [WebhookKind(kind) for kind in kinds]
        made = await self._api.post(
            at("webhooks"), WebhookAsked(name=name, url=url, on=on, workflow=workflow, by=by), WebhookMade
        )
        return _webhook(made), made.secret

    async def list(self) -> list[Webhook]:
        return [_webhook(one) for one in (await self._api.get(at("webhooks"), WebhookPage)).webhooks]

    async def remove(self, name: str, *, by: str | None = None) -> int:
        return (await self._api.delete(at("webhooks", name), WebhookRemoved, {"by": by})).dropped

    async def test(self, name: str) -> Tested:
        told = await self._api.post(at("webhooks", name, "test"), {}, WebhookTested)
        return Tested(webhook=told.webhook, event_id=told.id, state=told.state, error=told.error)

    async def dead(self, name: str | None = None) -> Sequence[DeadDelivery]:
        found = await self._api.get(at("webhooks", "dead"), DeadRequests, {"webhook": name})
        return [as_kind(one, DeadDelivery, event_id=one.id, body=encode_value(one.body).decode()) for one in found.dead]

    async def retry_dead(self, name: str, *, by: str | None = None) -> int:
        path = at("webhooks", name, "dead", "retry")
        return (await self._api.post(path, DeadAsked(by=by), DeadRetried)).retried

    async def drop_dead(self, name: str, *, by: str | None = None) -> int:
        path = at("webhooks", name, "dead", "drop")
        return (await self._api.post(path, DeadAsked(by=by), DeadDropped)).dropped


def _webhook(told: WebhookShown) -> Webhook:
    return as_kind(told, Webhook, kinds=told.on)
