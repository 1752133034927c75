"""Terms: under which a worker holds tokens, and how long it is patient with handlers that were told to end."""

from __future__ import annotations

import msgspec

from ..sdk.settings import CANCEL_GRACE_MS, DELIVERIES_MAX, LEASE_MS, STOP_GRACE_MS

LOOP_PATIENCE_MS = 300_000


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """``lease_ms``: renewed every third of it. ``deliveries_max``: how often a token is given to a handler that ends
    its worker each time. ``cancel_grace_ms``: between telling a handler that its run drains and cancelling it.
    ``stop_grace_ms``: between the request to stop and giving back what is not finished. ``loop_patience_ms``: how long
    the leases of others are renewed while one step blocks the event loop.
    """

    lease_ms: int = LEASE_MS
    deliveries_max: int = DELIVERIES_MAX
    cancel_grace_ms: int = CANCEL_GRACE_MS
    stop_grace_ms: int = STOP_GRACE_MS
    loop_patience_ms: int = LOOP_PATIENCE_MS
