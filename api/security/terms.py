"""Terms: what the gate allows. Sizes in bytes, times in seconds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...sdk.client.access import SESSION_S
from ...sdk.settings import API_BODY_VALUES_MAX

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
MIB = 1024 * 1024


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """``is_open``: no key is needed. ``hosts``: names under which it may be called; None: any.

    ``body_bytes_max``: of a request whose sender is known. ``stranger_bytes_max``: of any other; a login fits.
    ``depth_max``: of objects and lists inside each other; ``values_max``: in all of them together; ``members_max``: of
    one object. ``silence_s``, ``bytes_per_s_min``: a body comes at least so fast, and may be late by the silence once.
    ``failures_max``: wrong keys from one address, of which one is forgiven each ``failure_s``. ``requests_per_s``: of
    one key, twice as many at once. ``stranger_requests_per_s``: of one address without a key, where one is needed.
    ``streams_max``: to which one key may listen at once. ``trust_s``: how long a key that was in force is not looked up
    again.
    """

    is_open: bool = False
    hosts: frozenset[str] | None = None
    body_bytes_max: int = 16 * MIB
    stranger_bytes_max: int = 16 * 1024
    depth_max: int = 100
    values_max: int = API_BODY_VALUES_MAX
    members_max: int = 100_000
    silence_s: float = 10.0
    bytes_per_s_min: int = 16 * 1024
    failures_max: int = 10
    failure_s: float = 10.0
    requests_per_s: int = 1_000
    stranger_requests_per_s: int = 100
    streams_max: int = 2_000
    trust_s: float = 5.0
    session_s: float = SESSION_S


def host_names(bound: str, given: Iterable[str], *, is_loopback: bool) -> frozenset[str] | None:
    """Return the names under which the API may be called.

    On a loopback address only names of this machine: a page of somebody else's, whose name is made to mean this
    address, could otherwise ask. On another one every name, unless some are given.
    """
    named = frozenset(_spelled(name) for name in given)
    if not is_loopback and not named:
        return None
    return LOOPBACK_NAMES | named | {_spelled(bound)}


def _spelled(name: str) -> str:
    """As it stands in the header Host: lower case, an IPv6 address in brackets."""
    name = name.strip().lower()
    return f"[{name}]" if ":" in name and not name.startswith("[") else name
