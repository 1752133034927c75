"""Tools of MCP servers: over stdio and over HTTP, with sessions that last, break off and are opened again."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from cli_views import read_view
from courante.runner.nodes import tool as tool_node
from courante.runner.toolbox import Toolbox, open_toolbox
from courante.runner.tools import mcp_servers
from courante.runner.tools.mcp_servers import McpServerUnavailable
from courante.sdk.authoring.context import Context
from courante.sdk.authoring.declared_tools import DeclaredServer, DeclaredTools
from courante.sdk.authoring.steps import Steps
from courante.sdk.outcomes.failures import classify
from courante.sdk.outcomes.step_context import StepError
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
SERVER = Path(__file__).parent / "mcp" / "server.py"
CONTEXT = Context("run", "w", "n", "", 1, "run/n", "worker")
SECRET = "shop-secret-51c7"


def started(folder: Path, *more: str, **env: str) -> DeclaredTools:
    """A server over stdio."""
    command = (sys.executable, str(SERVER), str(folder), *more)
    return DeclaredTools(servers={"shop": DeclaredServer(name="shop", command=command, env=env)})


@asynccontextmanager
async def opened(declared: DeclaredTools) -> AsyncGenerator[Toolbox]:
    async with open_toolbox(Steps(), "worker", declared=declared) as tools:
        yield tools


async def call(tools: Toolbox, tool: str, **arguments: Any) -> Any:
    found = tools.shelf.find(f"shop.{tool}")
    assert found is not None
    return msgspec.json.decode(await found.call(msgspec.json.encode(arguments), CONTEXT))


def pids(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "pids").read_text(encoding="utf-8").split()]


async def lives(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        text = await anyio.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


async def until_over(tools: Toolbox) -> None:
    """Wait until it was seen that the session has ended."""
    server = None if tools.servers is None else tools.servers.get("shop")
    assert server is not None

    async def is_over() -> bool:
        return not server.is_open

    await until(is_over, bool)


async def test_tools_of_a_server_are_called_by_nodes(stage: Stage, tmp_path: Path) -> None:
    """By SERVER.TOOL, in one session; what is no text is an artifact; an error is the step's."""
    stage.worker(declared=started(tmp_path))
    stage.supervisor()
    nodes: list[dict[str, Any]] = [
        {"id": "a", "type": "tool", "config": {"tool": "shop.stock", "size": 2}, "input": {"item": "input"}},
        {"id": "b", "type": "tool", "config": {"tool": "shop.greet"}, "input": {"name": "input"}},
        {"id": "c", "type": "tool", "config": {"tool": "shop.picture"}, "input": {}},
        {"id": "d", "type": "tool", "config": {"tool": "shop.none"}, "input": {}, "max_retries": 0, "on_error": "e"},
        {"id": "e", "type": "noop"},
    ]
    workflow = await stage.register(*nodes, output="[steps.a.output, steps.b.output, steps.c.output]")
    done = await stage.result(await stage.client.submit(workflow, "tea"), timeout_s=60)  # a server has to begin
    assert done.status == "COMPLETED", done.error
    stock, greeting, picture = done.output
    assert (stock, greeting) == ({"item": "tea", "left": 20}, "hello tea")
    assert (picture["content_type"], picture["size_bytes"]) == ("image/png", 8)
    assert len(pids(tmp_path)) == 1
    steps = {step.id: step for step in (await read_view(stage, done.run_id)).steps}
    assert steps["a"].trace is not None
    assert (steps["a"].trace.tool, steps["a"].trace.arguments) == ("shop.stock", {"size": 2, "item": "tea"})
    error = steps["d"].error
    assert error is not None
    assert (error.type, error.message) == ("TOOL_FAILED", "Unknown tool: none")


async def test_a_tool_of_a_server_has_as_long_as_its_step(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the step has a timeout, however long; without one who never answers is given up."""
    monkeypatch.setattr(tool_node, "CALL_S", 0.3)
    stage.worker(declared=started(tmp_path))
    stage.supervisor()
    lingers = {"id": "a", "type": "tool", "config": {"tool": "shop.linger", "name": "go"}, "max_retries": 0}
    impatient = await stage.client.submit(await stage.register(lingers, id="impatient"))
    done = await stage.result(impatient, timeout_s=60)  # a server has to begin
    assert done.error is not None
    assert (done.error["type"], done.error["class"]) == ("TimeoutError", "timeout")
    (tmp_path / "lingers").unlink(missing_ok=True)  # where the call was given up before it was heard
    run_id = await stage.client.submit(await stage.register({**lingers, "timeout": "1m"}, id="patient"))

    async def is_asked() -> bool:
        return (tmp_path / "lingers").exists()

    await until(is_asked, bool)
    await anyio.sleep(0.6)
    (tmp_path / "go").touch()
    assert (await stage.result(run_id)).output["a"] == {"result": "at last"}


async def test_what_a_server_says_of_its_tools_is_offered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Description and schema are the server's; a tool that it does not have cannot be offered.

    It has the secrets that are declared and nothing else of the worker's environment; one that comes back is masked.
    """
    monkeypatch.setenv("COURANTE_SECRET_SHOP", SECRET)
    monkeypatch.setenv("OTHER_KEY", "nobody-shall-see")
    async with opened(started(tmp_path, SHOP_KEY="key {{ secret('SHOP') }}")) as tools:
        stock, none = tools.shelf.find("shop.stock"), tools.shelf.find("shop.none")
        assert stock is not None
        assert none is not None
        offer = await stock.offer()
        assert (offer.name, offer.description.split("\n")[0]) == ("shop.stock", "How many there are.")
        assert (offer.schema["required"], list(offer.schema["properties"])) == (["item"], ["item", "size"])
        with pytest.raises(StepError, match="has no tool 'none'"):
            await none.offer()
        assert tools.shelf.find("bank.stock") is None
        told = await call(tools, "whoami")
    assert told["key"] == "key ***"
    assert not {"OTHER_KEY", "COURANTE_SECRET_SHOP"} & set(told["names"])
    assert not await lives(told["pid"])


async def test_a_tool_that_a_server_has_learnt_is_offered(tmp_path: Path) -> None:
    """Whoever asks for it asks the server again, though its tools are known."""
    async with opened(started(tmp_path)) as tools:
        taught = tools.shelf.find("shop.taught")
        assert taught is not None
        with pytest.raises(StepError, match="has no tool 'taught'"):
            await taught.offer()
        await call(tools, "learn")
        assert (await taught.offer()).description == "Say it."
        assert await call(tools, "taught", name="tea") == {"result": "hello tea"}


async def test_a_server_that_ended_is_started_again(tmp_path: Path) -> None:
    """Between two calls, which nobody notices; or in a call, which fails and may be tried again."""
    async with opened(started(tmp_path)) as tools:
        first = (await call(tools, "whoami"))["pid"]
        os.kill(first, signal.SIGKILL)
        await until_over(tools)
        second = (await call(tools, "whoami"))["pid"]
        assert [first, second] == pids(tmp_path)
        with pytest.raises(McpServerUnavailable, match="Connection closed"):
            await call(tools, "die")


async def test_what_a_server_has_answered_counts_though_it_ends_then(tmp_path: Path) -> None:
    """Also the first call of a session: nothing is asked behind the answer that would lose it."""
    async with opened(started(tmp_path)) as tools:
        assert await call(tools, "leave") == {"result": "these are my last words"}
        assert (tmp_path / "left").read_text().split() == [str(pid) for pid in pids(tmp_path)]
        await until_over(tools)
        assert (await call(tools, "whoami"))["pid"] == pids(tmp_path)[1]


async def test_what_a_server_has_answered_over_http_counts_though_it_ends_then(tmp_path: Path) -> None:
    port = free_port()
    server = DeclaredServer(name="shop", url=f"http://127.0.0.1:{port}/mcp")
    async with opened(DeclaredTools(servers={"shop": server})) as tools, serving(tmp_path, port):
        assert await call(tools, "leave") == {"result": "these are my last words"}
        assert (tmp_path / "left").read_text().split() == [str(pid) for pid in pids(tmp_path)]


async def test_a_call_that_ends_a_session_takes_no_other_call_with_it(tmp_path: Path) -> None:
    """Those that are under way come to their own end; further ones are made in another session."""
    async with opened(started(tmp_path)) as tools:
        lingered: list[Any] = []

        async def linger() -> None:
            lingered.append(await call(tools, "linger", name="go"))

        async def lingers() -> bool:
            return (tmp_path / "lingers").exists()

        async with anyio.create_task_group() as group:
            group.start_soon(linger)
            await until(lingers, bool)
            try:
                with pytest.raises(McpServerUnavailable, match="Session terminated"):
                    await call(tools, "disown")
                assert (await call(tools, "whoami"))["pid"] == pids(tmp_path)[1]
            finally:
                (tmp_path / "go").touch()
        assert lingered == [{"result": "at last"}]

        async def is_gone() -> bool:
            return not await lives(pids(tmp_path)[0])

        await until(is_gone, bool)


async def test_a_result_that_is_none_of_its_tool_is_not_asked_for_again(tmp_path: Path) -> None:
    """The tool has run: another call would be a second one."""
    async with opened(started(tmp_path)) as tools:
        with pytest.raises(StepError) as raised:
            await call(tools, "lie")
        assert (raised.value.type, classify(raised.value).kind) == ("OUTPUT_MISMATCH", "fatal")
        assert len(pids(tmp_path)) == 1


async def test_a_server_that_hangs_is_started_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a call that was given up it is asked whether it is there; who is only slow is not ended."""
    monkeypatch.setattr(mcp_servers, "PROBE_S", 1.0)
    async with opened(started(tmp_path)) as tools:
        with anyio.move_on_after(0):
            await call(tools, "stock", item="tea")
        first = (await call(tools, "whoami"))["pid"]
        with anyio.move_on_after(0.2) as given_up:
            await call(tools, "freeze")
        assert given_up.cancelled_caught
        second = (await call(tools, "whoami"))["pid"]
        assert [first, second] == pids(tmp_path)
        with anyio.move_on_after(0):
            await call(tools, "stock", item="tea")
        assert (await call(tools, "whoami"))["pid"] == second

        async def is_gone() -> bool:
            return not await lives(first)

        await until(is_gone, bool)


async def test_a_server_that_does_not_list_its_tools_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up, and started anew for who asks next. A tool that it has not told of may be a new one."""
    monkeypatch.setattr(mcp_servers, "LIST_S", 0.5)
    async with opened(started(tmp_path)) as tools:
        first = (await call(tools, "whoami"))["pid"]
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(TimeoutError, match=r"has not listed its tools within 0\.5 s"):
            await call(tools, "new")
        monkeypatch.undo()
        monkeypatch.setattr(mcp_servers, "PROBE_S", 1.0)
        stock = tools.shelf.find("shop.stock")
        assert stock is not None
        assert (await stock.offer()).name == "shop.stock"
        assert len(pids(tmp_path)) == 2


@pytest.mark.parametrize(
    ("server", "error", "said"),
    [
        (DeclaredServer(name="shop", command=("/no/such/program",)), McpServerUnavailable, "cannot be used"),
        (DeclaredServer(name="shop", url="http://127.0.0.1:9/mcp"), McpServerUnavailable, "cannot be used"),
        (DeclaredServer(name="shop", command=("x",), env={"A": "{{ secret('NOT_THERE') }}"}), StepError, "NOT_THERE"),
    ],
)
async def test_a_server_that_cannot_be_had_fails_the_call(
    server: DeclaredServer, error: type[Exception], said: str
) -> None:
    """Again with each call: it may be there the next time."""
    async with opened(DeclaredTools(servers={"shop": server})) as tools:
        for _ in range(2):
            with pytest.raises(error, match=said):
                await call(tools, "stock", item="tea")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@asynccontextmanager
async def serving(folder: Path, port: int) -> AsyncGenerator[None]:
    """A server over HTTP in a process of its own."""
    command = [sys.executable, str(SERVER), str(folder), str(port)]
    process = await anyio.open_process(command, stdout=None, stderr=None)
    try:

        async def listens() -> bool:
            try:
                stream = await anyio.connect_tcp("127.0.0.1", port)
            except OSError:
                return False
            await stream.aclose()
            return True

        await until(listens, bool)
        yield
    finally:
        process.kill()
        with anyio.CancelScope(shield=True):
            await process.wait()


async def test_a_server_is_called_over_http(tmp_path: Path) -> None:
    """With a session of its own, which is opened anew when the server has been away."""
    port = free_port()
    server = DeclaredServer(name="shop", url=f"http://127.0.0.1:{port}/mcp")
    async with opened(DeclaredTools(servers={"shop": server})) as tools:
        async with serving(tmp_path, port):
            assert await call(tools, "stock", item="tea", size=3) == {"item": "tea", "left": 30}
            assert await call(tools, "greet", name="tea") == "hello tea"
            with pytest.raises(StepError, match="Error executing tool refuse"):
                await call(tools, "refuse", item="tea")
        async with serving(tmp_path, port):

            async def answers() -> Any:
                try:
                    return await call(tools, "stock", item="tea")
                except (McpServerUnavailable, StepError) as error:
                    return repr(error)

            await until(answers, lambda found: found == {"item": "tea", "left": 10})


WORKER = """
import sys
from pathlib import Path

import anyio

from integration.test_mcp_servers import call, opened, started


async def main() -> None:
    async with opened(started(Path(sys.argv[1]), "stubborn")) as tools:
        await call(tools, "stock", item="tea")
        print("ready", flush=True)
        await anyio.sleep_forever()


anyio.run(main)
"""


async def test_servers_die_with_their_worker(tmp_path: Path) -> None:
    """Also where it is killed, and the server neither looks at its input nor obeys; and what it has started."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    async with await anyio.open_process([sys.executable, "-c", WORKER, str(tmp_path)], env=environ) as process:
        assert process.stdout is not None
        said = b""
        while b"ready" not in said:
            said += await process.stdout.receive()
        server, child = pids(tmp_path)
        assert await lives(server)
        process.kill()

    async def alive() -> list[bool]:
        return [await lives(server), await lives(child)]

    assert await until(alive, lambda found: not any(found)) == [False, False]
