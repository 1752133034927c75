"""What the nursery forks is what ``python -m`` would have started."""

from __future__ import annotations

import json
import signal
import socket
from pathlib import Path

import pytest

from chaos.processes import Process
from command_line import plain_environ
from courante.cli.exits import ExitCode
from nursery import Nursery

pytestmark = pytest.mark.anyio
POSTGRES = {"COURANTE_DATABASE_URL": "postgresql://127.0.0.1:1/nowhere"}


def begin(nursery: Nursery, log: Path, *words: str, **environ: str) -> Process:
    return Process.fork(nursery, "courante", words, plain_environ() | environ, log)


async def test_a_process_has_an_environment_and_an_exit_code_of_its_own(nursery: Nursery, tmp_path: Path) -> None:
    told = begin(nursery, tmp_path / "told", "config", "--json", COURANTE_ENV="one")
    wrong = begin(nursery, tmp_path / "wrong", "there-is-no-such-command")
    assert await told.wait() == 0
    assert '"one"' in json.dumps(json.loads(told.said().splitlines()[-1]))
    assert await wrong.wait() == ExitCode.USAGE
    assert told.code == 0


async def test_a_fault_point_ends_it(nursery: Nursery, tmp_path: Path) -> None:
    """The environment is read anew: a point that nobody knows is said where the process begins."""
    wrong = begin(nursery, tmp_path / "log", "config", COURANTE_FAULT="nowhere:1:kill9")
    assert await wrong.wait() == 1
    assert "there is no point 'nowhere'" in wrong.said()


async def test_it_is_frozen_thawed_and_killed(nursery: Nursery, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it waits for the answer of a Redis
        port = silent.getsockname()[1]
        made = begin(nursery, tmp_path / "log", "worker", COURANTE_REDIS_URL=f"redis://127.0.0.1:{port}", **POSTGRES)
        made.freeze()
        assert made.is_frozen
        made.thaw()
        made.kill()
    assert made.code == -signal.SIGKILL
    assert not made.is_frozen
