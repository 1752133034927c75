"""What the gate of the API is made of: buckets, how deep a body is, names, origins and cookies. No server, no clock."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.api.problems import Refused
from courante.api.security.bodies import Shape, shape_of
from courante.api.security.buckets import NAMES_MAX, Buckets, neighbourhood
from courante.api.security.forgery import check_host, check_origin, check_token
from courante.api.security.headers import PAGE_POLICY, STRICT_POLICY, cookie_of, guarded_headers
from courante.api.security.terms import host_names
from courante.sdk.access.secret_text import csrf_token

VALUES = st.recursive(
    st.none() | st.text(alphabet='[]{}"\\ab') | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(alphabet='[{"\\'), inner, max_size=3),
    max_leaves=20,
)


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def request(method: str = "POST", /, **headers: str | list[str]) -> dict[str, Any]:
    pairs = [
        (name.replace("_", "-").encode(), each.encode("latin-1"))
        for name, value in headers.items()
        for each in ([value] if isinstance(value, str) else value)
    ]
    return {"method": method, "headers": pairs, "scheme": "http"}


def depth_of(value: object) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth_of, cast("dict[str, object]", value).values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth_of, cast("list[object]", value)), default=0)
    return 0


def values_of(value: object) -> int:
    """An empty object or list counts as if it had one."""
    if isinstance(value, dict):
        value = list(cast("dict[str, object]", value).values())
    if not isinstance(value, list):
        return 0
    inner = cast("list[object]", value)
    return max(1, len(inner)) + sum(map(values_of, inner))


def members_of(value: object) -> int:
    if isinstance(value, dict):
        inner = list(cast("dict[str, object]", value).values())
        return max(len(inner), *map(members_of, inner), 0)
    return max(map(members_of, cast("list[object]", value)), default=0) if isinstance(value, list) else 0


@given(VALUES, st.booleans(), st.integers(0, 5), st.integers(0, 20), st.integers(0, 3))
def test_a_shape_is_that_of_the_value(value: object, is_ascii: bool, depth: int, values: int, members: int) -> None:
    """What is too much is told, and nothing else is. Brackets and quotes in strings are text."""
    enough = Shape(depth, values, members)
    found = shape_of(json.dumps(value, ensure_ascii=is_ascii).encode(), enough)
    truly = Shape(depth_of(value), values_of(value), members_of(value))
    assert found.is_within(enough) == truly.is_within(enough)
    if not found.is_within(enough):
        assert all(one <= other for one, other in zip(found, truly, strict=True))


@pytest.mark.parametrize(
    ("body", "shape"),
    [
        (b"[" * 1_000_000, Shape(1_000_000, 1_000_000, 0)),
        (b'{"a":' * 300_000, Shape(300_000, 300_000, 1)),
        (b"[]" * 1_000_000, Shape(1, 1_000_000, 0)),
        (b"[" + b"1," * 2_000_000, Shape(1, 2_000_001, 0)),
        (b"{" + b'"":1,' * 500_000 + b'"":1}', Shape(1, 500_001, 500_001)),
        (b'"' + b'\\"[,:' * 500_000, Shape(0, 0, 0)),
        (b'"[[' + b"\\", Shape(0, 0, 0)),
        (b'["a' + b"[" * 1_000_000, Shape(1, 1, 0)),
        (b"]" * 1_000_000 + b"[[", Shape(2, 2, 0)),
        (b'["' + b"a" * 1_000_000 + b'", {"b": [[]]}]', Shape(4, 5, 1)),
    ],
)
def test_the_shape_of_what_is_made_to_be_slow_to_read(body: bytes, shape: Shape) -> None:
    """It is read in one pass, also where it is no JSON; what is exactly enough is not too much, and one more is."""
    assert shape_of(body, shape).is_within(shape)
    for name, most in zip(Shape._fields, shape, strict=True):
        if most:
            assert not shape_of(body, shape._replace(**{name: most - 1})).is_within(shape._replace(**{name: most - 1}))


def test_what_is_not_much_is_not_looked_at() -> None:
    """A body with no more brackets, commas and colons than may stand there needs no second look."""
    assert shape_of(b'[1, [2, [":"]]]', Shape(100, 100, 100)) == (3, 5, 1)
    assert shape_of(b"[[[[", Shape(3, 100, 100)).depth == 4


def test_a_bucket_empties_and_fills() -> None:
    """So many at once, then evenly; others are not concerned; nothing is taken by asking."""
    hand = Hand()
    buckets = Buckets(3, 0.5, hand)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2.0]
    assert buckets.wait_s("a") == 2.0 == buckets.wait_s("a")
    assert buckets.take("b") == 0
    hand.now = 2.0
    assert [buckets.take("a"), buckets.take("a")] == [0, 2.0]
    hand.now = 1e6
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2.0]


def test_buckets_forget_whom_they_have_not_seen_for_longest() -> None:
    """Memory is bounded, and who keeps asking is kept."""
    buckets = Buckets(1, 0.001, Hand())
    buckets.take("kept")
    for number in range(NAMES_MAX - 1):
        buckets.take(str(number))
    assert buckets.take("kept") > 0
    for number in range(NAMES_MAX - 1):
        buckets.take(f"n{number}")
    assert buckets.wait_s("0") == 0
    assert buckets.wait_s("kept") > 0


def test_one_client_may_own_many_addresses_of_ipv6() -> None:
    """Who has 2^64 addresses has one bucket."""
    assert neighbourhood("2001:db8:1:2::1") == neighbourhood("2001:db8:1:2:ffff::9") != neighbourhood("2001:db8:1:3::1")
    assert neighbourhood("::ffff:192.0.2.1") == neighbourhood("192.0.2.1") != neighbourhood("192.0.2.2")
    assert neighbourhood("") == ""


LOCAL = host_names("127.0.0.1", [], is_loopback=True)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8420", "127.0.0.1:1", "[::1]:8420", "[::1]"])
def test_names_of_this_machine_are_served(host: str) -> None:
    check_host(request(host=host), LOCAL)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8420", "127.0.0.1.evil.example", "localhost.evil", "x"])
def test_other_names_are_not(host: str) -> None:
    """A name that was made to mean this address is refused; where other machines may ask, any name is served."""
    with pytest.raises(Refused) as refused:
        check_host(request(host=host), LOCAL)
    assert refused.value.code == "host_not_served"
    check_host(request(host=host), host_names("192.0.2.1", [], is_loopback=False))
    with pytest.raises(Refused):
        check_host(request(host=host), host_names("192.0.2.1", ["api.example"], is_loopback=False))


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "a/b", "a@b", "a:b", "localhost:999999", "a\r\nb", "é", ["localhost", "localhost"], "a." * 200],
)
def test_what_is_no_name_is_refused_everywhere(host: str | list[str]) -> None:
    for hosts in (LOCAL, None):
        with pytest.raises(Refused) as refused:
            check_host(request(host=host), hosts)
        assert refused.value.code == "host_invalid"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://localhost:1"},
        {"origin": "http://localhost:8420.evil.example"},
        {"origin": "http://localhost:8420@evil.example"},
        {"origin": "http://[broken"},
        {"origin": "file://localhost:8420"},
        {"origin": ["http://localhost:8420", "http://evil.example"]},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": ["same-origin", "cross-site"]},
        {"origin": "http://localhost:8420", "sec_fetch_site": "cross-site"},
    ],
)
def test_pages_from_elsewhere_change_nothing(headers: dict[str, str | list[str]]) -> None:
    """Nor do they look: neither as a stream, nor as a picture whose loading takes its time. A link may lead here."""
    for method in ("POST", "GET", "HEAD", "OPTIONS"):
        with pytest.raises(Refused) as refused:
            check_origin(request(method, host="localhost:8420", **headers))
        assert refused.value.code == "origin_refused"
    linked = request("GET", host="localhost:8420", sec_fetch_mode="navigate", **headers)
    check_origin(linked)
    with pytest.raises(Refused):
        check_origin(linked | {"method": "POST"})


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://localhost:8420"},
        {"origin": "https://LOCALHOST:8420", "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
    ],
)
def test_our_page_and_programs_may(headers: dict[str, str]) -> None:
    check_origin(request(host="localhost:8420", **headers))


def test_a_session_needs_its_token() -> None:
    """The one of another session, an empty one and two of them are none."""
    token = "ab" * 32
    check_token(request(x_csrf_token=csrf_token(token)), token)
    check_token(request("GET"), token)
    for wrong in ("", csrf_token("cd" * 32), token, "é", [csrf_token(token)] * 2):
        with pytest.raises(Refused):
            check_token(request(x_csrf_token=wrong), token)
    with pytest.raises(Refused):
        check_token(request("DELETE"), token)


def test_a_cookie_that_stands_there_twice_is_none() -> None:
    """Another site of the same domain may add one of the same name."""
    assert cookie_of(request(cookie="a=1; s=token; b=2"), "s") == "token"
    assert cookie_of(request(cookie=["a=1", "s=token"]), "s") == "token"
    for pairs in ("s=token; s=evil", "xs=token", "s", ""):
        assert not cookie_of(request(cookie=pairs), "s")


def test_every_answer_bears_the_headers() -> None:
    """What a route says of policy and caching holds; who serves is not told; TLS is asked for again."""
    plain = dict(guarded_headers([(b"Server", b"x"), (b"X-Frame-Options", b"ALLOW")], is_tls=False, request_id="i"))
    assert plain[b"content-security-policy"].decode() == STRICT_POLICY
    assert (plain[b"cache-control"], plain[b"x-frame-options"]) == (b"no-store", b"DENY")
    assert not {b"server", b"strict-transport-security", b"access-control-allow-origin"} & set(plain)
    given = [(b"Content-Security-Policy", PAGE_POLICY.encode()), (b"Cache-Control", b"max-age=60")]
    page = dict(guarded_headers(given, is_tls=True, request_id="i"))
    assert (page[b"content-security-policy"], page[b"cache-control"]) == (PAGE_POLICY.encode(), b"max-age=60")
    assert page[b"strict-transport-security"].startswith(b"max-age=")


def test_policies_let_nothing_in_from_elsewhere() -> None:
    """The page is made of what this server has, and pictures that it makes itself; other answers of nothing at all."""
    ours = {"script-src", "style-src", "img-src", "font-src", "connect-src", "manifest-src", "form-action"}
    for policy, allowed in ((STRICT_POLICY, set[str]()), (PAGE_POLICY, ours)):
        parts = [part.strip().partition(" ") for part in policy.split(";")]
        said = {name: sources for name, _, sources in parts}
        trusted = said.pop("require-trusted-types-for", None), said.pop("sandbox", None)
        assert trusted == (("'script'", None) if allowed else (None, ""))
        assert {"default-src", "base-uri", "form-action", "frame-ancestors"} | allowed == set(said)
        for name, sources in said.items():
            wanted = "'none'" if name not in allowed else "'self' data:" if name == "img-src" else "'self'"
            assert sources == wanted, name
