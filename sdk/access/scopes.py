"""Scopes: what a key allows, and the principal that a request is made by."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec


class Scope(StrEnum):
    """READ: look at everything. SUBMIT: start runs. OPERATE: steer, repair and schedule them.

    APPROVE: decide what waits for somebody. ADMIN: register workflows, look at who did what; and all of the others.
    """

    READ = "read"
    SUBMIT = "submit"
    OPERATE = "operate"
    APPROVE = "approve"
    ADMIN = "admin"


ALL_SCOPES = frozenset(Scope)
ANONYMOUS = "anonymous"


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks. ``name``: that of the key. ``key_id``: None where no key was needed.

    ``session``: a digest of the session that the request belongs to, None where the key itself was sent.
    """

    name: str
    scopes: frozenset[Scope]
    env: str
    key_id: str | None
    session: str | None = None

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes


def granted(scopes: Iterable[str]) -> frozenset[Scope]:
    """Return what the scopes of a key come to: with admin all of them. Raises ValueError for a word that is none."""
    found = frozenset(Scope(word) for word in scopes)
    return ALL_SCOPES if Scope.ADMIN in found else found


def anonymous(env: str) -> Principal:
    """Who asks where no key is needed: he may do everything."""
    return Principal(name=ANONYMOUS, scopes=ALL_SCOPES, env=env, key_id=None)
