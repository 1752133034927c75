"""Reach: which addresses steps may call. Public ones, and what the setting ``http_allow`` names. Pure.

Everything that is not a public unicast address is refused: loopback, private and link-local networks (there the
metadata of clouds live), shared, reserved, unspecified and multicast ones, also where an IPv6 address holds one.

Through a proxy (setting ``http_proxy``) it is the proxy that resolves names, so that no address can be checked here:
there is nothing but what ``http_allow`` names.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias
from urllib.parse import urlsplit

from ..urls import url_fault
from ..user_errors import FatalError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_NAT64 = ip_network("64:ff9b::/96")
_COMPATIBLE = ip_network("::/96")
_SPECIAL = tuple(map(ip_network, ("100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "fec0::/10", "64:ff9b:1::/48")))
"""Not public whatever the tables of this Python say."""
EVERYTHING = "*"
ALLOW_VARIABLE = "COURANTE_HTTP_ALLOW"
PROXY_VARIABLE = "COURANTE_HTTP_PROXY"


class AddressRefused(FatalError):
    """Where a step would call is not allowed. No other try would help."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """``port``: 0 for any. One of ``network`` and ``host`` is there, but for the rule that allows everything."""

    network: Network | None
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Reach:
    """What may be called beside public addresses. Made by ``read_reach``.

    ``proxy``: a URL that every call goes through, which then may only go where a rule names it; empty: none.
    """

    rules: tuple[_Rule, ...] = ()
    proxy: str = ""

    def check(self, host: str, address: str, port: int) -> None:
        """Raise AddressRefused unless this address, which ``host`` has led to, may be called at this port."""
        found = ip_address(address.partition("%")[0])
        reason = not_public(found)
        if reason and not any(_permits(rule, host.lower().rstrip("."), found, port) for rule in self.rules):
            shown = host if host == address else f"{host} ({address})"
            raise AddressRefused(f"{shown} at port {port} is {reason}: the setting http_allow may permit it")

    def check_named(self, host: str, port: int) -> None:
        """Raise AddressRefused unless a rule names this host at this port. For calls that a proxy resolves."""
        name = host.lower().rstrip(".")
        if not any(_permits(rule, name, _literal(name), port) for rule in self.rules):
            told = f"{host} at port {port} is named by nothing: through a proxy only what http_allow names is called"
            raise AddressRefused(told)


def read_reach(text: str, proxy: str = "") -> Reach:
    """Read ``10.0.0.0/8, billing.internal:8443, *.shop.internal``. Raises ValueError that names the part."""
    return Reach(tuple(_rule(part.strip()) for part in text.split(",") if part.strip()), read_proxy(proxy))


def read_proxy(text: str) -> str:
    """Return the URL of a proxy as it is, or nothing. Raises ValueError."""
    if not text:
        return ""
    problem, _ = url_fault(text, ("http",), is_alone=True)
    if problem or urlsplit(text).port is None or urlsplit(text).path:
        raise ValueError(problem or f"{text!r} is no http://host:port")
    return text


def reach_of_proxy(proxy: str) -> Reach:
    """The proxy itself, wherever it is: its operator has named it."""
    return read_reach(urlsplit(proxy).netloc)


def read_networks(text: str) -> tuple[Network, ...]:
    """Read ``10.0.0.5, 10.1.0.0/16``. Raises ValueError that names the part, also for an address beside its network."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())


def not_public(address: Address) -> str:
    """Return what is wrong with an address, nothing for a public one."""
    inner = _inner(address)
    if inner is not None:
        reason = not_public(inner)
        return f"{reason} inside of an IPv6 address" if reason else ""
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified or address.is_reserved:
        return "a reserved address"
    if not address.is_global or any(address in network for network in _SPECIAL):
        return "a private address"
    return ""


def _inner(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 one leads to: mapped, compatible, NAT64, 6to4, Teredo."""
    if isinstance(address, IPv4Address):
        return None
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    if address.sixtofour is not None:
        return address.sixtofour
    return address.teredo[1] if address.teredo is not None else None


def _rule(part: str) -> _Rule:
    if part == EVERYTHING:
        return _Rule(None, EVERYTHING, 0)
    place, port = _split_port(part)
    try:
        return _Rule(ip_network(place), "", port)
    except ValueError:
        name = place.lower().rstrip(".")
        labels = name.removeprefix("*.").split(".")
        if "/" in place or not all(each and each.replace("-", "").replace("_", "").isalnum() for each in labels):
            raise ValueError(f"{part!r} is no network, address or name of a host") from None
        if labels[-1].isdigit():
            raise ValueError(f"{part!r} is no address") from None
        return _Rule(None, name, port)


def _split_port(part: str) -> tuple[str, int]:
    """``[::1]:80`` and ``host:80``; an IPv6 address without brackets has no port."""
    if part.startswith("["):
        place, bracket, behind = part[1:].partition("]")
        if not bracket or (behind and not behind.startswith(":")):
            raise ValueError(f"{part!r} is no address")
        port = behind[1:]
    elif part.count(":") == 1:
        place, _, port = part.partition(":")
    else:
        return part, 0
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ValueError(f"{part!r} has no port")
    return place, int(port or 0)


def _literal(host: str) -> Address | None:
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        return None


def _permits(rule: _Rule, host: str, address: Address | None, port: int) -> bool:
    if rule.host == EVERYTHING:
        return True
    if rule.port not in (0, port):
        return False
    if rule.network is not None:
        return address is not None and rule.network.version == address.version and address in rule.network
    if rule.host.startswith("*."):
        return host.endswith(rule.host[1:])
    return host == rule.host
