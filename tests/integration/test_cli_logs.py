"""``courante logs``: what steps have said, in words and as JSON, and what they say now."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from command_line import Said, clean_environ, spawn
from courante import Context
from courante.runner.models.terms import ModelTerms
from integration.stage import Place, Stage
from integration.wire import anthropic_answers
from integration.wire.server import Asked, Reply, open_wire

pytestmark = pytest.mark.anyio
APP = """
from courante import Context, step

@step("shop.pack")
def pack(order: dict, context: Context) -> str:
    context.log("packing", items=2)
    context.logger.warning("box\\x1b[2Jsmall", box="S")
    if context.attempt == 1:
        raise ValueError("no tape")
    return "packed"

@step("shop.ship", isolation="process")
def ship(given: str, context: Context) -> str:
    context.log("two lines:\\nthe second", what=given)
    context.logger.error("late")
    return "shipped"
"""
DOCUMENT = """
courante: 1
id: shop
nodes:
  - {id: pack, type: function, config: {handler: shop.pack}, retry: {max_attempts: 2, base: 1ms, jitter: false}}
  - {id: ship, type: function, config: {handler: shop.ship}, depends_on: [pack]}
"""
SHOWN = """\
CLOCK  pack            packing  items=2
CLOCK  pack            warning: box\\x1b[2Jsmall  box=S
CLOCK  pack (attempt 2)  packing  items=2
CLOCK  pack (attempt 2)  warning: box\\x1b[2Jsmall  box=S
CLOCK  ship            two lines:  what=packed
                              the second
CLOCK  ship            error: late
"""
Courante = Callable[..., Said]


def environ_of(place: Place, folder: Path) -> dict[str, str]:
    return {
        "COURANTE_REDIS_URL": place.redis_url,
        "COURANTE_DATABASE_URL": place.database_url,
        "COURANTE_ENV": place.env,
        "COURANTE_HOME": str(folder / "home"),
    }


@asynccontextmanager
async def following(place: Place, folder: Path, run_id: str) -> AsyncGenerator[BufferedByteReceiveStream]:
    """What ``courante logs --follow`` shows of a run; it ends well, and with the run."""
    argv = [sys.executable, "-m", "courante", "logs", run_id, "--follow"]
    environ = clean_environ() | environ_of(place, folder)
    async with await anyio.open_process(argv, env=environ, cwd=folder) as process:
        assert process.stdout is not None
        with anyio.fail_after(60):
            yield BufferedByteReceiveStream(process.stdout)
            assert await process.wait() == 0


@pytest.fixture
def courante(place: Place, tmp_path: Path) -> Courante:
    """Call a command in an environment of its own."""
    return lambda *argv: spawn(*argv, cwd=tmp_path, environ=environ_of(place, tmp_path))


def test_logs_of_a_run_that_is_over(courante: Courante, tmp_path: Path) -> None:
    """Of threads and of processes, of every attempt; what would steer the terminal is shown; one step alone."""
    (tmp_path / "shop_app.py").write_text(APP)
    (tmp_path / "shop.yaml").write_text(DOCUMENT)
    ran = courante("run", "shop.yaml", "--app", "shop_app", "--json").json
    assert ran["status"] == "COMPLETED", ran
    run_id = ran["run_id"]
    shown = courante("logs", run_id)
    assert (shown.code, shown.stable) == (0, SHOWN)
    assert courante("logs", run_id, "--follow").stable == SHOWN
    lines = [json.loads(line) for line in courante("logs", run_id, "--step", "ship", "--json").out.splitlines()]
    head = {"type": "line", "step": "ship", "scope": "", "attempt": 1}
    assert [{name: value for name, value in line.items() if name not in ("at", "worker")} for line in lines] == [
        {**head, "level": "info", "text": "two lines:\nthe second", "fields": {"what": "packed"}},
        {**head, "level": "error", "text": "late", "fields": {}},
    ]
    unknown = courante("logs", run_id, "--step", "shop", "--json")
    assert (unknown.code, unknown.json["error"]["code"], unknown.json["error"]["hint"]) == (
        3,
        "unknown_step",
        "did you mean 'ship'?",
    )
    assert courante("logs", "run_0", "--json").code == 3
    (tmp_path / "mute.yaml").write_text("{courante: 1, id: mute, nodes: [{id: a, type: noop}]}")
    mute = courante("run", "mute.yaml", "--json").json["run_id"]
    silent = courante("logs", mute)
    assert (silent.code, silent.out, silent.err.count("no step has said anything")) == (0, "", 1)
    assert courante("logs", mute, "--json") == Said(0, "", "")


async def test_logs_are_followed_until_the_run_has_ended(stage: Stage, tmp_path: Path) -> None:
    """Partial text is shown while the step goes on, on one line, and the command ends with the run."""
    gate = threading.Event()

    def work(context: Context) -> None:
        context.log("calling", model="m")
        context.step_log.partial("once upon ")
        gate.wait(20)
        context.step_log.partial("a time\nthere was")
        context.log("answered")

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register({"id": "work", "type": "function", "config": {"handler": "work"}})
    run_id = await stage.client.submit("w")
    async with following(stage.place, tmp_path, run_id) as heard:
        begun = await heard.receive_until(b"upon ", 10_000)
        gate.set()
        rest = b"".join([chunk async for chunk in heard])
    text = Said(0, (begun + b"upon " + rest).decode(), "").stable
    bar = " " * 30 + "│ "
    assert text.splitlines() == [
        "CLOCK  work            calling  model=m",
        "CLOCK  work            │ once upon a time",
        f"{bar}there was",
        "CLOCK  work            answered",
    ]


async def test_the_answer_of_a_model_is_followed_while_it_comes(stage: Stage, tmp_path: Path) -> None:
    """A piece is shown before its provider has sent the next one."""
    may_go_on = anyio.Event()

    async def give(_asked: Asked, reply: Reply) -> None:
        content = anthropic_answers.stream(["It rains ", "cats ", "and dogs."])
        half = content.index(b"event: content_block_delta", content.index(b"It rains"))
        await reply.begin()
        await reply.piece(content[:half])
        await may_go_on.wait()
        await reply.piece(content[half:])
        await reply.end()

    (tmp_path / "ANTHROPIC_API_KEY").write_text("sk-test-0123456789")
    asks = {"model": "claude-sonnet-4-5", "prompt": "{{ input }}", "stream": True}
    async with open_wire(give) as server:
        stage.worker(models=ModelTerms(anthropic_url=server.url), secrets_dir=tmp_path)
        stage.supervisor()
        await stage.register({"id": "ask", "type": "llm", "config": asks})
        run_id = await stage.client.submit("w", "How is the weather?")
        async with following(stage.place, tmp_path, run_id) as heard:
            await heard.receive_until(b"It rains ", 10_000)
            may_go_on.set()
            rest = b"".join([chunk async for chunk in heard]).decode()
    told = [line for line in rest.splitlines() if line]
    assert "cats and dogs." in told  # a line of its own where one came between that was on its way for long
    assert [line.split()[2] for line in told[-2:]] == ["response", "completed"]


async def test_a_step_is_followed_until_it_has_ended(stage: Stage, tmp_path: Path) -> None:
    """S0-229: also where its run goes on; a failed attempt is not its end."""
    gate = threading.Event()

    def early(context: Context) -> None:
        context.log("trying")
        if context.attempt == 1:
            raise ValueError("not yet")

    stage.worker({"early": early, "late": lambda: gate.wait(60)})
    stage.supervisor()
    try:
        await stage.register(
            {
                "id": "early",
                "type": "function",
                "config": {"handler": "early"},
                "retry": {"max_attempts": 2, "base": "1ms"},
            },
            {"id": "late", "type": "function", "config": {"handler": "late"}, "depends_on": ["early"]},
        )
        run_id = await stage.client.submit("w")
        argv = [sys.executable, "-m", "courante", "logs", run_id, "--step", "early", "--follow"]
        environ = clean_environ() | environ_of(stage.place, tmp_path)
        with anyio.fail_after(60):
            said = await anyio.run_process(argv, env=environ, cwd=tmp_path)
    finally:
        gate.set()
    assert Said(0, said.stdout.decode(), "").stable.splitlines() == [
        "CLOCK  early           trying",
        "CLOCK  early (attempt 2)  trying",
    ]
