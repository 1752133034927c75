"""Requests made of the OpenAPI document, allowed and forbidden ones, without a key and with one of each scope."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
import requests
from anyio.to_thread import run_sync

from courante.api.app import build_app
from courante.api.backend import open_backend
from courante.api.openapi import make_document
from courante.api.routes import ROUTES
from courante.api.routes.runs import WAIT_S_MAX
from courante.api.security.terms import MIB
from courante.sdk.access.scopes import Scope
from courante.sdk.schedules.schedule import Schedule
from integration.api_asking import named
from integration.contents import keys, rows
from integration.gated import LOCAL, gate_of, make_key, served
from integration.http_calls import settings_of
from integration.schema_cases import STRAY, Drawn, ask, draw, refer
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
HOLDERS = ("", *map(str, Scope))
QUICK = 2
AT_LENGTH = """[[operations]]
include-path = "/v1/workflows/validate"
checks.negative_data_rejection.enabled = false

[checks]
negative_data_rejection.expected-statuses = ["4xx"]
"""
"""Of what is no document it is said what is wrong with it, with 200. Else any 4xx refuses: also 431, of a path that no
head has room for.
"""
HEAD_TOO_LARGE = 431
"""Of a query that no head has room for, before anybody is known."""
NOBODY = (401, "unauthenticated")
NOTED = ("operator_log", "api_keys", "api_sessions")
"""Who asked, and when a key was used last."""


@dataclass
class Site:
    """A server that wants keys. ``keys``: by their one scope; that of nobody is empty."""

    url: str
    keys: dict[str, str]

    def session(self, holder: str) -> requests.Session:
        session = requests.Session()
        if self.keys[holder]:
            session.headers["Authorization"] = f"Bearer {self.keys[holder]}"
        return session


@pytest.fixture
async def site(stage: Stage) -> AsyncIterator[Site]:
    made = {str(scope): await make_key(stage, str(scope), name=str(scope)) for scope in Scope}
    async with open_backend(stage.client, settings_of(stage.place), stage.place.redis_url) as backend:
        terms = {"stranger_requests_per_s": 10_000, "stranger_bytes_max": 16 * MIB, "failures_max": 1_000_000}
        gate = gate_of(stage.client, build_app(backend), **terms)
        async with served(gate) as port:
            yield Site(f"{LOCAL}:{port}", {"": "", **made})


async def furnish(stage: Stage) -> dict[str, str]:
    """Something of everything, at rest: nobody works. Return their names, by the places of paths and fields."""
    await stage.register({"id": "a", "type": "noop"}, {"id": "ask", "type": "approval", "depends_on": "a"})
    await stage.register({"id": "a", "type": "noop"}, id="short")
    stage.worker()
    stage.supervisor()
    ended = await stage.run("short", {"note": "x"})
    waiting = await stage.client.submit("w")
    await until(lambda: stage.types(waiting), lambda types: "step.waiting" in types)
    await stage.client.schedules.create(Schedule(id="clock", workflow="short", cron="@daily", note=""))
    for number in range(2):
        await stage.kill(number)
    return {"run_id": ended.run_id, "step": "a", "id": "clock", "slug": "short", "workflow": "short"}


def refuse_all(site: Site, drawn: list[Drawn], *, by_each: bool) -> list[str]:
    """Ask what a holder may not, and return what was not refused as it must be. by_each: or each by one, in turn."""
    wrong: list[str] = []
    sessions = {holder: site.session(holder) for holder in HOLDERS}
    for number, each in enumerate(drawn):
        scope = each.route.scope
        lacking = [holder for holder in HOLDERS if scope is not None and holder not in (str(scope), "admin")]
        for holder in lacking if by_each else lacking[number % max(1, len(lacking)) :][:1]:
            answer, wanted = ask(sessions[holder], site.url, each), (403, "forbidden") if holder else NOBODY
            if answer.status_code == HEAD_TOO_LARGE:
                continue
            code = answer.json()["code"]
            if (answer.status_code, code) != wanted and code not in STRAY:
                wrong.append(f"{holder or 'nobody'}: {named(each.route)}: {answer.status_code} {answer.text[:200]}")
    return wrong


def allow_all(site: Site, drawn: list[Drawn]) -> dict[int, set[str]]:
    """Ask everything with the one scope that it needs; return which routes have answered with which status."""
    found: dict[int, set[str]] = {}
    sessions = {holder: site.session(holder) for holder in HOLDERS}
    for each in drawn:
        status = ask(sessions[str(each.route.scope or "")], site.url, each).status_code
        if each.route.scope is not None:
            found.setdefault(status, set()).add(named(each.route))
    return found


@pytest.mark.parametrize("count", [QUICK, pytest.param(40, marks=pytest.mark.long)])
async def test_every_answer_is_as_the_document_says(stage: Stage, site: Site, count: int) -> None:
    """None is a fault of the server. Whose scope does not suffice is refused, whatever he sends: nothing changes."""
    known = await furnish(stage)
    drawn = await run_sync(lambda: refer(draw(count), known))
    assert {each.route.scope for each in drawn} == {None, *Scope}
    before = await rows(stage, but=NOTED), await keys(stage)
    assert await run_sync(partial(refuse_all, site, drawn, by_each=count > QUICK)) == []
    assert (await rows(stage, but=NOTED), await keys(stage)) == before
    stage.worker()
    stage.supervisor()
    answered = await run_sync(allow_all, site, drawn)
    assert len(answered[200] | answered[201]) > len(ROUTES) / 3, "most of what is asked for is not there"
    assert answered.get(403, set()) <= {"POST /api/workflows/{slug}/run"}, "which may need another scope besides"
    assert 401 not in answered


@pytest.mark.long
@pytest.mark.parametrize("holder", HOLDERS)
async def test_every_answer_at_length(stage: Stage, site: Site, tmp_path: Path, holder: str) -> None:
    """All that schemathesis can think of, with all its checks, for one holder; in a row too where he may do all."""
    await furnish(stage)
    stage.worker()
    stage.supervisor()
    phases = "coverage,fuzzing,stateful" if holder == "admin" else "coverage,fuzzing"
    (tmp_path / "schemathesis.toml").write_text(AT_LENGTH)
    document = tmp_path / "openapi.json"
    document.write_bytes(msgspec.json.encode(make_document(ROUTES)))
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", str(document), "--url", site.url]
    command += ["--exclude-path", "/v1/events", "--phases", phases, "-n", "5", "--seed", "1"]
    command += ["--exclude-checks", "positive_data_acceptance", "--continue-on-failure", "--no-color", "--no-shrink"]
    command += ["--request-timeout", str(WAIT_S_MAX * 2)]
    command += ["-H", f"Authorization: Bearer {site.keys[holder]}"] if holder else []
    done = await anyio.run_process(command, cwd=tmp_path, check=False, stderr=subprocess.STDOUT)
    print(done.stdout.decode()[-2_000:])  # how many requests of which kind, for whoever wants to see it (-s)
    assert done.returncode == 0, done.stdout.decode()[-30_000:]
