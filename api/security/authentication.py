"""Authentication: whose key or session a request bears.

What was in force is believed for a few seconds, so that not each request asks Postgres; nothing else is remembered, so
a key counts from the moment it is made, and a revoked one ends within those seconds.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import anyio
import structlog

from ...sdk.access.scopes import Principal
from ...sdk.access.secret_text import digest
from ...sdk.client.access import Access, Session
from ..problems import Refused
from .buckets import Buckets, Clock, neighbourhood
from .headers import all_of, cookie_of
from .terms import Terms

CREDENTIALS_MAX = 10_000
log = structlog.get_logger()
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Credential(NamedTuple):
    """What a request bears. ``text``: the key, or the token of a session; it is not shown."""

    text: str
    is_session: bool

    def __repr__(self) -> str:
        return f"Credential(is_session={self.is_session})"

    @property
    def known_as(self) -> bytes:
        """What is remembered of it. A key is no session's token, and a token no key, whoever sends it as one."""
        return (b"session " if self.is_session else b"key ") + digest(self.text)


class _Believed(NamedTuple):
    principal: Principal
    until: datetime | None
    stale_at: float


class Authentication:
    """For one environment. Safe for any number of tasks."""

    def __init__(self, access: Access, env: str, terms: Terms, clock: Clock = time.monotonic) -> None:
        self._access = access
        self._env = env
        self._terms = terms
        self._clock = clock
        self._believed: OrderedDict[bytes, _Believed] = OrderedDict()
        self._asking: dict[bytes, anyio.Lock] = {}
        self._failures = Buckets(terms.failures_max, 1 / terms.failure_s, clock)
        self._lookups = Buckets(2 * terms.stranger_requests_per_s, terms.stranger_requests_per_s, clock)

    def cookie_name(self, scope: dict[str, Any]) -> str:
        """Environments on several ports of one machine share its cookies, so each has a name of its own."""
        prefix = "__Host-" if scope.get("scheme") == "https" else ""
        return f"{prefix}courante_session_{self._env}"

    def read(self, scope: dict[str, Any]) -> Credential | None:
        """Return what the request bears; the header goes before the cookie. Raises Refused for what is no bearer."""
        given = all_of(scope, b"authorization")
        if given:
            kind, _, text = given[0].partition(" ")
            if len(given) > 1 or kind.lower() != "bearer" or not text.strip():
                hint = "send one header Authorization: Bearer KEY"
                raise Refused("unauthenticated", "what stands in Authorization is no key", hint=hint, headers=CHALLENGE)
            return Credential(text.strip(), is_session=False)
        token = cookie_of(scope, self.cookie_name(scope))
        return Credential(token, is_session=True) if token else None

    async def find(self, credential: Credential, address: str) -> Principal | None:
        """Return who it is; None for a session that is over. Raises Refused for a key that is not in force."""
        found = self._recall(credential)
        if found is not None:
            return found
        if credential.known_as not in self._believed:  # who shares his address with one who guesses is not locked out
            self._check_failures(address)
            wait_s = self._lookups.take(neighbourhood(address))
            if wait_s:
                raise too_many("too many keys that nobody knows yet come from this address", wait_s)
        found = await self._look_up(credential)
        if found is None and not credential.is_session:
            raise self._wrong(address)
        return found

    async def is_in_force(self, credential: Credential) -> bool:
        """Return whether what was in force at the beginning of a long answer still is."""
        return (self._recall(credential) or await self._look_up(credential)) is not None

    async def log_in(self, key: str, address: str) -> Session:
        """Open a session. Raises Refused."""
        self._check_failures(address)
        opened = await self._access.open_session(key, lasts_s=self._terms.session_s)
        if opened is None:
            raise self._wrong(address)
        return opened

    async def log_out(self, token: str) -> None:
        """Close a session, at once. Other processes believe it for a few seconds more."""
        await self._access.close_session(token)
        self._believed.pop(Credential(token, is_session=True).known_as, None)

    def _recall(self, credential: Credential) -> Principal | None:
        found = self._believed.get(credential.known_as)
        if found is None or found.stale_at <= self._clock():
            return None
        if found.until is not None and found.until <= datetime.now(UTC):
            return None
        return found.principal

    async def _look_up(self, credential: Credential) -> Principal | None:
        """Ask once for all requests that bear the same."""
        known_as = credential.known_as
        lock = self._asking.setdefault(known_as, anyio.Lock())
        try:
            async with lock:
                recalled = self._recall(credential)
                if recalled is not None:
                    return recalled
                ask = self._access.find_by_session if credential.is_session else self._access.find_by_key
                stale_at = self._clock() + self._terms.trust_s
                found = await ask(credential.text)
                if found is None:
                    self._believed.pop(known_as, None)
                    return None
                self._believed[known_as] = _Believed(found[0], found[1], stale_at)
                self._believed.move_to_end(known_as)
                if len(self._believed) > CREDENTIALS_MAX:
                    self._believed.popitem(last=False)
                return found[0]
        finally:
            if not lock.statistics().tasks_waiting:
                self._asking.pop(known_as, None)

    def _check_failures(self, address: str) -> None:
        wait_s = self._failures.wait_s(neighbourhood(address))
        if wait_s:
            raise too_many("too many wrong keys have come from this address", wait_s)

    def _wrong(self, address: str) -> Refused:
        """A line for each: how many of them an address may have is bounded."""
        log.warning("key_refused", address=address)
        self._failures.take(neighbourhood(address))
        hint = "was it revoked, has it expired, or is it of another environment? 'courante keys list --all' says"
        return Refused("unauthenticated", "the key is not in force here", hint=hint, headers=CHALLENGE)


def too_many(detail: str, wait_s: float) -> Refused:
    seconds = max(1, math.ceil(wait_s))
    hint = f"ask again in {seconds} s"
    return Refused("rate_limited", detail, hint=hint, headers={"Retry-After": str(seconds)})
