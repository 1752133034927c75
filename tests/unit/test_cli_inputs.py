"""Inputs, apps and settings from the command line."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from command_line import call
from courante.cli.apps import load_apps
from courante.cli.exits import CliError, ExitCode
from courante.cli.inputs import read_input, read_since, read_value


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory of the commands; what is imported from it is forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in [name for name in os.environ if name.startswith("COURANTE_")]:
        monkeypatch.delenv(name)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if getattr(sys.modules[name], "__file__", "") and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("tea", "tea"),
        ("7", 7),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ('"7"', "7"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("", ""),
        ("01", "01"),
        ("2026-01-31", "2026-01-31"),
        ("[1,", "[1,"),
        ("nan", "nan"),
    ],
)
def test_a_value_is_json_where_it_is_json(text: str, value: object) -> None:
    """Everything else is the text itself."""
    assert read_value("x", text) == value
    assert read_input([f"x={text}"], None) == {"x": value}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"a": 1, "a": 1}', "--input x: the key 'a' stands twice in one object"),
        ('{"b": [0, {"a": 1, "\\u0061": 2}]}', "--input x.b[1]: the key 'a' stands twice in one object"),
    ],
)
def test_a_value_that_says_two_things_under_one_key_is_refused(text: str, words: str) -> None:
    """Taking the last of them would be a guess."""
    with pytest.raises(CliError) as raised:
        read_input([f"x={text}"], None)
    assert (raised.value.exit_code, raised.value.message) == (ExitCode.INVALID, words)


def test_only_the_first_equals_sign_divides() -> None:
    """A value may hold more of them; a name given twice has its last value."""
    assert read_input(["url=http://x/?a=b", "n=1", "n=2"], None) == {"url": "http://x/?a=b", "n": 2}
    assert read_input([], None) == {}


@pytest.mark.parametrize("pair", ["x", "=1"])
def test_a_pair_needs_a_name_and_a_sign(pair: str) -> None:
    """The message shows what was given and how it is meant."""
    with pytest.raises(CliError) as raised:
        read_input([pair], None)
    assert raised.value.exit_code == ExitCode.USAGE
    assert pair in raised.value.message
    assert "--input topic=tea" in raised.value.hint


def test_a_file_holds_json_or_yaml_and_pairs_come_on_top(folder: Path) -> None:
    """The file is the input; named values replace those of the file."""
    (folder / "in.yaml").write_text("who: ann\nids: [1, 2]\n")
    (folder / "in.json").write_text('["a", "list"]')
    assert read_input(["who=bo"], "in.yaml") == {"who": "bo", "ids": [1, 2]}
    assert read_input([], "in.json") == ["a", "list"]


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """``--input-file -``."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    assert read_input([], "-") == {"a": 1}
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{a: [")))
    with pytest.raises(CliError, match=r"^standard input:1:"):
        read_input([], "-")


@pytest.mark.parametrize(
    ("name", "content", "pairs", "exit_code"),
    [
        ("absent.json", None, [], ExitCode.NOT_FOUND),
        ("bad.json", '{"a": }', [], ExitCode.INVALID),
        ("twice.json", '{"a": 1, "a": 2}', [], ExitCode.INVALID),
        ("twice.yaml", "a: 1\na: 2\n", [], ExitCode.INVALID),
        ("list.json", "[1]", ["a=1"], ExitCode.USAGE),
        ("empty.yaml", "", ["a=1"], ExitCode.INVALID),
    ],
)
def test_a_file_that_cannot_be_used(
    folder: Path, name: str, content: str | None, pairs: list[str], exit_code: ExitCode
) -> None:
    """Not there, not JSON, or no object where fields are to be added: each with its own exit code."""
    if content is not None:
        (folder / name).write_text(content)
    with pytest.raises(CliError) as raised:
        read_input(pairs, name)
    assert raised.value.exit_code == exit_code
    assert name in raised.value.message


def test_since_is_an_age_or_a_moment() -> None:
    """``2h`` is that long ago; a time without an offset is UTC."""
    ago = read_since("2h")
    assert ago is not None
    assert abs(datetime.now(UTC) - timedelta(hours=2) - ago) < timedelta(minutes=1)
    assert read_since("2026-01-31") == datetime(2026, 1, 31, tzinfo=UTC)
    assert read_since("2026-01-31T12:00:00+02:00") == datetime(2026, 1, 31, 10, tzinfo=UTC)
    assert read_since(None) is None
    with pytest.raises(CliError, match="no duration and no time"):
        read_since("yesterday")


def test_an_app_is_imported_from_the_current_directory(folder: Path) -> None:
    """Its steps are there after it."""
    name = "app_that_is_here"
    lines = [
        "from courante.sdk.authoring.steps import step",
        f"@step('{name}.greet')",
        "def greet(input):",
        "    return input",
    ]
    (folder / f"{name}.py").write_text("\n".join(lines))
    assert f"{name}.greet" in load_apps([name]).names()


@pytest.mark.parametrize(
    ("name", "content", "code", "words"),
    [
        ("app_absent", None, "app_not_found", "there is no module 'app_absent'"),
        ("app_absent.inner", None, "app_not_found", "there is no module 'app_absent'"),
        ("app_a.py", None, "bad_app", "expected the name of a module"),
        ("app_b", "import not_there_at_all", "app_broken", "No module named 'not_there_at_all'"),
        ("app_c", "x = 1\ny = x / 0\n", "app_broken", "app_c.py:2)"),
        ("app_d", "def f(:\n", "app_broken", "app_d.py:1)"),
        ("app_e", "from courante import step\n@step('e')\ndef e(a, b, c): ...\n", "app_broken", "app_e.py:2)"),
    ],
)
def test_an_app_that_cannot_be_imported(folder: Path, name: str, content: str | None, code: str, words: str) -> None:
    """The message names the module, and the line where its import fails."""
    if content is not None:
        (folder / f"{name}.py").write_text(content)
    with pytest.raises(CliError) as raised:
        load_apps([name])
    assert (raised.value.exit_code, raised.value.code) == (ExitCode.USAGE, code)
    assert f"--app {name}" in raised.value.message
    assert words in raised.value.message


def config(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    said = call(capsys, "config", "--json", *argv)
    assert said.code == 0, said.out
    return dict(said.json)


def test_config_says_where_every_value_comes_from(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An option wins over a variable, that over the file, that over the default; passwords are masked."""
    (folder / "courante.toml").write_text('env = "file"\nlease_ms = 5000\nconcurrency = 7\n')
    monkeypatch.setenv("COURANTE_CONCURRENCY", "9")
    monkeypatch.setenv("COURANTE_REDIS_URL", "redis://:opensesame@here/0")
    monkeypatch.setenv("COURANTE_CONCURENCY", "9")
    found = config(capsys, "--env", "flag")
    settings = found["settings"]
    assert settings["env"] == {"value": "flag", "source": "--env", "variable": "COURANTE_ENV"}
    assert settings["concurrency"] == {"value": 9, "source": "COURANTE_CONCURRENCY", "variable": "COURANTE_CONCURRENCY"}
    assert (settings["lease_ms"]["value"], settings["lease_ms"]["source"]) == (5000, str(folder / "courante.toml"))
    assert (settings["partitions"]["value"], settings["partitions"]["source"]) == (1, "default")
    assert settings["redis_url"]["value"] == "redis://:***@here/0"
    assert found["unknown"] == ["COURANTE_CONCURENCY is not a setting; did you mean 'COURANTE_CONCURRENCY'?"]
    assert "opensesame" not in json.dumps(found)


def test_options_may_stand_before_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """``courante --env a config`` is ``courante config --env a``; the later one wins."""
    said = call(capsys, "--json", "--env", "a", "config")
    assert said.json["settings"]["env"]["value"] == "a"
    said = call(capsys, "--env", "a", "config", "--env", "b", "--json")
    assert said.json["settings"]["env"]["value"] == "b"


def test_config_is_a_table_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    """Three columns; no URL means the embedded server."""
    said = call(capsys, "config")
    lines = said.out.splitlines()
    assert lines[0].split() == ["setting", "value", "source"]
    assert lines[1].split() == ["redis_url", "(embedded)", "default"]
    assert ["otlp_url", "(none)", "default"] in [each.split() for each in lines]
