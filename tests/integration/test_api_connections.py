"""Connections of the API: nobody keeps one by sending slowly, by reading nothing, or by sending what is no request."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from courante.api.security.protocol import HEADERS_MAX, GuardedProtocol, Limits, counted_as, make_protocol
from courante.api.security.serving import server_options
from courante.api.server import Server
from courante.cli.api_socket import listen
from courante.sdk.settings import Settings
from integration.gated import served
from integration.stage import until

pytestmark = pytest.mark.anyio
PATIENCE_S = 20.0
QUICK = Limits(head_s=0.3, read_s=0.3, connections_max=5)


async def hello(_scope: Any, receive: Any, send: Any) -> None:
    await receive()
    headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"hi"})


async def say(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """Send pieces, and return all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""

    async def send() -> None:
        with suppress(ConnectionError):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await anyio.sleep(pause_s)

    with anyio.fail_after(PATIENCE_S):
        async with anyio.create_task_group() as group:
            group.start_soon(send)
            with suppress(ConnectionError):
                while piece := await reader.read(65_536):
                    answer += piece
            group.cancel_scope.cancel()
    writer.close()
    return answer


async def test_a_request_is_answered() -> None:
    async with served(hello) as port:
        answer = await say(port, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"uvicorn" not in answer.lower()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with served(hello, QUICK) as port:
        assert (await say(port)).startswith(b"HTTP/1.1 408 ")


async def test_headers_that_come_drop_by_drop_are_given_up() -> None:
    """However regularly something comes: the whole head has its time."""
    drops = [b"GET / HTTP/1.1\r\n", *(b"X-%d: y\r\n" % number for number in range(50))]
    async with served(hello, QUICK) as port:
        assert (await say(port, *drops, pause_s=0.05)).startswith(b"HTTP/1.1 408 ")


async def test_the_second_request_of_a_connection_has_its_time_too() -> None:
    """Neither half a head nor empty lines keep a connection that has been answered once."""
    first = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    async with served(hello, QUICK) as port:
        for rest in ([b"GET / HT"], [b"\r\n"] * 50):
            answer = await say(port, first, *rest, pause_s=0.05)
            assert answer.count(b"HTTP/1.1 200 ") == 1
            assert b"HTTP/1.1 408 " in answer


async def test_a_head_that_is_too_large_is_refused() -> None:
    """One header without an end, a long path, many headers; at once or in pieces."""
    start = b"GET / HTTP/1.1\r\nHost: x\r\n"
    heads = [
        [start, b"X: ", *[b"y" * 8_192] * 8],
        [start + b"X: " + b"y" * 40_000 + b"\r\n\r\n"],
        [b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [start + b"".join(b"X-%d: y\r\n" % number for number in range(HEADERS_MAX)) + b"\r\n"],
    ]
    async with served(hello) as port:
        for head in heads:
            assert (await say(port, *head)).startswith(b"HTTP/1.1 431 "), head[0][:60]


async def test_who_is_refused_can_read_it_while_he_sends() -> None:
    """The rest of a body that nobody reads does not take the answer with it, and the connection is good for more."""

    async def refuse(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    head = b"POST / HTTP/1.1\r\nHost: x\r\n"
    large = head + b"Content-Length: 30000000\r\n\r\n"
    last = head + b"Connection: close\r\nContent-Length: 0\r\n\r\n"
    async with served(refuse) as port:
        answer = await say(port, large, *[b"x" * 1_000_000] * 30, last)
    assert answer.count(b"HTTP/1.1 413 ") == 2


async def test_what_is_no_request_is_refused() -> None:
    """Also what two servers could read in two ways: a body with two lengths, odd line ends, odd names."""
    start = b"POST / HTTP/1.1\r\nHost: x\r\n"
    wrong = [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/9.9\r\n\r\n",
        start + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        start + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        start + b"Content-Length: -1\r\n\r\n",
        start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        start + b"X y: z\r\n\r\n",
        start + b"X: a\x00b\r\n\r\n",
    ]
    async with served(hello) as port:
        for each in wrong:
            answer = await say(port, each)
            assert answer.startswith(b"HTTP/1.1 400 "), (each, answer)


async def test_headers_behind_a_body_count_for_nothing() -> None:
    """A proxy may have taken out of the head what comes again behind the body. Without end they end the connection."""
    heard: list[bytes] = []

    async def nothing() -> dict[str, Any]:
        return {"type": "http.request"}

    async def answered(scope: dict[str, Any], receive: Any, send: Any) -> None:
        while (message := await receive()).get("more_body"):
            pass
        if message["type"] == "http.request":
            heard.extend(name for name, _ in scope["headers"])
            await hello(scope, nothing, send)

    start = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    many = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    async with served(answered) as port:
        answer = await say(port, start + b"2\r\nhi\r\n0\r\nAuthorization: Bearer x\r\nX-Forwarded-For: y\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert heard == [b"host", b"transfer-encoding", b"connection"]
        for endless in (b"0\r\n" + many, b"0\r\nX: " + b"y" * 100_000, b"2;" + b"y" * 100_000):
            assert (await say(port, start + b"2\r\nhi\r\n", endless[:10], endless[10:])).startswith(b"HTTP/1.1 431 ")
        tiny = b"1\r\nx\r\n" * 50_000
        assert (await say(port, start, tiny, b"0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_request_has_one_address() -> None:
    """Where the first line names a host it is that of the header, which is checked; nothing is passed on."""
    rest = b"HTTP/1.1\r\nHost: x:1\r\nConnection: close\r\n\r\n"
    async with served(hello) as port:
        for good in (b"http://x:1/", b"/", b"//evil/"):
            assert (await say(port, b"GET " + good + b" " + rest)).startswith(b"HTTP/1.1 200 "), good
        for bad in (b"http://evil/", b"https://x/", b"http://u@x:1/", b"http://x:1#@evil/", b"http://x:1.evil/"):
            assert (await say(port, b"GET " + bad + b" " + rest)).startswith(b"HTTP/1.1 400 "), bad
        assert (await say(port, b"CONNECT x:1 " + rest)).startswith(b"HTTP/1.1 400 ")


async def test_who_reads_nothing_is_cut_off() -> None:
    """The application waits for him no longer than that."""
    gone = anyio.Event()

    async def flood(_scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        with anyio.fail_after(PATIENCE_S):
            while not gone.is_set():
                await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
                if (await wait_briefly(receive))["type"] == "http.disconnect":
                    gone.set()

    async def wait_briefly(receive: Any) -> dict[str, Any]:
        with anyio.move_on_after(0.001):
            found: dict[str, Any] = await receive()
            return found
        return {"type": ""}

    async with served(flood, QUICK) as port:
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            with anyio.fail_after(PATIENCE_S):
                await gone.wait()


async def test_there_are_only_so_many_connections() -> None:
    """One too many is told so at once; when another goes there is room again."""
    limits = Limits(connections_max=3)
    async with served(hello, limits) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        for reader, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        refused = await say(port)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in refused
        held.pop()[1].close()
        request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        with anyio.fail_after(PATIENCE_S):
            while not (await say(port, request)).startswith(b"HTTP/1.1 200 "):
                pass
        for _, writer in held:
            writer.close()


async def test_one_address_has_only_so_many_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others have theirs meanwhile; when one goes there is room again, and nothing is remembered of who has gone."""
    made = make_protocol(Limits(address_connections_max=2))
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

    def keep(limits: Limits) -> type[GuardedProtocol]:
        del limits
        return made

    monkeypatch.setattr("integration.gated.make_protocol", keep)
    async with served(hello) as port:
        held = [await open_from("127.0.0.2", port) for _ in range(2)]
        for reader, writer in held:
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200 ")
        for _ in range(3):
            refused, writer = await open_from("127.0.0.2", port)
            answer = await refused.read()
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"retry-after: 1" in answer
            writer.close()
        assert (await say(port, request)).startswith(b"HTTP/1.1 200 "), "from another address"
        held.pop()[1].close()
        with anyio.fail_after(PATIENCE_S):
            answer = b""
            while not answer.startswith(b"HTTP/1.1 200 "):
                reader, writer = await open_from("127.0.0.2", port)
                writer.write(request)
                answer = await reader.read()
                writer.close()
        for _, writer in held:
            writer.close()

        async def counted() -> int:
            return len(made.by_address)

        await until(counted, lambda count: count == 0)


def test_who_is_counted_by_what_name() -> None:
    """A network of IPv6 is one; proxies that are believed speak for many, and this machine is nobody from elsewhere."""
    options = server_options(Settings(home=Path("/nowhere"), api_proxies="10.0.0.5, 10.1.0.0/16"))
    limits: Limits = options["http"].limits
    names = ["192.0.2.1", "::ffff:192.0.2.1", "2001:db8::1", "2001:db8::2:1", "10.0.0.6", "unix"]
    told = [counted_as(name, limits.uncounted) for name in names]
    assert told == ["192.0.2.1", "192.0.2.1", "2001:db8::/64", "2001:db8::/64", "10.0.0.6", "unix"]
    for free in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.5", "10.1.2.3", "::ffff:10.1.2.3"):
        assert counted_as(free, limits.uncounted) == "", free
    assert limits.address_connections_max == 1_024
    assert options["forwarded_allow_ips"] == ["10.0.0.5/32", "10.1.0.0/16"]


@pytest.mark.parametrize(
    ("proxies", "said", "believed"),
    [
        ("", "192.0.2.9", ("127.0.0.1", "http")),
        ("10.0.0.5", "192.0.2.9", ("127.0.0.1", "http")),
        ("127.0.0.1", "192.0.2.9", ("192.0.2.9", "https")),
        ("127.0.0.1", "203.0.113.7, 192.0.2.9", ("192.0.2.9", "https")),
        ("127.0.0.1, 192.0.2.0/24", "203.0.113.7, 192.0.2.9", ("203.0.113.7", "https")),
    ],
)
async def test_only_a_proxy_that_was_named_speaks_for_others(
    monkeypatch: pytest.MonkeyPatch, proxies: str, said: str, believed: tuple[str, str]
) -> None:
    """What anybody writes into these headers is his own address, however often he writes it, and no TLS."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    heard: list[tuple[str, str]] = []

    async def look(scope: dict[str, Any], receive: Any, send: Any) -> None:
        heard.append((scope["client"][0], scope["scheme"]))
        await hello(scope, receive, send)

    options = server_options(Settings(home=Path("/nowhere"), api_proxies=proxies or None))
    request = f"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-For: {said}\r\n"
    request += "X-Forwarded-Proto: https\r\nForwarded: for=192.0.2.1;proto=https\r\nX-Real-IP: 192.0.2.1\r\n\r\n"
    with listen("127.0.0.1", 0) as listening:
        server = Server(look, **options)
        async with anyio.create_task_group() as group:
            group.start_soon(server.run_on, listening)
            answer = await say(int(listening.getsockname()[1]), request.encode())
            assert answer.startswith(b"HTTP/1.1 200 ")
            server.kill()
    assert heard == [believed]


async def open_from(address: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))


async def test_an_answer_takes_no_header_from_what_was_asked() -> None:
    """A line end in a header is an error of the server, and no second header."""

    async def reflect(scope: dict[str, Any], _receive: Any, send: Any) -> None:
        value = scope["path"].encode("latin-1")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", value)]})
        await send({"type": "http.response.body", "body": b""})

    async with served(reflect) as port:
        answer = await say(port, b"GET /a%0d%0aSet-Cookie:%20a=b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500 ") or answer == b""
    assert b"set-cookie" not in answer.lower()
