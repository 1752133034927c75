"""The group of commands: help, usage errors, and how every error becomes an exit code and an object."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import asyncpg
import click
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from command_line import call, clean_environ
from courante import __version__
from courante.bench.main import MEASURES, REPETITIONS
from courante.cli import exits
from courante.cli.call import Call
from courante.cli.examples import EXAMPLES
from courante.cli.exits import CliError, ExitCode, explain
from courante.cli.main import ENTRIES, cli
from courante.sdk.embedded import EmbeddedError
from courante.sdk.errors import IdempotencyConflict, InputInvalid, RunNotFound, ServiceUnavailable, WorkflowNotFound
from courante.sdk.settings import SettingsError, load_settings
from courante.sdk.stores.errors import BadFilter, SchemaTooNew, UnknownRun, UnknownWorkflow

HEAVY = (
    *("asyncpg", "redis", "structlog", "msgspec", "anyio", "yaml", "rich"),
    *("starlette", "uvicorn", "cryptography", "httpx", "prometheus_client", "opentelemetry"),
)


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command, with those of sub-groups."""
    context = click.Context(cli)
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        yield name, command
        if isinstance(command, click.Group):
            yield from ((f"{name} {inner}", found) for inner, found in command.commands.items())


def test_the_table_of_commands_says_what_the_commands_say() -> None:
    """The lines of the general help are the first lines of help of the commands themselves."""
    for name, command in commands():
        first = (command.help or "").strip().splitlines()[0]
        if name in ENTRIES:
            assert (name, ENTRIES[name].help) == (name, first)
        assert command.get_short_help_str(200) in (first, first.rstrip("."))


def test_every_command_takes_json() -> None:
    """``--json`` stands on every command."""
    for name, command in commands():
        assert any("--json" in parameter.opts for parameter in command.params), name


@pytest.mark.parametrize(("words", "line"), [(words, line) for words, lines in EXAMPLES.items() for line in lines])
def test_examples_of_the_help_are_read(capsys: pytest.CaptureFixture[str], words: str, line: str) -> None:
    """Each is one of its command, which takes all of it; and the help shows it as it stands."""
    argv = shlex.split(line)
    command: click.Command = cli
    context = click.Context(cli, info_name="courante", obj=Call())
    for word in words.split():
        assert isinstance(command, click.Group)
        found = command.get_command(context, word)
        assert found is not None
        assert argv.pop(0) == word
        command, context = found, click.Context(found, info_name=word, parent=context)
    command.make_context(words, argv, parent=context.parent)
    assert f"\n    courante {line}\n" in call(capsys, *words.split(), "--help").out


def test_the_help_names_what_is_so_where_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults of settings and names of benchmarks stand in the help as text, for nothing heavy is loaded for it."""
    settings, _ = load_settings({}, environ={"HOME": "/nowhere"})

    def help_of(name: str) -> str:
        return " ".join(call(capsys, name, "--help").out.split())

    for name in ("worker", "up", "run"):
        assert f"left out: {settings.concurrency}." in help_of(name), name
    assert f"in ms; left out: {settings.lease_ms}." in help_of("worker")
    assert f"left out: {settings.api_port}" in help_of("api")
    told = help_of("bench")
    assert f"NAME is {', '.join([*MEASURES][:-1])} or {[*MEASURES][-1]}." in told
    assert f"left out: {REPETITIONS}." in told


def test_help_loads_nothing_heavy(capfd: pytest.CaptureFixture[str]) -> None:
    """``courante --help`` imports click and our own two or three modules; how long that takes is printed."""
    script = (
        "import sys; from courante.cli.main import run_cli; code = run_cli(['--help']);"
        f"print(code, [name for name in {HEAVY!r} if name in sys.modules])"
    )
    argv = [sys.executable, "-c", script]
    began = time.perf_counter()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True, env=clean_environ())
    with capfd.disabled():
        print(f"courante --help: {(time.perf_counter() - began) * 1000:.0f} ms", end=" ")
    assert done.stdout.splitlines()[-1] == "0 []"
    for name in ENTRIES:
        assert f"\n  {name} " in done.stdout


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """``--version`` says which version this is."""
    said = call(capsys, "--version")
    assert (said.code, said.out) == (0, f"courante {__version__}\n")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["vlidate", "x"], "there is no command 'vlidate'; did you mean 'validate'?"),
        (["validate"], "Missing argument 'FILE'"),
        (["validate", "a", "b"], "Got unexpected extra argument"),
        (["runs", "--limt", "3"], "No such option '--limt'"),
        (["bench", "nothing"], "there is no benchmark 'nothing'"),
        (["replay", "run_1", "--at", "0"], "0 is not in the range"),
        (["keys", "create", "ci"], "Missing option '--scope'. Choose from: read, submit, operate, approve, admin"),
        (["api", "--port", "99999"], "api_port from --port: expected a whole number"),
        (["config", "--env", "Not Good"], "env from --env: expected 1 to 64"),
    ],
)
def test_wrong_usage_exits_with_64(capsys: pytest.CaptureFixture[str], argv: list[str], words: str) -> None:
    """Wrong usage is told on stderr with a hint, or as one object on stdout, and never with click's own code."""
    plain = call(capsys, *argv)
    assert (plain.code, plain.out) == (64, "")
    assert words in plain.err
    assert "hint: " in plain.err
    told = call(capsys, *argv, "--json")
    assert (told.code, told.err) == (64, "")
    assert words in told.json["error"]["message"]
    assert set(told.json["error"]) == {"code", "message", "hint"}
    assert len(told.out.splitlines()) == 1


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["replay", "run_1", "--at"], "courante replay"),
        (["replay", "run_1", "--diff", "2"], "courante replay"),
        (["audit", "verify", "--key"], "courante audit verify"),
        (["--env"], "courante"),
    ],
)
def test_an_option_without_its_value_names_the_command(
    capsys: pytest.CaptureFixture[str], argv: list[str], command: str
) -> None:
    """click does not say in which command the parser gave up; the hint does."""
    said = call(capsys, *argv)
    assert (said.code, said.err.splitlines()[-1]) == (64, f"hint: see '{command} --help'")


def test_no_command_shows_the_help_and_exits_with_64(capsys: pytest.CaptureFixture[str]) -> None:
    """``courante`` alone is wrong usage; the help stands on stdout for who reads it."""
    said = call(capsys)
    assert said.code == 64
    assert "Usage: courante" in said.out + said.err


@pytest.mark.parametrize(
    ("error", "exit_code", "code"),
    [
        (SettingsError("env", "--env", "no"), ExitCode.USAGE, "bad_setting"),
        (EmbeddedError("start_timed_out", "no"), ExitCode.SERVICE, "start_timed_out"),
        (WorkflowNotFound("no"), ExitCode.NOT_FOUND, "workflow_not_found"),
        (RunNotFound("no"), ExitCode.NOT_FOUND, "run_not_found"),
        (UnknownRun("run_1"), ExitCode.NOT_FOUND, "run_not_found"),
        (UnknownWorkflow("w", 3), ExitCode.NOT_FOUND, "workflow_not_found"),
        (InputInvalid("no", ["no", "nor this"]), ExitCode.INVALID, "input_invalid"),
        (IdempotencyConflict("no"), ExitCode.INVALID, "idempotency_conflict"),
        (ServiceUnavailable("no"), ExitCode.SERVICE, "service_unavailable"),
        (BadFilter("status", "no"), ExitCode.USAGE, "bad_status"),
        (SchemaTooNew(["0009_x.sql"]), ExitCode.SERVICE, "schema_unusable"),
        (RedisConnectionError("no"), ExitCode.SERVICE, "redis_unavailable"),
        (asyncpg.UndefinedTableError("no"), ExitCode.SERVICE, "schema_missing"),
        (asyncpg.InsufficientPrivilegeError("no"), ExitCode.SERVICE, "role_lacks_right"),
        (asyncpg.CannotConnectNowError("no"), ExitCode.SERVICE, "postgres_unavailable"),
        (ConnectionRefusedError("no"), ExitCode.SERVICE, "service_unavailable"),
        (ExceptionGroup("tasks", [ExceptionGroup("tasks", [RunNotFound("no")])]), ExitCode.NOT_FOUND, "run_not_found"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_an_exit_code(error: Exception, exit_code: ExitCode, code: str) -> None:
    """What the layers below raise is told by one code each, also from inside of task groups."""
    known = explain(error)
    assert known is not None
    assert (known.exit_code, known.code) == (exit_code, code)
    assert known.message


def test_what_is_not_known_is_a_fault_of_ours() -> None:
    """Errors of a kind that nobody raises on purpose are not explained away, nor by what happened beside them."""
    assert explain(KeyError("x")) is None
    assert explain(ExceptionGroup("two", [RunNotFound("a"), KeyError("x")])) is None


def test_all_problems_of_an_input_are_told() -> None:
    """An input that is wrong in several places is told with every place, a line each."""
    known = explain(InputInvalid("the input does not fit: input.a: no", ["input.a: no", "input.b: no"]))
    assert known is not None
    assert known.hint.startswith("the workflow's 'input:' says what it takes")
    assert known.message.splitlines() == ["the input does not fit: input.a: no", "input.b: no"]


def test_a_fault_of_ours_is_told_with_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error nobody expected: the traceback on stderr, an object on stdout, exit code 1."""

    def fail() -> None:
        raise ZeroDivisionError("by design")

    module = import_module("courante.cli.commands.schema")
    monkeypatch.setattr(module, "workflow_json_schema", fail)
    said = call(capsys, "schema", "--json")
    assert (said.code, said.json["error"]["code"]) == (1, "internal_error")
    assert "Traceback" in said.err
    assert "by design" in said.err


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, click.exceptions.Abort])
def test_an_interruption_exits_with_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, interruption: type[BaseException]
) -> None:
    """Ctrl-C anywhere ends with 130 and no traceback."""

    def fail() -> None:
        raise interruption

    monkeypatch.setattr(import_module("courante.cli.commands.schema"), "workflow_json_schema", fail)
    said = call(capsys, "schema")
    assert (said.code, said.out, said.err.strip()) == (130, "", "interrupted")
    said = call(capsys, "schema", "--json")
    assert (said.code, said.err.strip(), said.json["error"]["code"]) == (130, "", "interrupted")


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """Closing the pipe, as ``head`` does, ends the command without a word on stderr."""
    with subprocess.Popen(
        [sys.executable, "-m", "courante", "schema"],
        cwd=tmp_path,
        env=clean_environ() | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_exit_codes_are_the_documented_ones() -> None:
    """The numbers are a promise to scripts."""
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "INVALID": 1,
        "SERVICE": 2,
        "NOT_FOUND": 3,
        "CANCELLED": 4,
        "RUN_FAILED": 5,
        "TIMED_OUT": 6,
        "USAGE": 64,
        "INTERRUPTED": 130,
    }
    statuses = {status: int(code) for status, code in exits.STATUS_EXITS.items()}
    assert statuses == {"COMPLETED": 0, "CANCELLED": 4, "FAILED": 5, "TIMED_OUT": 6}
    assert CliError(ExitCode.USAGE, "a", "b").hint == ""
