"""Logins as they travel."""

from __future__ import annotations

import msgspec

from ...sdk.access.scopes import Principal, Scope
from .moments import Moment


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key``: of the API, whole."""

    key: str


class SessionShown(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, and what he may. ``is_session``: by a cookie. ``csrf``: what its unsafe requests bear in X-CSRF-Token.

    ``expires_at``: of the session; null where there is none.
    """

    name: str
    env: str
    scopes: list[Scope]
    is_session: bool
    csrf: str | None
    expires_at: Moment | None


class LoggedOut(msgspec.Struct, frozen=True, kw_only=True):
    """``ok``: always true; the cookie is worth nothing any more."""

    ok: bool = True


def session_shown(principal: Principal, csrf: str | None = None, expires_at: Moment | None = None) -> SessionShown:
    return SessionShown(
        name=principal.name,
        env=principal.env,
        scopes=[scope for scope in Scope if principal.may(scope)],
        is_session=csrf is not None,
        csrf=csrf,
        expires_at=expires_at,
    )
