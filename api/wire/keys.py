"""API keys as they travel; a key itself only where it is made."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ...sdk.access.scopes import Scope
from ...sdk.client.access import NAME_CHARS_MAX
from ...sdk.stores.api_keys import ApiKey
from .commands import Word
from .moments import Moment, moment


class KeyAsked(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``name``: of a person or a program; it stands as the author of all that the key is used for.

    ``scopes``: what it allows; admin stands for all. ``expires_at``: ISO 8601 with an offset; left out, never.
    """

    name: Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
    scopes: Annotated[list[Scope], Meta(min_length=1, max_length=len(Scope))]
    expires_at: Annotated[datetime, Meta(tz=True)] | None = None
    by: Word | None = None


class KeyShown(msgspec.Struct, frozen=True, kw_only=True):
    """``id``: its beginning. ``used_at``: to five minutes, null before the first use."""

    id: str
    name: str
    scopes: list[str]
    created_by: str | None
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None
    revoked_by: str | None
    used_at: Moment | None


class KeyMade(KeyShown, frozen=True, kw_only=True):
    """``key``: the whole of it; it is told this once."""

    key: str


class KeyPage(msgspec.Struct, frozen=True, kw_only=True):
    """The oldest first."""

    keys: list[KeyShown]


def key_shown(key: ApiKey) -> KeyShown:
    return KeyShown(**_fields(key))


def key_made(key: ApiKey, text: str) -> KeyMade:
    return KeyMade(**_fields(key), key=text)


def key_page(found: Iterable[ApiKey]) -> KeyPage:
    return KeyPage(keys=[key_shown(key) for key in found])


def _fields(key: ApiKey) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.structs.asdict(key)
    times = ("created_at", "expires_at", "revoked_at", "used_at")
    return fields | {"scopes": list(key.scopes)} | {name: moment(fields[name]) for name in times}
