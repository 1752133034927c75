"""Alerts: what is wrong now and only a person can change. A row stands as long as it is so."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from .connection import Connection
from .queries import load_queries
from .webhooks import tell_of_alerts

_sql = load_queries("alerts")


class AlertKind(StrEnum):
    RUN_STUCK = "run.stuck"
    REDIS_UNSAFE = "redis.unsafe"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """``subject``: a run, or the code of a problem. ``raised_at``: when somebody noticed; None before it is stored."""

    kind: AlertKind
    subject: str
    message: str
    since: datetime
    raised_at: datetime | None = None


async def replace_alerts(conn: Connection, env: str, kind: AlertKind, alerts: Sequence[Alert]) -> None:
    """Let exactly these alerts of a kind stand. One transaction; several supervisors may do it at once."""
    subjects = [alert.subject for alert in alerts]
    async with conn.transaction():
        messages, since = [alert.message for alert in alerts], [alert.since for alert in alerts]
        await conn.execute(_sql["raise_alerts"], env, str(kind), subjects, messages, since)
        await conn.execute(_sql["clear_alerts"], env, str(kind), subjects)
        await tell_of_alerts(conn, env, str(kind), subjects)


async def list_alerts(conn: Connection, env: str, *, subject: str | None = None, limit: int = 100) -> list[Alert]:
    """Return alerts, the longest-lasting first; only of one subject where it is named."""
    return [
        Alert(
            kind=AlertKind(row["kind"]),
            subject=row["subject"],
            message=row["message"],
            since=row["since"],
            raised_at=row["raised_at"],
        )
        for row in await conn.fetch(_sql["list_alerts"], env, subject, limit)
    ]
