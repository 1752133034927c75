"""An MCP server for tests, written with the same package: over stdio, or over HTTP on a loopback port.

``python server.py FOLDER`` appends its process id to ``FOLDER/pids`` and serves stdio; ``python server.py FOLDER PORT``
serves HTTP. ``stubborn`` as last argument: a stdio server that does not end by itself.
"""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import uvicorn
from mcp import MCPError
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import INVALID_REQUEST

FOLDER = Path(sys.argv[1])
LAST_WORDS = "these are my last words"
LIE = "a lie"
server = MCPServer("shop")


@server.tool()
def stock(item: str, size: int = 1) -> dict[str, object]:
    """How many there are.

    Counted at night.
    """
    return {"item": item, "left": 10 * size}


@server.tool(structured_output=False)
def greet(name: str) -> str:
    """Say hello."""
    return f"hello {name}"


@server.tool()
def refuse(item: str) -> str:
    raise ValueError(f"no {item} here")


@server.tool()
def learn() -> str:
    """Have one more tool from now on."""
    server.add_tool(greet, name="taught", description="Say it.")
    return "learnt"


@server.tool()
def whoami() -> dict[str, object]:
    return {"pid": os.getpid(), "key": os.environ.get("SHOP_KEY", ""), "names": sorted(os.environ)}


@server.tool(structured_output=False)
def picture() -> Image:
    return Image(data=b"\x89PNG tea", format="png")


@server.tool()
def die() -> str:
    """End without an answer."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "never"


@server.tool()
def freeze() -> str:
    """Neither answer nor end."""
    os.kill(os.getpid(), signal.SIGSTOP)
    return "late"


@server.tool()
def leave() -> str:
    """Answer, and end before anything else can be asked."""
    with (FOLDER / "left").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    return LAST_WORDS


@server.tool()
async def linger(name: str) -> str:
    """Answer when the file FOLDER/name is there."""
    (FOLDER / "lingers").touch()
    while not (FOLDER / name).exists():  # noqa: ASYNC110 - another process makes it
        await anyio.sleep(0.01)
    return "at last"


@server.tool()
def disown() -> str:
    """Say what a server says of a session that it has forgotten."""
    raise MCPError(INVALID_REQUEST, "Session terminated")


@server.tool()
def lie() -> str:
    """Give something else than what is listed: over stdio a number comes out."""
    return LIE


def leave_behind(content: bytes) -> None:
    """End where the last words have been said."""
    if LAST_WORDS.encode() in content:
        os.kill(os.getpid(), signal.SIGKILL)


class Output(io.FileIO):
    """The standard output of a server that may leave, or lie."""

    def write(self, content: Any) -> int:
        said = bytes(content)
        super().write(said.replace(f'"result":"{LIE}"'.encode(), b'"result":7'))
        leave_behind(said)
        return len(said)


def serve_http(port: int) -> None:
    app = server.streamable_http_app(host="127.0.0.1")

    async def leaving(scope: Any, receive: Any, send: Any) -> None:
        async def send_last(message: Any) -> None:
            await send(message)
            leave_behind(message.get("body", b""))

        await app(scope, receive, send_last)

    uvicorn.run(leaving, host="127.0.0.1", port=port, log_level="error")


def main() -> None:
    with (FOLDER / "pids").open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    if sys.argv[-1] == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with (FOLDER / "pids").open("a", encoding="utf-8") as file:
            file.write(f"{child.pid}\n")
        server.run()
        while True:
            time.sleep(600)
    if len(sys.argv) > 2:
        serve_http(int(sys.argv[2]))
    else:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(Output(os.dup(1), "w")), encoding="utf-8")
        server.run()


if __name__ == "__main__":
    main()
