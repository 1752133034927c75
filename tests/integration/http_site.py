"""A site: an HTTP server on a loopback port that answers as a test says, and takes down what it was asked."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

from integration.loopback import serve


@dataclass(frozen=True, kw_only=True)
class Asked:
    """``headers``: names in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``is_last``: the connection ends behind it."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    is_last: bool = False

    @classmethod
    def json(cls, text: str, **fields: int) -> Self:
        return cls(headers={"Content-Type": "application/json"}, body=text.encode(), **fields)  # type: ignore[arg-type]


Give = Callable[[Asked], Awaitable[Answer]] | Callable[[Asked], Answer]


@dataclass
class Site:
    """``asked``: every request, in order. ``connections``: how many were opened."""

    port: int
    asked: list[Asked] = field(default_factory=lambda: [])
    connections: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@asynccontextmanager
async def open_site(give: Give, *, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Site]:
    site = Site(0)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        site.connections += 1
        number = site.connections
        while asked := await read_request(reader, number):
            site.asked.append(asked)
            given = give(asked)
            answer = given if isinstance(given, Answer) else await given
            head = [f"HTTP/1.1 {answer.status} X", *(f"{name}: {value}" for name, value in answer.headers.items())]
            head.append(f"Content-Length: {len(answer.body)}")
            body = b"" if asked.method == "HEAD" else answer.body
            writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + body)
            await writer.drain()
            if answer.is_last:
                break

    async with serve(talk, tls=tls) as site.port:
        yield site


async def read_request(reader: asyncio.StreamReader, connection: int) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method=method, target=target, headers=headers, body=body, connection=connection)


def asks(**config: Any) -> dict[str, Any]:
    """A node that calls. Some names are fields of the node."""
    names = ("retry", "timeout", "max_retries", "input")
    fields: dict[str, Any] = {name: config.pop(name) for name in names if name in config}
    return {"id": "a", "type": "http", "config": config, **fields}


def echo(asked: Asked) -> Answer:
    """What was asked, as JSON."""
    body = asked.body.decode("latin-1")
    return Answer.json(json.dumps({"method": asked.method, "target": asked.target, "body": body}))
