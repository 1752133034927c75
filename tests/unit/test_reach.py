"""Which addresses a step may call."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from courante.sdk.http.reach import AddressRefused, not_public, read_reach
from courante.sdk.outcomes.failures import classify

REFUSED = """127.0.0.1 127.1.2.3 0.0.0.0 10.1.2.3 172.16.0.1 172.31.255.255 192.168.1.1 169.254.169.254 100.64.0.1
    100.127.255.255 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 224.0.0.1 240.0.0.1 255.255.255.255
    ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12:3456::1 fec0::1 ff02::1 2001:db8::1
    ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::a9fe:a9fe
    64:ff9b:1::1 2002:7f00:1:: 2002:a00:1::""".split()
PUBLIC = "8.8.8.8 1.1.1.1 172.32.0.1 100.128.0.1 2606:4700::1111 ::ffff:8.8.8.8 64:ff9b::808:808".split()


@pytest.mark.parametrize("address", REFUSED)
def test_what_is_not_public_is_refused(address: str) -> None:
    """And no other try would help."""
    with pytest.raises(AddressRefused, match="http_allow") as raised:
        read_reach("").check("shop.example", address, 80)
    assert classify(raised.value).is_final


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_called(address: str) -> None:
    """Also those of IPv4 in the form of IPv6."""
    assert not_public(ip_address(address)) == ""
    read_reach("").check("shop.example", address, 443)


@pytest.mark.parametrize(
    ("allow", "host", "address", "port", "permits"),
    [
        ("10.0.0.0/8", "a", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "a", "11.1.2.3", 80, True),
        ("10.0.0.0/8", "a", "192.168.0.1", 80, False),
        ("10.0.0.0/8:8080", "a", "10.1.2.3", 8080, True),
        ("10.0.0.0/8:8080", "a", "10.1.2.3", 80, False),
        ("127.0.0.1", "a", "127.0.0.1", 1, True),
        ("127.0.0.1", "a", "127.0.0.2", 1, False),
        ("127.0.0.1", "a", "::ffff:127.0.0.1", 1, False),
        ("[::1]:80", "a", "::1", 80, True),
        ("[::1]:80", "a", "::1", 81, False),
        ("::1", "a", "::1", 81, True),
        ("billing.internal", "billing.internal", "10.0.0.1", 80, True),
        ("billing.internal", "Billing.Internal.", "10.0.0.1", 80, True),
        ("billing.internal", "xbilling.internal", "10.0.0.1", 80, False),
        ("*.internal", "billing.internal", "10.0.0.1", 80, True),
        ("*.internal", "internal", "10.0.0.1", 80, False),
        ("shop:8443, billing", "shop", "10.0.0.1", 8443, True),
        ("shop:8443, billing", "shop", "10.0.0.1", 443, False),
        ("*", "a", "169.254.169.254", 80, True),
        ("", "a", "127.0.0.1", 80, False),
    ],
)
def test_a_setting_allows_more(allow: str, host: str, address: str, port: int, permits: bool) -> None:
    """Networks, addresses and hosts, each at one port or at all of them."""
    reach = read_reach(allow)
    if permits:
        reach.check(host, address, port)
    else:
        with pytest.raises(AddressRefused):
            reach.check(host, address, port)


@pytest.mark.parametrize("allow", ["10.0.0.0/40", "10.0.0.1/8", "a/b", "shop:http", "shop:0", "[::1", "1.2.3", "sh op"])
def test_what_is_no_place_is_refused(allow: str) -> None:
    """With the part that is wrong."""
    with pytest.raises(ValueError, match=r"is no|has no|port"):
        read_reach(f"8.8.8.8, {allow}")
