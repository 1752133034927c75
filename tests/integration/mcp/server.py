"""An MCP server for tests, written with the same package: over stdio, or over HTTP on a loopback port.

``python server.py FOLDER`` appends its process id to ``FOLDER/pids`` and serves stdio; ``python server.py FOLDER PORT``
serves HTTP. ``stubborn`` as last argument: a stdio server that does not end by itself.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from mcp.server.mcpserver import Image, MCPServer

FOLDER = Path(sys.argv[1])
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
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[2]))
    else:
        server.run()


if __name__ == "__main__":
    main()
