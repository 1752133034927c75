"""The command line over the API: each command says the same as it does on the servers themselves, refusals too."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from anyio.to_thread import run_sync

from command_line import RUN_ID, Said, clean_environ, spawn
from courante.api.app import build_app
from courante.api.backend import open_backend
from courante.api.reading.approvals import read_approvals
from courante.api.server import Server
from courante.cli.api_socket import listen, url_of
from courante.cli.main import run_cli
from courante.cli.remote import connection
from courante.sdk.authoring.context import Context
from integration.cases import node
from integration.gated import gate_of, make_key
from integration.http_calls import settings_of
from integration.http_site import Answer, open_site
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
FILE = """\
courante: 1
id: sheet
name: A sheet
nodes:
  - {id: draw, type: function, config: {handler: draw}}
  - {id: check, type: approval, depends_on: draw}
  - {id: done, type: echo, depends_on: check, config: {value: {size: 3}}}
"""
LOOKS = [
    ["status", "DONE"],
    ["status", "WAITING"],
    ["status", "run_0"],
    ["status", ".."],
    ["status", "a/b%2Fc"],
    ["runs"],
    ["runs", "--limit", "1", "--status", "completed", "--since", "1h"],
    ["runs", "--status", "lost"],
    ["runs", "--cursor", "x"],
    ["events", "DONE"],
    ["events", "DONE", "--payloads", "--after", "2"],
    ["events", "DONE", "--follow", "--type", "step.*", "--step", "draw"],
    ["events", "run_0"],
    ["logs", "DONE"],
    ["logs", "DONE", "--step", "draw", "--follow"],
    ["logs", "DONE", "--step", "drow"],
    ["approvals"],
    ["approvals", "--workflow", "other"],
    ["workflows", "list"],
    ["workflows", "show", "sheet"],
    ["workflows", "show", "none"],
    ["workflows", "show", "sheet", "--version", "9"],
    ["graph", "sheet", "--format", "dot"],
    ["graph", "none"],
    ["replay", "DONE", "--at", "3"],
    ["replay", "DONE", "--diff", "2", "4"],
    ["replay", "DONE", "--at", "999"],
    ["artifacts", "DONE"],
    ["artifacts", "DONE", "ffff"],
    ["artifacts", "run_0"],
]
PASSING = re.compile(r'("(?:lag_ms|oldest_ms)": )\d+')


async def draw(context: Context) -> dict[str, Any]:
    context.log("drawing", lines=2)
    return {"drawn": await context.artifact(b"a picture", "image/png")}


@dataclass
class Ways:
    """A command, both ways. ``here``, ``over``: the environments of the two."""

    here: dict[str, str]
    over: dict[str, str]

    async def say(self, *argv: str, **more: str) -> Said:
        """Over the API. more: of the environment."""
        return await say(*argv, environ=self.over | more)

    async def both(self, *argv: str) -> tuple[Said, Said]:
        return await say(*argv, environ=self.here), await say(*argv, environ=self.over)


async def say(*argv: str, environ: dict[str, str]) -> Said:
    """Call a command in a thread of this process."""

    def call() -> Said:
        out, err = io.StringIO(), io.StringIO()
        with patch.dict(os.environ, clean_environ() | environ, clear=True), redirect_stdout(out), redirect_stderr(err):
            code = run_cli(argv)
        return Said(code, out.getvalue(), err.getvalue())

    return await run_sync(call)


def plain(said: Said) -> tuple[int, str, str]:
    """What must be the same: all but times that pass, and the width of their columns."""
    return said.code, re.sub(" +", " ", PASSING.sub(r"\g<1>N", said.stable)), RUN_ID.sub("RUN", said.err)


@asynccontextmanager
async def serving(
    stage: Stage, port: int = 0, paths: list[str] | None = None, cut_off: set[str] | None = None
) -> AsyncGenerator[str]:
    """The URL of an API of the stage that asks for keys. paths: of all requests. cut_off: what is asked there first is
    done, and the answer does not come.
    """

    async def swallow(message: Any) -> None:
        del message

    async def noted(scope: Any, receive: Any, send: Any) -> None:
        if paths is not None:
            paths.append(scope["path"])
        if cut_off is None or scope["path"] not in cut_off:
            await gate(scope, receive, send)
            return
        cut_off.remove(scope["path"])
        await gate(scope, receive, swallow)
        await send({"type": "http.response.start", "status": 201, "headers": [(b"content-length", b"9")]})

    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        with listen("127.0.0.1", port) as listening:
            gate = gate_of(stage.client, build_app(backend))
            server = Server(noted, on_stop=backend.stop)

            async def serve() -> None:
                with anyio.CancelScope(shield=True):  # else it goes on answering whoever is connected
                    await server.run_on(listening)

            async with anyio.create_task_group() as group:
                group.start_soon(serve)
                try:
                    yield url_of(listening)
                finally:
                    server.stop()
                    server.kill()


def ways_of(stage: Stage, url: str, key: str, tmp_path: Path) -> Ways:
    home = {"COURANTE_HOME": str(tmp_path / "home"), "COURANTE_ENV": stage.place.env}
    urls = {"COURANTE_REDIS_URL": stage.place.redis_url, "COURANTE_DATABASE_URL": stage.place.database_url}
    return Ways(home | urls, home | {"COURANTE_API_URL": url, "COURANTE_API_KEY": key})


async def asked(stage: Stage) -> str:
    """A run that waits for a decision, once that is known to whoever looks."""
    run_id = await stage.client.submit("sheet")

    async def waiting() -> int:
        async with stage.client.pool.acquire() as conn:
            return len((await read_approvals(conn, stage.place.env, run_id=run_id)).approvals)

    await until(waiting, lambda found: found == 1)
    return run_id


async def test_what_is_looked_at_is_the_same(stage: Stage, tmp_path: Path) -> None:
    """Each command, in words and as JSON: output, errors and exit codes."""
    file = tmp_path / "sheet.yaml"
    file.write_text(FILE)
    stage.worker({"draw": draw})
    stage.supervisor()
    async with serving(stage) as url:
        ways = ways_of(stage, url, await make_key(stage, "admin"), tmp_path)
        made, known = (
            await ways.say("init", str(file), "--json"),
            await say("init", str(file), "--json", environ=ways.here),
        )
        assert (made.code, made.json | {"is_new": False}) == (0, known.json)
        here, over = await ways.both("init", str(file))
        assert plain(here) == plain(over)
        runs = {"DONE": await asked(stage), "WAITING": await asked(stage)}
        await stage.client.approve(runs["DONE"])
        assert (await stage.result(runs["DONE"])).status == "COMPLETED"
        await until(lambda: ways.say("logs", runs["DONE"]), lambda said: "drawing" in said.out)
        for look in LOOKS:
            argv = [runs.get(word, word) for word in look]
            for words in (argv, [*argv, "--json"]):
                here, over = await ways.both(*words)
                assert plain(here) == plain(over), words
                assert here.out or here.err, words
        digest = (await ways.say("artifacts", runs["DONE"], "--json")).json["artifacts"][0]["digest"]
        assert (await ways.say("artifacts", runs["DONE"], digest[:9], "--output", str(tmp_path / "it"))).code == 0
        assert (tmp_path / "it").read_bytes() == b"a picture"
        here, over = await ways.both("health", "--json")
        assert (over.code, set(over.json)) == (here.code, set(here.json))


async def test_a_file_is_run_and_followed(stage: Stage, tmp_path: Path) -> None:
    """As on the servers: registered, submitted, waited for; whoever works on it is elsewhere."""
    file = tmp_path / "echo.yaml"
    file.write_text("courante: 1\nid: echo\nnodes: [{id: say, type: transform, config: {expression: input.word}}]\n")
    stage.worker()
    stage.supervisor()
    async with serving(stage) as url:
        ways = ways_of(stage, url, await make_key(stage, "admin"), tmp_path)
        argv = ("run", str(file), "--input", "word=hello", "--tag", "x")
        here, over = [
            await run_sync(partial(spawn, *argv, cwd=tmp_path, environ=environ)) for environ in (ways.here, ways.over)
        ]
        assert (over.code, over.stable) == (0, here.stable), over
        assert "say" in over.err
        detached = await ways.say("run", "echo", "--input", "word=hi", "--detach", "--json")
        assert detached.code == 0
        assert (await stage.result(detached.json["run_id"])).output == {"say": "hi"}
        here, over = await ways.both("run", "none", "--detach")
        assert plain(here) == plain(over)
        refused = await ways.say("run", "echo", "--app", "json", "--json")
        assert (refused.code, refused.json["error"]["code"]) == (64, "usage")


async def test_a_run_is_started_once_whatever_becomes_of_the_answer(stage: Stage, tmp_path: Path) -> None:
    """Where that is cut off it is asked for again, and is the same run; so it is by a key that somebody names."""
    await stage.register(node("say"), id="echo")
    paths, cut_off, runs = list[str](), set[str](), list[str]()
    async with serving(stage, paths=paths, cut_off=cut_off) as url:
        ways = ways_of(stage, url, await make_key(stage, "admin"), tmp_path)
        for named in ([], ["--key", "mine"]):
            cut_off.add("/v1/runs")
            said = await ways.say("run", "echo", *named, "--detach", "--json")
            assert said.code == 0, said
            runs.append(said.json["run_id"])
    assert paths == ["/v1/session", "/v1/runs", "/v1/runs"] * 2
    async with stage.client.pool.acquire() as conn:
        kept = await conn.fetch("SELECT run_id FROM commands WHERE env = $1 AND number = 1", stage.place.env)
    assert {row["run_id"] for row in kept} == set(runs)


async def test_who_watches_goes_on_when_the_server_is_back(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stops in the middle is asked again until it is back; one that stays away is told."""
    monkeypatch.setattr(connection, "PATIENCE_S", 1.2)  # in this process alone; who watches looks more often
    (tmp_path / "sheet.yaml").write_text(FILE)
    stage.worker({"draw": draw})
    stage.supervisor()
    found: dict[str, Said] = {}
    paths: list[str] = []

    async def follow(name: str, *argv: str) -> None:
        environ = ways.here if name == "here" else ways.over
        found[name] = await run_sync(partial(spawn, *argv, cwd=tmp_path, environ=environ))

    async def lose(run_id: str) -> None:
        found["lost"] = await ways.say("status", run_id, "--watch", "--json")

    async with anyio.create_task_group() as group:
        async with serving(stage, paths=paths) as url:
            ways = ways_of(stage, url, await make_key(stage, "admin"), tmp_path)
            assert (await ways.say("init", str(tmp_path / "sheet.yaml"))).code == 0
            run_id, other = await asked(stage), await asked(stage)
            group.start_soon(follow, "watched", "status", run_id, "--watch")
            group.start_soon(follow, "over", "events", run_id, "--follow")
            group.start_soon(follow, "here", "events", run_id, "--follow")
            group.start_soon(lose, other)
            awaited = {f"/v1/runs/{run_id}": 2, f"/v1/runs/{run_id}/events": 2, f"/v1/runs/{other}": 1}
            await until(count_of(paths), lambda now: all(now[path] >= count for path, count in awaited.items()), 60)
        await until(names_of(found), lambda names: "lost" in names)
        found["gone"] = await ways.say("status", run_id, "--json")
        async with serving(stage, int(url.rpartition(":")[2])):
            await stage.client.approve(run_id)
            await until(names_of(found), lambda names: len(names) == 5, 60)
    assert (found["watched"].code, "COMPLETED" in found["watched"].out) == (0, True)
    assert (found["over"].code, found["over"].out) == (0, found["here"].out)
    for said in (found["lost"], found["gone"]):
        assert (said.code, said.json["error"]["code"]) == (2, "api_unreachable"), said


USAGE = ("other_env", "bad_setting", "key_in_clear", "request_too_long")


async def test_who_may_not_ask_is_told_what_is_missing(stage: Stage, tmp_path: Path) -> None:
    """A key, its scope, the API itself, its environment, or a command that no API can do; and no key is ever shown."""

    async def refused(*argv: str, **environ: str) -> tuple[int, str, str]:
        said = await ways.say(*argv, "--json", **environ)
        assert key not in said.out + said.err
        error = said.json["error"]
        return said.code, error["code"], f"{error['message']} ({error['hint']})"

    key = await make_key(stage, "submit", name="narrow")
    file = tmp_path / "key"
    file.write_text(f"{key}\n")
    async with (
        serving(stage) as url,
        open_site(lambda _: Answer(status=200, headers={"Content-Type": "text/html"}, body=b"<html>")) as other,
        open_site(lambda _: Answer(status=302, headers={"Location": "http://127.0.0.1/"})) as elsewhere,
        open_site(lambda _: Answer.json('{"runs": 3}')) as newer,
        open_site(lambda _: Answer(status=431)) as brief,
    ):
        ways = ways_of(stage, url, key, tmp_path)
        by_file = {"COURANTE_API_KEY": "", "COURANTE_API_KEY_FILE": str(file)}
        asked = {
            ("forbidden", "'read'"): {},
            ("forbidden", "narrow may not do this"): by_file,
            ("unauthenticated", "wants a key"): {"COURANTE_API_KEY": ""},
            ("unauthenticated", "the key is not in force here"): {"COURANTE_API_KEY": "x" * 40},
            ("other_env", f"serves the environment '{stage.place.env}'"): {"COURANTE_ENV": "other"},
            ("api_unusable", "no API of courante"): {"COURANTE_API_URL": other.url, "COURANTE_ENV": ""},
            ("api_unusable", "sends on to"): {"COURANTE_API_URL": elsewhere.url, "COURANTE_ENV": ""},
            ("request_too_long", "too long a question"): {"COURANTE_API_URL": brief.url, "COURANTE_ENV": ""},
            ("api_other_version", "cannot be read"): {"COURANTE_API_URL": newer.url, "COURANTE_ENV": ""},
            ("api_unreachable", "refused"): {"COURANTE_API_URL": "http://127.0.0.1:1", "COURANTE_ENV": ""},
            ("api_unreachable", "TLS"): {"COURANTE_API_URL": url.replace("http", "https"), "COURANTE_ENV": ""},
            ("key_in_clear", "https://"): {"COURANTE_API_URL": "http://192.0.2.1", "COURANTE_ENV": ""},
            ("api_unusable", "127.1"): {
                "COURANTE_API_URL": other.url.replace("127.0.0.1", "127.1"),
                "COURANTE_API_KEY_IN_CLEAR": "true",
                "COURANTE_ENV": "",
            },
            ("bad_setting", "URL alone"): {"COURANTE_API_URL": "http://user:word@127.0.0.1"},
            ("bad_setting", "no key"): {"COURANTE_API_KEY": "two words"},
        }
        for (code, words), environ in asked.items():
            exit_code, found, told = await refused("runs", **environ)
            assert (found, words in told) == (code, True), told
            assert exit_code == (64 if code in USAGE else 2), told
        for argv in (["up"], ["worker"], ["doctor"], ["recover"], ["retain", "--dry-run"]):
            assert (await refused(*argv))[:2] == (64, "not_over_api")
        assert (await refused("status", ""))[:2] == (3, "name_missing")
        shown = await ways.say("config")
        assert (key in shown.out, "***" in shown.out) == (False, True)


def names_of(found: dict[str, Said]) -> Callable[[], Awaitable[list[str]]]:
    async def names() -> list[str]:
        return list(found)

    return names


def count_of(paths: list[str]) -> Callable[[], Awaitable[Counter[str]]]:
    async def count() -> Counter[str]:
        return Counter(paths)

    return count
