"""Serving: the gate and the server's options, as the settings say."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from ...sdk.client.client import Client
from ...sdk.http.reach import read_networks
from ...sdk.settings import Settings
from .gate import Asgi, Gate, Note
from .protocol import Limits, make_protocol
from .terms import Terms, host_names

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def guard(
    app: Asgi, client: Client, settings: Settings, *, is_open: bool, is_loopback: bool, note: Note | None = None
) -> Gate:
    """Put the gate in front of an application. note: see ``Gate``."""
    terms = Terms(
        is_open=is_open,
        hosts=host_names(settings.api_host, _words(settings.api_hosts), is_loopback=is_loopback),
        body_bytes_max=settings.api_body_bytes_max,
        values_max=settings.api_body_values_max,
        requests_per_s=settings.api_requests_per_s,
        session_s=settings.api_session_s,
    )
    return Gate(app, client.access, client.operators, settings.env, terms, note)


def server_options(settings: Settings) -> dict[str, Any]:
    """Return what ``uvicorn.Config`` is to be told. What a client says of others is believed of named proxies only."""
    proxies = read_networks(settings.api_proxies or "")
    limits = Limits(
        connections_max=settings.api_connections_max,
        address_connections_max=settings.api_address_connections_max,
        uncounted=(*LOOPBACK, *proxies),
    )
    return {
        "http": make_protocol(limits),
        "ws": "none",
        "proxy_headers": bool(proxies),
        "forwarded_allow_ips": list(map(str, proxies)),
    }


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
