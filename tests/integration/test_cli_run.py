"""``courante run``: with nothing running, with a crew of its own, with others at work, interrupted, and refused."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from command_line import RUN_ID, Said, clean_environ, spawn

DIAMOND = Path(__file__).parents[2] / "test_data" / "diamond.yaml"
RUN_FIELDS = {"run_id", "status", "output", "error", "started_at", "finished_at"}

APP = """
import asyncio
from courante.sdk.authoring.steps import FatalError, step

print("the shop opens")

@step("shop.greet")
def greet(input):
    print("greeting", input["who"])
    return {"hello": input["who"]}

@step("shop.fail")
def fail(input):
    raise FatalError("the shop is closed")

@step("shop.sleep")
async def sleep(input):
    print("sleeping", flush=True)
    await asyncio.sleep(input["seconds"])
    return "awake"
"""

GREET = """\
courante: 1
id: greet
input: {type: object, required: [who], properties: {who: {type: string}}}
output: steps.hello.output
nodes:
  - {id: hello, type: function, config: {handler: shop.greet}}
  - {id: never, type: noop, depends_on: hello, when: "false"}
"""

PLAIN = """\
✓ RUN COMPLETED in SPAN
{
  "amount": 42,
  "item": "lamp"
}
"""

Courante = Callable[..., Said]


@pytest.fixture
def environ(redis_url: str, database: str, env_name: str, tmp_path: Path) -> dict[str, str]:
    """Settings of a fresh environment on a fresh database."""
    return {
        "COURANTE_REDIS_URL": redis_url,
        "COURANTE_DATABASE_URL": database,
        "COURANTE_ENV": env_name,
        "COURANTE_HOME": str(tmp_path / "home"),
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The current directory of the commands, with an app and its workflows."""
    (tmp_path / "shop.py").write_text(APP)
    (tmp_path / "greet.yaml").write_text(GREET)
    for name, handler in (("fail", "shop.fail"), ("sleep", "shop.sleep"), ("lost", "shop.lost")):
        node = f"  - {{id: only, type: function, config: {{handler: {handler}}}}}\n"
        (tmp_path / f"{name}.yaml").write_text(f"courante: 1\nid: {name}\nnodes:\n{node}")
    return tmp_path


@pytest.fixture
def courante(environ: dict[str, str], folder: Path) -> Courante:
    """Call a command in the folder."""
    return lambda *argv, **more: spawn(*argv, cwd=folder, environ=environ | more.pop("environ", {}), **more)


@contextmanager
def started(environ: dict[str, str], folder: Path, *argv: str) -> Generator[subprocess.Popen[str]]:
    """A command that goes on by itself; killed at the end, if it still lives."""
    process = subprocess.Popen(
        [sys.executable, "-m", "courante", *argv],
        cwd=folder,
        env=clean_environ() | environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(process: subprocess.Popen[str], words: str, *, is_error: bool = True) -> str:
    """Read a stream until a line with these words; the test's own limit ends a wait that is in vain."""
    stream = process.stderr if is_error else process.stdout
    assert stream is not None
    read: list[str] = []
    for line in stream:
        read.append(line)
        if words in line:
            return line
    raise AssertionError(f"{words!r} never came: {read}")


def test_the_diamond_runs_with_nothing_running(courante: Courante) -> None:
    """One object on stdout, exit code 0, and nothing but that needed."""
    said = courante("run", str(DIAMOND), "--json")
    assert (said.code, len(said.out.splitlines())) == (0, 1), said.err
    assert set(said.json) == RUN_FIELDS
    assert RUN_ID.fullmatch(said.json["run_id"])
    assert (said.json["status"], said.json["error"]) == ("COMPLETED", None)
    assert said.json["output"] == {"item": "lamp", "amount": 42}
    assert said.json["started_at"] <= said.json["finished_at"]
    assert said.json["finished_at"].endswith("Z")


def test_a_run_for_people(courante: Courante) -> None:
    """Progress goes to stderr, a line per change; the result to stdout; piped, there is no colour."""
    said = courante("run", str(DIAMOND))
    assert said.code == 0
    assert said.stable == PLAIN
    assert re.search(r"✓ order +SUCCEEDED", said.err)
    assert "\x1b" not in said.out + said.err


def test_a_run_from_standard_input(courante: Courante) -> None:
    """``-`` is a file too."""
    said = courante("run", "-", "--json", stdin=DIAMOND.read_text())
    assert (said.code, said.json["status"]) == (0, "COMPLETED")


def test_steps_of_an_app_and_an_input(courante: Courante) -> None:
    """``--app`` imports from the current directory; ``--input`` takes text and JSON."""
    said = courante("run", "greet.yaml", "--app", "shop", "--input", "who=ann", "--json")
    assert (said.code, said.json["output"]) == (0, {"hello": "ann"}), said.err
    assert (said.out.count("\n"), said.err.splitlines()[:1]) == (1, ["the shop opens"])
    assert "greeting ann" in said.err.splitlines()
    again = courante("run", "greet", "--app", "shop", "--input-file", "-", "--json", stdin='{"who": "bo"}')
    assert (again.code, again.json["output"]) == (0, {"hello": "bo"}), again.err
    status = courante("status", again.json["run_id"], "--json").json
    by_id = {step["id"]: step for step in status["steps"]}
    assert by_id["hello"]["status"] == "SUCCEEDED"
    assert (by_id["never"]["status"], by_id["never"]["reason"]) == ("SKIPPED", "condition_false")


def test_a_failed_run_exits_with_5(courante: Courante) -> None:
    """With the step and the error, and with what to do next."""
    said = courante("run", "fail.yaml", "--app", "shop", "--json")
    assert (said.code, said.json["status"], said.json["output"]) == (5, "FAILED", None)
    assert (said.json["error"]["type"], said.json["error"]["node"]) == ("FatalError", "only")
    plain = courante("run", "fail.yaml", "--app", "shop")
    assert plain.code == 5
    assert (
        plain.stable
        == "✗ RUN FAILED in SPAN\nerror: step only: FatalError: the shop is closed\nnext: courante dlq show RUN\n"
    )
    assert courante("status", said.json["run_id"]).code == 0
    assert courante("status", said.json["run_id"], "--watch").code == 5


def test_a_handler_that_nobody_provides_is_named_at_once(courante: Courante) -> None:
    """Nothing is registered and nothing is started."""
    said = courante("run", "lost.yaml", "--app", "shop", "--json")
    assert (said.code, said.json["error"]["code"]) == (64, "handler_missing")
    assert "'shop.lost' (step 'only')" in said.json["error"]["message"]
    assert "--app MODULE" in said.json["error"]["hint"]
    assert courante("workflows", "list", "--json").json == {"workflows": [], "next": None}


@pytest.mark.parametrize(
    ("argv", "exit_code", "code"),
    [
        (["greet.yaml", "--app", "shop"], 1, "input_invalid"),
        (["greet.yaml", "--app", "shop", "--input", "who=7"], 1, "input_invalid"),
        (["greet.yaml", "--start-at", "soon"], 64, "bad_start_at"),
        (["greet.yaml", "--expires-at", "999999999999d"], 64, "bad_expires_at"),
        (["unknown"], 3, "workflow_not_found"),
        (["unknown.yaml"], 3, "file_not_found"),
        (["greet.yaml", "--version", "2"], 64, "usage"),
        (["-", "--input-file", "-"], 64, "usage"),
        (["greet.yaml", "--app", "nothere"], 64, "app_not_found"),
        (["greet.yaml", "--redis-url", "redis://127.0.0.1:1"], 2, "redis_unreachable"),
        (["greet.yaml", "--database-url", "postgresql://u:geheim@127.0.0.1:1/x"], 2, "postgres_unreachable"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_refused(courante: Courante, argv: list[str], exit_code: int, code: str) -> None:
    """Each kind of refusal has its exit code, a message and a hint; passwords are not shown."""
    said = courante("run", *argv, "--json")
    assert (said.code, said.json["error"]["code"]) == (exit_code, code), said.err
    assert said.json["error"]["message"]
    assert "geheim" not in said.out + said.err


def test_the_same_key_is_the_same_run(courante: Courante) -> None:
    """A repeated request gives the run of the first one; another request with its key is refused."""
    one = courante("run", "greet.yaml", "--app", "shop", "--input", "who=ann", "--key", "k", "--json")
    same = courante("run", "greet.yaml", "--app", "shop", "--input", "who=ann", "--key", "k", "--json")
    assert (one.code, same.json) == (0, one.json)
    other = courante("run", "greet.yaml", "--app", "shop", "--input", "who=bo", "--key", "k", "--json")
    assert (other.code, other.json["error"]["code"]) == (1, "idempotency_conflict")


def test_a_run_may_start_later_and_expire(courante: Courante) -> None:
    """It begins when its time has come; one whose time is over before it began has timed out."""
    late = courante("run", str(DIAMOND), "--start-at", "1s", "--expires-at", "1h", "--json")
    assert (late.code, late.json["status"]) == (0, "COMPLETED")
    over = courante("run", str(DIAMOND), "--expires-at", "2020-01-31", "--json")
    assert (over.code, over.json["status"], over.json["error"]["type"]) == (6, "TIMED_OUT", "EXPIRED")


def test_a_detached_run_waits_for_workers(environ: dict[str, str], folder: Path, courante: Courante) -> None:
    """It prints the id and the next command, says that nobody works, and goes on when somebody does."""
    said = courante("run", str(DIAMOND), "--detach")
    assert said.code == 0
    run_id = said.out.splitlines()[0]
    assert said.out == f"{run_id}\nnext: courante status {run_id} --watch\n"
    assert "no live worker can run it" in said.err
    told = courante("run", str(DIAMOND), "--detach", "--json")
    assert set(told.json) == RUN_FIELDS
    assert (told.json["status"] in ("PENDING", "RUNNING"), told.json["finished_at"]) == (True, None)
    with started(environ, folder, "supervisor"), started(environ, folder, "worker"):
        watched = courante("status", run_id, "--watch", "--json")
    assert (watched.code, watched.json["status"]) == (0, "COMPLETED")


def test_an_interrupted_run_is_kept(environ: dict[str, str], folder: Path, courante: Courante) -> None:
    """Ctrl-C with a worker of our own: the step at hand finishes, the rest waits; exit code 130."""
    argv = ["run", "sleep.yaml", "--app", "shop", "--input", "seconds=2"]
    with started(environ, folder, *argv) as process:
        wait_for(process, "sleeping")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, "")
    assert "finishing the steps at hand" in err
    run_id = RUN_ID.search(err.partition("stopped; ")[2])
    assert run_id is not None
    assert "goes on when a worker runs" in err
    steps = courante("status", run_id.group(), "--json").json["steps"]
    assert steps[0]["status"] == "SUCCEEDED"


def test_a_second_interruption_ends_at_once(environ: dict[str, str], folder: Path) -> None:
    """Ctrl-C twice drops what is at hand, however long it would take."""
    with started(environ, folder, "run", "sleep.yaml", "--app", "shop", "--input", "seconds=600", "--json") as process:
        wait_for(process, "sleeping")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "interrupted"


def test_others_at_work_are_left_to_it(environ: dict[str, str], folder: Path, courante: Courante) -> None:
    """With a live worker and supervisor ``run`` brings nobody; Ctrl-C then only stops waiting."""
    with (
        started(environ, folder, "supervisor", "--json") as supervisor,
        started(environ, folder, "worker", "--app", "shop", "--json") as worker,
    ):
        wait_for(supervisor, "supervisor_started")
        name = json.loads(wait_for(worker, "worker_started"))["worker"]
        said = courante("run", "greet.yaml", "--input", "who=ann", "--json")
        assert said.code == 0, said.err
        events = courante("events", said.json["run_id"], "--json").out.splitlines()
        workers = {json.loads(line)["worker"] for line in events} - {None}
        assert workers == {name}
        with started(environ, folder, "run", "sleep.yaml", "--input", "seconds=3") as process:
            wait_for(worker, "sleeping")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert (process.returncode, out) == (130, "")
        run_id = RUN_ID.search(err.partition("stopped waiting; ")[2])
        assert run_id is not None, err
        watched = courante("status", run_id.group(), "--watch", "--json")
        assert (watched.code, watched.json["output"]) == (0, {"only": "awake"})
        ends = {process: _end(process) for process in (worker, supervisor)}
    assert [code for code, _ in ends.values()] == [0, 0]
    assert (ends[worker][1]["worker"], ends[worker][1]["refused"]) == (name, 0)


def _end(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any]]:
    """Ask a daemon to end, and return its exit code and what it said last."""
    os.kill(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    return process.returncode, json.loads(out.splitlines()[-1])


@pytest.mark.parametrize("no_color", ["", "1"])
def test_progress_on_a_terminal_is_drawn_in_place(environ: dict[str, str], folder: Path, no_color: str) -> None:
    """stderr is redrawn and cleared while stdout holds the object alone; NO_COLOR leaves no colour."""
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "courante", "run", str(DIAMOND), "--json"],
        cwd=folder,
        env=clean_environ() | environ | {"TERM": "xterm-256color", "NO_COLOR": no_color, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = read_terminal(ours)
    out, _ = process.communicate(timeout=60)
    os.close(ours)
    assert (process.returncode, json.loads(out)["status"]) == (0, "COMPLETED")
    assert "4/4 complete" in drawn
    assert "\x1b[2K" in drawn, "lines are cleared"
    assert ("\x1b[32m" in drawn) == (not no_color)


def read_terminal(fd: int) -> str:
    """All that is written until the other side closes, which Linux tells as an error."""
    written = b""
    with contextlib.suppress(OSError):
        while part := os.read(fd, 65_536):
            written += part
    return written.decode()
