"""Over HTTP: what the log says is anchored, signed by somebody else, and held against lines that were kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from courante.replay.audit.anchor_lines import AnchorBook, read_anchor, write_anchor
from courante.replay.audit.signing import Signer, make_keys
from courante.sdk.access.scopes import Scope
from integration.api_asking import asking
from integration.cases import node
from integration.http_calls import open_api
from integration.stage import Stage

pytestmark = pytest.mark.anyio
PLACE = "/v1/audit/anchors"


async def ended(stage: Stage, count: int) -> list[str]:
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"))
    return [(await stage.run("w")).run_id for _ in range(count)]


def new_signer(folder: Path) -> Signer:
    make_keys(folder / "key.pem", folder / "key.pub")
    return Signer.read(folder / "key.pem")


async def test_an_anchor_is_made_and_checked(stage: Stage) -> None:
    """By who operates, and checked by who reads; of a run whose chain does not hold it is told, and it is in none."""
    first, other = await ended(stage, 2)
    async with asking(stage.client, Scope.READ) as reader, asking(stage.client, Scope.OPERATE) as operator:
        assert (await reader.post(PLACE)).json()["code"] == "forbidden"
        await corrupt(stage, other)
        made = (await operator.post(PLACE)).json()
        assert [(bad["run_id"], bad["what"]) for bad in made["bad"]] == [(other, "chain")]
        line = read_anchor(made["line"].encode())
        assert (line.number, line.heads) == (1, 1)
        kept: dict[str, Any] = {"number": 1, "heads": 1, "root": line.root}
        good = (await reader.get(f"{PLACE}/check", params={**kept, "chains": True})).json()
        assert good == {"heads": 1, "bad": []}
        assert (await reader.get(f"{PLACE}/check", params=kept | {"heads": 2})).json()["bad"][0]["what"] == "root"
        await corrupt(stage, first)
        found = (await reader.get(f"{PLACE}/check", params={**kept, "chains": True})).json()
        assert [(bad["run_id"], bad["what"]) for bad in found["bad"]] == [(first, "chain")]
        assert (await reader.get(f"{PLACE}/check", params=kept | {"root": "x"})).json()["code"] == "query_invalid"
        missing = (await reader.get(f"{PLACE}/check")).json()
        assert (missing["code"], missing["detail"][:12]) == ("query_invalid", "the query: O"), missing


async def test_who_signs_it_need_not_reach_the_database(stage: Stage, tmp_path: Path) -> None:
    """A draft is signed elsewhere and becomes the anchor, once; runs that have moved meanwhile are in the next one."""
    await ended(stage, 2)
    signer = new_signer(tmp_path)
    async with open_api(stage) as api:
        line = signed(signer, await drafted(api, signer))
        await stage.run("w")
        answers = [(await api.post(f"{PLACE}/sign", json={"line": line})).json() for _ in range(2)]
        assert answers == [{"line": line, "bad": []}] * 2
        following = (await api.post(PLACE)).json()["line"]
        assert (await api.get(PLACE)).text.splitlines() == [line, following]
    book = AnchorBook(signer.public)
    assert [read.heads for one in (line, following) if (read := book.add(one.encode()))] == [2, 1]
    assert [problem.number for problem in book.problems] == [2], "which nobody has signed"


async def test_what_is_not_the_draft_is_refused(stage: Stage, tmp_path: Path) -> None:
    """One that is unsigned or changed, that of somebody else, or one that another anchor came before."""
    await ended(stage, 1)
    signer = new_signer(tmp_path)
    async with open_api(stage) as api:

        async def code(line: str) -> str:
            found: str = (await api.post(f"{PLACE}/sign", json={"line": line})).json()["code"]
            return found

        draft = await drafted(api, signer)
        first = signed(signer, draft)
        assert await code("{}") == await code(draft) == await code(first.replace('"signature":"', '"signature":"0'))
        assert await code(draft) == "input_invalid"
        assert await code(signed(signer, draft.replace('"heads":1', '"heads":2'))) == "anchor_outdated"
        second = signed(signer, await drafted(api, signer))
        if second != first:
            assert await code(first) == "anchor_outdated"
        await api.post(PLACE)
        assert await code(second) == "anchor_outdated"
        assert len((await api.get(PLACE)).text.splitlines()) == 1


async def drafted(api: httpx.AsyncClient, signer: Signer) -> str:
    line: str = (await api.post(f"{PLACE}/draft", json={"key": signer.public})).json()["line"]
    return line


def signed(signer: Signer, line: str) -> str:
    return write_anchor(read_anchor(line.encode()), signer).decode()


async def corrupt(stage: Stage, run_id: str) -> None:
    async with stage.client.pool.acquire() as conn:
        await conn.execute("ALTER TABLE event_log DISABLE TRIGGER USER")
        await conn.execute("UPDATE event_log SET worker = 'x' WHERE run_id = $1 AND seq = 1", run_id)
        await conn.execute("ALTER TABLE event_log ENABLE TRIGGER USER")
