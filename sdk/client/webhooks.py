"""Webhooks: what a client offers for them, as ``client.webhooks``. Supervisors send what is due."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import anyio
import msgspec

from ..errors import WebhookExists, WebhookInvalid, WebhookNotFound
from ..keys import Keys
from ..stores import webhooks as store
from ..stores.connection import Connection, Pool
from ..stores.operator_log import Operation, append_operations
from ..stores.webhooks import DeadDelivery, Webhook, WebhookKind
from ..unavailable import AsUnavailable
from .webhook_tests import WebhookTests

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
URL_CHARS_MAX = 2_000
TEST_S = 20.0


class Tested(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a request that was a test. ``due``: it is tried again. ``error``: why it was not taken."""

    webhook: str
    event_id: str
    state: Literal["sent", "due", "dead"]
    error: str | None


class Webhooks:
    """Those of the client's environment. Everything raises ServiceUnavailable where Postgres is away."""

    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._env = keys.env
        self._tests = WebhookTests(pool, keys.env)

    async def add(
        self, name: str, url: str, kinds: Sequence[str], *, workflow: str | None = None, by: str | None = None
    ) -> tuple[Webhook, str]:
        """Tell this URL from now on; return the webhook and the key of its signatures, which is told this once.

        Raises WebhookInvalid, WebhookExists.
        """
        _check(name, url, kinds, workflow)
        secret = f"whsec_{secrets.token_hex(32)}"
        content, chosen = secret.encode(), sorted(set(map(str, kinds)))
        with AsUnavailable():
            async with self._pool.acquire() as conn, conn.transaction():
                if not await store.add_webhook(conn, self._env, name, url, chosen, content, workflow=workflow, by=by):
                    raise WebhookExists(f"there is a webhook {name!r}")
                await self._note(conn, by, "webhook.added", name)
                return await self._find(conn, name), secret

    async def list(self) -> list[Webhook]:
        """Return all by name, each with how much waits to be sent and how much was given up."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                return await store.list_webhooks(conn, self._env)

    async def remove(self, name: str, *, by: str | None = None) -> int:
        """Tell it no more; return how many requests are not sent any more. Raises WebhookNotFound."""
        with AsUnavailable():
            async with self._pool.acquire() as conn, conn.transaction():
                found = await self._find(conn, name)
                await store.remove_webhook(conn, self._env, name)
                await self._note(conn, by, "webhook.removed", name)
        return found.due + found.dead

    async def test(self, name: str, *, timeout_s: float = TEST_S) -> Tested:
        """Have a supervisor send a request of the type test; return when it was tried, or nobody has in that time.

        Raises WebhookNotFound.
        """
        event_id = f"test:{secrets.token_hex(8)}"
        body = msgspec.json.encode({"id": event_id, "type": "test", "env": self._env}).decode()
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                await self._find(conn, name)
                await store.tell_a_test(conn, self._env, name, event_id, body)
            with anyio.move_on_after(timeout_s):
                found = await self._tests.tried(name, event_id)
                return Tested(webhook=name, event_id=event_id, state=found.state, error=found.error)
        return Tested(webhook=name, event_id=event_id, state="due", error="no supervisor has sent it")

    async def dead(self, name: str | None = None) -> Sequence[DeadDelivery]:
        """Return what was given up, the oldest first, at most ``DEAD_MAX``. Raises WebhookNotFound."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                if name is not None:
                    await self._find(conn, name)
                return await store.list_dead(conn, self._env, name)

    async def retry_dead(self, name: str, *, by: str | None = None) -> int:
        """Send all that was given up again; return how many. Raises WebhookNotFound."""
        with AsUnavailable():
            async with self._pool.acquire() as conn, conn.transaction():
                await self._find(conn, name)
                await self._note(conn, by, "webhook.dead_retried", name)
                return await store.retry_dead(conn, self._env, name)

    async def drop_dead(self, name: str, *, by: str | None = None) -> int:
        """Forget all that was given up; return how many. Raises WebhookNotFound."""
        with AsUnavailable():
            async with self._pool.acquire() as conn, conn.transaction():
                await self._find(conn, name)
                await self._note(conn, by, "webhook.dead_dropped", name)
                return await store.drop_dead(conn, self._env, name)

    async def _find(self, conn: Connection, name: str) -> Webhook:
        found = await store.list_webhooks(conn, self._env, name) if NAME.fullmatch(name) else []
        if not found:
            raise WebhookNotFound(f"there is no webhook {name!r:.200}")
        return found[0]

    async def _note(self, conn: Connection, by: str | None, action: str, name: str) -> None:
        await append_operations(conn, self._env, [Operation(by=by or "", action=action, target=name, result="done")])


def _check(name: str, url: str, kinds: Sequence[str], workflow: str | None) -> None:
    """Raises WebhookInvalid."""
    if not NAME.fullmatch(name):
        hint = "1 to 64 of a-z, 0-9, - and _, the first a letter or digit"
        raise WebhookInvalid(f"{name!r:.200} is no name of a webhook", hint=hint)
    if not _is_url(url):
        hint = "for example https://example.com/hooks/courante; a name and a password do not belong in it"
        raise WebhookInvalid("the URL cannot be used", hint=hint)
    known = [str(kind) for kind in WebhookKind]
    if not kinds or not set(kinds) <= set(known):
        raise WebhookInvalid(f"it is told of one or more of {', '.join(known)}")
    if workflow is not None and WebhookKind.ALERT in kinds:
        raise WebhookInvalid("alerts are about the environment, not about one workflow")


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        is_whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_whole and "@" not in parts.netloc and url.isprintable() and " " not in url and len(url) <= URL_CHARS_MAX
