"""``run`` and ``up`` on embedded servers whose Redis was emptied: they work, without a word from anybody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command_line import Said, spawn
from courante.sdk.connections import connect_blocking
from courante.sdk.embedded import status

DIAMOND = Path(__file__).parents[2] / "test_data" / "diamond.yaml"
WAITS = """\
courante: 1
id: waits
nodes:
  - {id: first, type: noop}
  - {id: pause, type: signal, depends_on: first, config: {name: go}}
  - {id: last, type: noop, depends_on: pause}
"""
Courante = Callable[..., Said]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "h"


@pytest.fixture
def courante(tmp_path: Path, home: Path) -> Iterator[Courante]:
    """Call a command with embedded servers in a home of its own; nothing is left running."""
    (tmp_path / "waits.yaml").write_text(WAITS)
    environ = {"COURANTE_HOME": str(home), "COURANTE_KEEPER_LINGER_S": "60"}
    try:
        yield lambda *argv: spawn(*argv, cwd=tmp_path, environ=environ)
    finally:
        spawn("down", cwd=tmp_path, environ=environ)


def flush(home: Path) -> None:
    """Everything in Redis is gone."""
    servers = status(home)
    assert servers is not None
    assert connect_blocking(servers.redis_url, timeout_s=5).execute_command("FLUSHALL")


def test_under_up_all_goes_on(courante: Courante, home: Path) -> None:
    """A run that waits is there again, hears its signal and ends; new ones run as ever."""
    assert courante("up", "--detach").code == 0
    run_id = courante("run", "waits.yaml", "--detach", "--json").json["run_id"]
    flush(home)
    assert courante("run", str(DIAMOND), "--json").json["status"] == "COMPLETED"
    assert courante("signal", run_id, "go", "--json").json["state"] == "applied"
    said = courante("status", run_id, "--watch", "--json")
    assert (said.code, said.json["status"]) == (0, "COMPLETED")


def test_where_nobody_lives_a_run_brings_who_mends_it(courante: Courante, home: Path) -> None:
    """The crew of the next ``run`` rebuilds what was lost, also of runs that are not its own."""
    run_id = courante("run", "waits.yaml", "--detach", "--json").json["run_id"]
    flush(home)
    said = courante("signal", run_id, "go", "--json")
    assert (said.code, said.json["state"]) == (0, "accepted")
    assert "is being recovered" in said.json["reason"]
    said = courante("health", "--json")
    assert said.code == 2
    assert {"redis_lost_data", "no_supervisor"} <= {reason["code"] for reason in said.json["reasons"]}
    assert courante("run", str(DIAMOND), "--json").json["status"] == "COMPLETED"
    assert courante("recover", "--json").json["partitions"][0]["verdict"] == "sound"
    assert courante("up", "--detach").code == 0
    said = courante("status", run_id, "--watch", "--json")
    assert (said.code, said.json["status"]) == (0, "COMPLETED")
