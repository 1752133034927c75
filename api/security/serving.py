"""Serving: the gate and the server's options, as the settings say."""

from __future__ import annotations

from typing import Any

from ...sdk.client import Client
from ...sdk.settings import Settings
from .gate import Asgi, Gate
from .protocol import Limits, make_protocol
from .terms import Terms, host_names


def guard(app: Asgi, client: Client, settings: Settings, *, is_open: bool, is_loopback: bool) -> Gate:
    """Put the gate in front of an application."""
    terms = Terms(
        is_open=is_open,
        hosts=host_names(settings.api_host, _words(settings.api_hosts), is_loopback=is_loopback),
        body_bytes_max=settings.api_body_bytes_max,
        requests_per_s=settings.api_requests_per_s,
        session_s=settings.api_session_s,
    )
    return Gate(app, client.access, client.operators, settings.env, terms)


def server_options(settings: Settings) -> dict[str, Any]:
    """Return what ``uvicorn.Config`` is to be told. What a client says of others is believed of named proxies only."""
    proxies = _words(settings.api_proxies)
    return {
        "http": make_protocol(Limits(connections_max=settings.api_connections_max)),
        "ws": "none",
        "proxy_headers": bool(proxies),
        "forwarded_allow_ips": proxies,
    }


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]
