"""Webhooks: sends what is due, signed, and again until it is taken or given up. Several supervisors share the work.

At least once: whoever dies with one in hand leaves it to another after ``HOLD_MS``. Requests go where the setting
``http_allow`` permits, as those of nodes do; redirects are not followed, and of an answer only the status is read.
One that does not answer keeps no other waiting, and ten or fifty of them neither: of the room that is left, a hundred
requests in all, each webhook may take a tenth, and who has none on its way comes before who has some. So there is room
left until as many hang as there is room.
"""

from __future__ import annotations

import time
from collections import Counter
from http import HTTPStatus
from typing import TYPE_CHECKING

import anyio
import structlog

from ..sdk.errors import PayloadUnreadable
from ..sdk.sealing.payload_terms import PAYLOAD_TERMS
from ..sdk.sealing.sealing import open_text
from ..sdk.server_errors import SERVER_ERRORS
from ..sdk.stores.connection import Pool
from ..sdk.stores.webhooks import Delivery, drop_sent, mark_failed, mark_sent, take_due
from ..sdk.webhook_signing import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from ..sdk.http.client import Connections

HELD_MAX = 100
SHARES = 10
"""One webhook may have one part of so many of the room that is left."""
LOOK_S = 1.0
SEND_S = 15.0
HOLD_MS = 60_000
ATTEMPTS_MAX = 12
BACKOFF_MS = 5_000
BACKOFF_MS_MAX = 3_600_000
KEEP_S = 7 * 86_400
UPKEEP_S = 3_600.0
ERROR_CHARS_MAX = 300
log = structlog.get_logger()


class Webhooks:
    """Those of one environment. http_allow, http_proxy: the settings."""

    def __init__(self, pool: Pool, env: str, http_allow: str, http_proxy: str = "") -> None:
        self._pool = pool
        self._env = env
        self._way = (http_allow, http_proxy)
        self._dropped_at = -UPKEEP_S
        self._connections: Connections | None = None
        self._held: Counter[str] = Counter()
        self._has_room = anyio.Event()

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            async with anyio.create_task_group() as group:
                while True:
                    await self._turn(group)
                    with anyio.move_on_after(LOOK_S):
                        await self._has_room.wait()
        finally:
            if self._connections is not None:
                with anyio.CancelScope(shield=True), anyio.move_on_after(2):
                    await self._connections.shut()

    async def _turn(self, group: TaskGroup) -> None:
        self._has_room = anyio.Event()
        try:
            if anyio.current_time() - self._dropped_at >= UPKEEP_S:
                async with self._pool.acquire() as conn:
                    await drop_sent(conn, KEEP_S)
                self._dropped_at = anyio.current_time()
            await self.send(group)
        except SERVER_ERRORS as error:
            log.warning("webhooks_failed", error=str(error) or repr(error))

    async def send(self, group: TaskGroup) -> int:
        """Begin to send what is due now, as far as there is room; return how much that is."""
        begun = 0
        while room := HELD_MAX - self._held.total():
            most = (room + 1) // 2  # the share of each is smaller for what comes then
            async with self._pool.acquire() as conn:
                due = await take_due(conn, self._env, most, HOLD_MS, max(1, room // SHARES), self._held)
            for delivery in due:
                self._held[delivery.webhook] += 1
                group.start_soon(self._deliver, delivery)
            begun += len(due)
            if len(due) < most:
                break
        return begun

    async def _deliver(self, delivery: Delivery) -> None:
        try:
            error, is_hopeless = await self._post(delivery)
            await self._note(delivery, error, is_hopeless=is_hopeless)
        except SERVER_ERRORS as trouble:
            log.warning("webhooks_failed", event_id=delivery.event_id, error=str(trouble) or repr(trouble))
        finally:
            self._held[delivery.webhook] -= 1
            self._held += Counter()  # without those of which there is none
            self._has_room.set()

    async def _note(self, delivery: Delivery, error: str, *, is_hopeless: bool) -> None:
        async with self._pool.acquire() as conn:
            if not error:
                await mark_sent(conn, self._env, delivery)
                return
            again_ms: int | None = min(BACKOFF_MS_MAX, BACKOFF_MS * 2 ** (delivery.attempts - 1))
            if is_hopeless or delivery.attempts >= ATTEMPTS_MAX:
                again_ms = None
                log.error("webhook_given_up", webhook=delivery.webhook, event_id=delivery.event_id, error=error)
            await mark_failed(conn, self._env, delivery, error[:ERROR_CHARS_MAX], again_ms)

    async def _post(self, delivery: Delivery) -> tuple[str, bool]:
        """Return what was wrong, nothing where it was taken, and whether another try is of no use."""
        import httpx

        from ..sdk.http.client import READ_S, USER_AGENT, Connections
        from ..sdk.http.reach import AddressRefused, read_reach

        if self._connections is None:
            self._connections = Connections(read_reach(*self._way))
        body, now_s = delivery.body.encode(), int(time.time())
        try:
            secret, url = PAYLOAD_TERMS.decode(delivery.secret), open_text(delivery.url)
        except PayloadUnreadable as unreadable:
            return f"its URL or the key of its signatures cannot be read: {unreadable}", False
        headers = {
            "user-agent": USER_AGENT,
            "content-type": "application/json",
            ID_HEADER: delivery.event_id,
            TIMESTAMP_HEADER: str(now_s),
            SIGNATURE_HEADER: sign(secret, delivery.event_id, now_s, body),
        }
        timeout = httpx.Timeout(min(SEND_S, READ_S)).as_dict()
        try:
            request = httpx.Request("POST", url, headers=headers, content=body, extensions={"timeout": timeout})
            with anyio.fail_after(SEND_S):
                response = await self._connections.handle_async_request(request)
                await response.aclose()
        except (AddressRefused, httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeError) as error:
            return str(error), True  # the last one for names of hosts that no encoding of names takes
        except (httpx.TransportError, OSError) as error:
            return f"{type(error).__name__}: {error}", False
        if HTTPStatus.OK <= response.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return "", False
        return f"HTTP {response.status_code}", response.status_code == HTTPStatus.GONE
