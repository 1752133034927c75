"""Metering: what the API counts of its requests, for Prometheus. ``route``: as it is declared; empty where a request
has come to none: it was refused at the gate, or its path is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..sdk.metrics.exposition import AnySeries
from ..sdk.metrics.series import Series, Spreads
from .backend import Backend

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
OTHER = "other"


class Meter:
    """Of one server process. One event loop writes it; any thread may read."""

    def __init__(self) -> None:
        self._requests = Series(
            "courante_api_requests_total", "Requests that were answered.", "method", "route", "status"
        )
        self._seconds = Spreads(
            "courante_api_request_seconds", "From a request to the beginning of its answer.", "method", "route"
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer that begins."""
        method = method if method in METHODS else OTHER
        self._requests.add((method, route, str(status)))
        self._seconds.of((method, route)).add(seconds)

    def sources(self, backend: Backend) -> Iterable[AnySeries]:
        """All that is told at a scrape."""
        gauges = (
            ("courante_api_listeners", "Clients that are told what comes.", backend.listeners),
            ("courante_api_bundles", "Bundles for an audit that are on their way.", len(backend.exporting)),
        )
        pool = backend.client.pool
        size, idle = pool.get_size(), pool.get_idle_size()
        connections = Series("courante_api_postgres_connections", "Connections to Postgres.", "state", kind="gauge")
        connections.set({("busy",): size - idle, ("idle",): idle, ("possible",): pool.get_max_size()})
        made: list[AnySeries] = [self._requests, self._seconds, connections]
        for name, help, value in gauges:
            gauge = Series(name, help, kind="gauge")
            gauge.set({(): value})
            made.append(gauge)
        return made
