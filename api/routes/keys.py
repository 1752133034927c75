"""Keys of this API: made, listed and revoked."""

from __future__ import annotations

import msgspec

from ...sdk.access import Scope
from ..bodies import NoBody, NoQuery
from ..route import Answer, Asked, Routes
from ..wire.keys import KeyAsked, KeyMade, KeyPage, KeyShown, key_made, key_page, key_shown
from .runs import By

routes = Routes("keys")


class Listed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``all``: also those that have expired or were revoked."""

    all: bool = False


@routes.get("/v1/keys", scope=Scope.ADMIN)
async def list_(asked: Asked[Listed, NoBody]) -> KeyPage:
    """List keys, without what proves them."""
    return key_page(await asked.backend.client.access.list_keys(is_all=asked.query.all))


@routes.post("/v1/keys", scope=Scope.ADMIN, statuses=(201,), errors=("input_invalid", "api_key_exists"))
async def create(asked: Asked[NoQuery, KeyAsked]) -> Answer[KeyMade]:
    """Make a key; the answer has it, this once."""
    body = asked.body
    made, text = await asked.backend.client.access.create_key(
        body.name, body.scopes, expires_at=body.expires_at, by=asked.by(body.by)
    )
    return Answer(key_made(made, text), 201)


@routes.delete("/v1/keys/{key}", scope=Scope.ADMIN, errors=("api_key_not_found", "input_invalid"))
async def revoke(asked: Asked[By, NoBody]) -> KeyShown:
    """Revoke a key, by its id or name; once more changes nothing. Servers refuse it within ten seconds.

    A whole key is refused: it would stand in the logs of whatever is on the way.
    """
    return key_shown(await asked.backend.client.access.revoke_key(asked.at("key"), by=asked.by(asked.query.by)))
