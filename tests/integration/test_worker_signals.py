"""``courante worker`` as a process: the first SIGTERM ends it in order, the second at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
APP = """
import time
from pathlib import Path
from courante import step

@step("slow")
def slow(value):
    folder = Path(value)
    (folder / "entered").touch()
    while not (folder / "leave").exists():
        time.sleep(0.01)
    return "done"

@step("blocks")
async def blocks(value):
    (Path(value) / "entered").touch()
    while True:
        time.sleep(60)
"""


@contextmanager
def worker_process(
    stage: Stage, folder: Path, *words: str, grace_ms: int = 20_000
) -> Generator[subprocess.Popen[bytes]]:
    """A worker of one slot with the steps above."""
    (folder / "slow_app.py").write_text(APP)
    environment = {
        **os.environ,
        "COURANTE_REDIS_URL": stage.place.redis_url,
        "COURANTE_DATABASE_URL": stage.place.database_url,
        "COURANTE_ENV": stage.place.env,
        "COURANTE_STOP_GRACE_MS": str(grace_ms),
    }
    command = [sys.executable, "-m", "courante", "worker", "--app", "slow_app", "--concurrency", "1"]
    with (folder / "worker.log").open("wb") as log:
        child = subprocess.Popen(
            [*command, *words], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    try:
        yield child
    finally:
        child.kill()
        child.communicate()


async def begin(stage: Stage, folder: Path, handler: str = "slow") -> list[str]:
    """Two runs: the first one's step is under way, the second waits."""
    fields = {"id": "s", "type": "function", "config": {"handler": handler}}
    workflow = await stage.register(fields)
    ids = [await stage.client.submit(workflow, f"{folder}") for _ in range(2)]
    await until(anyio.lowlevel.checkpoint, lambda _: (folder / "entered").exists())
    return ids


async def stops(folder: Path) -> None:
    """Until the worker has heard that it shall."""
    log = folder / "worker.log"
    await until(anyio.lowlevel.checkpoint, lambda _: "worker_stopping" in log.read_text())


async def test_sigterm_lets_a_step_finish(stage: Stage, tmp_path: Path) -> None:
    """The worker takes no more, ends with exit code 0 after its step, and leaves neither entry nor consumer."""
    stage.supervisor()
    with worker_process(stage, tmp_path) as child:
        first, second = await begin(stage, tmp_path)
        child.send_signal(signal.SIGTERM)
        await stops(tmp_path)
        (tmp_path / "leave").touch()
        assert await anyio.to_thread.run_sync(lambda: child.wait(10)) == 0, (tmp_path / "worker.log").read_text()
    assert (await stage.result(first)).output == {"s": "done"}
    assert (await stage.client.result(second)).status == "RUNNING"
    assert await stage.pending() == {}
    for stream in await stage.redis.keys(stage.client.keys.partition(0).queue("*")):
        assert await stage.redis.xinfo_consumers(stream, "workers") == []


async def test_a_second_sigterm_ends_a_worker_at_once(stage: Stage, tmp_path: Path) -> None:
    """A plain step that does not end keeps nobody; its entry stays pending for whoever takes over."""
    with worker_process(stage, tmp_path) as child:
        await begin(stage, tmp_path)
        child.send_signal(signal.SIGTERM)
        await stops(tmp_path)
        child.send_signal(signal.SIGTERM)
        await anyio.to_thread.run_sync(lambda: child.wait(5))
    assert sum((await stage.pending()).values()) == 1


@pytest.mark.parametrize("asks", ["one signal", "two signals", "the end of its parent"])
async def test_a_blocked_loop_keeps_no_worker_from_ending(stage: Stage, tmp_path: Path, asks: str) -> None:
    """It hears nothing of what asks it to end: after the grace time, or a second signal, it ends without it."""
    grace_ms = 60_000 if asks == "two signals" else 500
    with worker_process(stage, tmp_path, "--stop-on-eof", grace_ms=grace_ms) as child:
        await begin(stage, tmp_path, "blocks")
        if asks == "the end of its parent":
            assert child.stdin is not None
            child.stdin.close()
        else:
            child.send_signal(signal.SIGTERM)
        if asks == "two signals":
            await anyio.sleep(0.1)
            child.send_signal(signal.SIGINT)
        assert await anyio.to_thread.run_sync(lambda: child.wait(15)) == 130
    assert "loop_does_not_hear" in (tmp_path / "worker.log").read_text()
    assert sum((await stage.pending()).values()) == 1
