"""Webhooks: who is told of what, and what is still to be sent.

What is to be sent is written in the transaction that writes what it is about, once for each webhook and event; it is
sent at least once, under the same id each time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal, NamedTuple

import msgspec

from ..sealing.payload_terms import PAYLOAD_TERMS
from ..sealing.sealing import seal_text, shown_text
from .connection import Connection
from .queries import load_queries

_sql = load_queries("webhooks")
_HOST = re.compile(r"[a-z]+://[^/?#]+", re.IGNORECASE)
DEAD_MAX = 200


class WebhookKind(StrEnum):
    """``run.ended``: however, also those that failed. ``run.failed``: FAILED or TIMED_OUT."""

    RUN_ENDED = "run.ended"
    RUN_FAILED = "run.failed"
    APPROVAL_NEEDED = "approval.needed"
    ALERT = "alert"


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """``workflow``: None for all. ``due``, ``dead``: what waits to be sent, and what was given up.

    ``url``: for people. What comes after its host may be a secret, and is masked.
    """

    name: str
    url: str
    kinds: tuple[str, ...]
    workflow: str | None
    by: str | None
    created_at: datetime
    due: int = 0
    dead: int = 0


class RunNews(NamedTuple):
    """Something about a run that others may want to be told. ``error``: its type."""

    run_id: str
    seq: int
    at: datetime
    kind: str
    status: str = ""
    step: str = ""
    error: str = ""


class Delivery(NamedTuple):
    """One that is to be sent now. ``attempts``: with this one. ``url``, ``secret``: as they are stored."""

    webhook: str
    event_id: str
    body: str
    attempts: int
    url: str
    secret: bytes


class DeliveryState(NamedTuple):
    """``error``: the last one."""

    state: Literal["due", "sent", "dead"]
    attempts: int
    error: str | None


class DeadDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """One that was given up. ``body``: the JSON that was sent."""

    webhook: str
    event_id: str
    body: str
    attempts: int
    error: str | None
    created_at: datetime


async def add_webhook(
    conn: Connection,
    env: str,
    name: str,
    url: str,
    kinds: Sequence[str],
    secret: bytes,
    *,
    workflow: str | None,
    by: str | None,
) -> bool:
    """Return whether it is new; one of that name stays as it is."""
    kept = seal_text(url), list(kinds), workflow, PAYLOAD_TERMS.encode(secret)
    return await conn.fetchval(_sql["add_webhook"], env, name, *kept, by) is not None


async def list_webhooks(conn: Connection, env: str, name: str | None = None) -> list[Webhook]:
    rows = await conn.fetch(_sql["list_webhooks"], env, name)
    return [msgspec.convert({**row, "url": masked_url(shown_text(row["url"]))}, Webhook) for row in rows]


def masked_url(url: str) -> str:
    """Return a URL with ``***`` for what comes after its host, if anything does: many a service has its token there."""
    host = _HOST.match(url)
    return url if host is None or host[0] == url.rstrip("/") else f"{host[0]}/***"


async def remove_webhook(conn: Connection, env: str, name: str) -> None:
    """With what was not sent."""
    await conn.execute(_sql["remove_webhook"], env, name)


async def tell_of_runs(conn: Connection, env: str, news: Sequence[RunNews]) -> None:
    """Write what is to be sent, in the caller's transaction. The runs have their rows.

    Where there is no webhook it costs one look for one, however much there is to say.
    """
    if news and await conn.fetchval(_sql["has_webhooks"], env):
        await conn.execute(_sql["tell_of_runs"], env, *map(list, zip(*news, strict=True)))


async def tell_of_alerts(conn: Connection, env: str, kind: str, subjects: list[str]) -> None:
    """Write what is to be sent of alerts that stand, once for each time that one was raised."""
    if subjects:
        await conn.execute(_sql["tell_of_alerts"], env, kind, subjects)


async def tell_a_test(conn: Connection, env: str, name: str, event_id: str, body: str) -> None:
    await conn.execute(_sql["tell_a_test"], env, name, event_id, body)


async def take_due(
    conn: Connection, env: str, limit: int, hold_ms: int, of_one: int, held: Mapping[str, int]
) -> list[Delivery]:
    """Take what is to be sent now, the first of each webhook before the second of any. hold_ms: after so long without a
    word another takes it.

    of_one: so many of one webhook, with those of it that the caller has already, which count as its first: ``held``.
    """
    rows = await conn.fetch(_sql["take_due"], env, limit, hold_ms, of_one, list(held), list(held.values()))
    return [Delivery(*row) for row in rows]


async def mark_sent(conn: Connection, env: str, delivery: Delivery) -> None:
    await conn.execute(_sql["mark_sent"], env, delivery.webhook, delivery.event_id)


async def mark_failed(conn: Connection, env: str, delivery: Delivery, error: str, again_ms: int | None) -> None:
    """again_ms: from now; None: it is given up."""
    await conn.execute(_sql["mark_failed"], env, delivery.webhook, delivery.event_id, error, again_ms)


async def drop_sent(conn: Connection, keep_s: int) -> None:
    await conn.execute(_sql["drop_sent"], keep_s)


async def read_deliveries(
    conn: Connection, env: str, places: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], DeliveryState]:
    """Return how these stand, by webhook and id of the event, without those that are not there."""
    rows = await conn.fetch(_sql["read_deliveries"], env, [name for name, _ in places], [id for _, id in places])
    return {(name, event_id): DeliveryState(*state) for name, event_id, *state in rows}


async def list_dead(conn: Connection, env: str, name: str | None = None) -> list[DeadDelivery]:
    """The oldest first, at most ``DEAD_MAX``."""
    return [
        msgspec.convert(dict(row), DeadDelivery) for row in await conn.fetch(_sql["list_dead"], env, name, DEAD_MAX)
    ]


async def retry_dead(conn: Connection, env: str, name: str) -> int:
    """Send all of a webhook that were given up again; return how many."""
    return int((await conn.execute(_sql["retry_dead"], env, name)).split()[-1])


async def drop_dead(conn: Connection, env: str, name: str) -> int:
    """Forget all of a webhook that were given up; return how many."""
    return int((await conn.execute(_sql["drop_dead"], env, name)).split()[-1])
