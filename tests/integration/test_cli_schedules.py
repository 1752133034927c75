"""``courante schedules``: from making one to filling in what it missed; in words and as JSON."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from command_line import RUN_ID, Said, spawn

HELLO = """\
courante: 1
id: hello
nodes: [{id: a, type: noop}]
"""
FIELDS = set(
    """
    id workflow version input cron every_ms anchor timezone jitter_ms catch_up catch_up_max grace_ms overlap tags
    starts_at ends_at by note is_paused pause_by pause_note next_tick created_at updated_at
    """.split()
)
TICK = {"at", "due_at", "origin", "overlap", "state", "reason", "run_id", "by"}
Schedules = Callable[..., Said]


@pytest.fixture
def schedules(redis_url: str, migrated_database: str, env_name: str, tmp_path: Path) -> Schedules:
    """Call a command under ``courante schedules``, where a workflow ``hello`` is registered."""
    environ = {"COURANTE_REDIS_URL": redis_url, "COURANTE_DATABASE_URL": migrated_database, "COURANTE_ENV": env_name}
    (tmp_path / "hello.yaml").write_text(HELLO)
    assert spawn("init", "hello.yaml", cwd=tmp_path, environ=environ).code == 0
    return lambda *argv: spawn("schedules", *argv, cwd=tmp_path, environ=environ)


def done(said: Said) -> Any:
    assert said.code == 0, said
    return said.json


def test_a_schedule_from_its_making_to_its_end(schedules: Schedules) -> None:
    """Each command gives one object, with what it has done."""
    more = ["--input", "day={{ schedule.tick }}", "--jitter", "5m", "--tag", "tea", "--note", "for tea", "--by", "ada"]
    made = done(schedules("create", "s", "hello", "--cron", "@daily", "--timezone", "Europe/Berlin", *more, "--json"))
    assert set(made) == FIELDS
    assert (made["input"], made["jitter_ms"], made["by"]) == ({"day": "{{ schedule.tick }}"}, 300_000, "ada")
    assert done(schedules("list", "--json")) == {"schedules": [made], "next": None}
    paused = done(schedules("pause", "s", "--note", "holidays", "--by", "bob", "--json"))
    assert (paused["is_paused"], paused["pause_by"], paused["pause_note"]) == (True, "bob", "holidays")
    tick = done(schedules("trigger", "s", "--by", "eve", "--json"))
    assert set(tick) == {"id", *TICK}
    assert (tick["state"], tick["origin"], tick["by"]) == ("started", "trigger", "eve")
    assert RUN_ID.fullmatch(tick["run_id"])
    assert done(schedules("resume", "s", "--json"))["is_paused"] is False
    filled = done(schedules("backfill", "s", "--since", "3d", "--json"))
    assert filled["ticks"] == len(filled["filled"]) == 3
    shown = done(schedules("show", "s", "--limit", "2", "--json"))
    assert set(shown) == {*FIELDS, "next", "ticks"}
    assert [set(one) for one in shown["ticks"]] == [TICK] * 2
    assert done(schedules("next", "s", "--count", "3", "--json"))["next"] == shown["next"]
    assert done(schedules("delete", "s", "--json")) == {"id": "s", "is_deleted": True}
    assert schedules("show", "s", "--json").json["error"]["code"] == "schedule_not_found"


def test_a_schedule_in_words(schedules: Schedules) -> None:
    """What people read names the times, the rules and the next useful command."""
    made = schedules("create", "s", "hello", "--every", "1h", "--catch-up", "all", "--overlap", "allow", "--paused")
    assert made.stable == (
        "✓ s starts hello: every 1h\n"
        f"  paused by {getpass.getuser()}; next tick TIME\n"
        "next: courante schedules show s\n"
    )
    assert schedules("trigger", "s").stable == "started: RUN\nnext: courante status RUN\n"
    lines = schedules("show", "s").stable.splitlines()
    assert lines[0] == "s"
    assert lines[2] == "when      every 1h"
    assert lines[4] == "rules     overlap allow, catch-up all (at most 100)"
    assert lines[5] == "next      TIME, TIME, TIME"
    assert lines[-1].split() == ["TIME", "trigger", "started", "RUN"]
    assert schedules("list").stable.splitlines()[1].split()[:3] == ["s", "hello", "every"]


def test_what_is_wrong_has_its_exit_code(schedules: Schedules) -> None:
    """A schedule that cannot be is invalid, one that is not there is not found, and options are usage."""
    daily = ("create", "s", "hello", "--cron", "@daily")
    for argv, code, word, words in (
        (("create", "s", "hello", "--cron", "99 * * * *"), 1, "schedule_invalid", "cron: '99 * * * *': bad minute"),
        (("create", "s", "hello", "--every", "soon"), 64, "bad_every", "--every 'soon': no duration"),
        (("create", "s", "nobody", "--cron", "@daily"), 3, "workflow_not_found", "no workflow nobody"),
        ((*daily, "--overlap", "x"), 64, "usage", "'allow', 'skip'"),
        ((*daily, "--starts", "noon"), 64, "bad_starts", "--starts 'noon'"),
        (("pause", "x"), 3, "schedule_not_found", "no schedule 'x'"),
        (("next",), 64, "usage", "either the ID of a schedule or --cron"),
    ):
        said = schedules(*argv, "--json")
        error = said.json["error"]
        assert (said.code, error["code"]) == (code, word)
        assert words in error["message"]


def test_an_expression_is_explained_without_a_server(tmp_path: Path) -> None:
    """``next --cron`` needs nothing that runs."""
    argv = ["schedules", "next", "--cron", "0 9 * * MON", "--timezone", "Asia/Tokyo", "--count", "2", "--json"]
    said = spawn(*argv, cwd=tmp_path, environ={"COURANTE_HOME": str(tmp_path / "nowhere")})
    times = done(said)["next"]
    assert len(times) == 2 and all(time.endswith("T00:00:00.000Z") for time in times)
    assert not (tmp_path / "nowhere").exists()
