"""Webhooks over HTTP."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import pytest

from courante.sdk.access.scopes import Scope
from courante.sdk.client import webhooks as face
from courante.sdk.stores import webhooks as store
from courante.sdk.stores.connection import Connection
from courante.supervisor import webhooks as sending
from integration.api_asking import asking
from integration.http_site import Answer, open_site
from integration.stage import PATIENCE_S, Stage

pytestmark = pytest.mark.anyio
PATH = "/v1/webhooks"


async def test_a_webhook_from_its_beginning_to_its_end(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is added once, tested, and removed; its secret is told once; what was given up is sent again or dropped."""
    monkeypatch.setattr(sending, "ATTEMPTS_MAX", 1)
    monkeypatch.setattr(sending, "LOOK_S", 0.02)
    stage.supervisor(http_allow="127.0.0.1")
    status = 500
    async with (
        asking(stage.client, Scope.ADMIN) as admin,
        asking(stage.client, Scope.OPERATE) as operator,
        open_site(lambda _: Answer(status=status)) as site,
    ):
        body = {"name": "shop", "url": site.url, "on": ["run.failed", "alert"]}
        added = await admin.post(PATH, json=body)
        made = added.json()
        secret = made.pop("secret")
        assert (added.status_code, made["on"], made["by"]) == (201, ["alert", "run.failed"], "admin")
        assert secret.startswith("whsec_")
        assert (await admin.post(PATH, json=body)).json()["code"] == "webhook_exists"
        listed = await operator.get(PATH)
        assert listed.json() == {"webhooks": [made]}
        tested = (await operator.post(f"{PATH}/shop/test")).json()
        assert (tested["is_sent"], tested["state"], tested["error"]) == (False, "dead", "HTTP 500")
        (dead,) = (await operator.get(f"{PATH}/dead", params={"webhook": "shop"})).json()["dead"]
        assert (dead["id"], dead["body"]["type"]) == (tested["id"], "test")
        assert (await operator.get(f"{PATH}/dead")).json() == {"dead": [dead]}
        assert (await operator.post(f"{PATH}/shop/dead/drop")).json() == {"webhook": "shop", "dropped": 1}
        assert (await operator.post(f"{PATH}/shop/dead/retry")).json() == {"webhook": "shop", "retried": 0}
        status = 200
        assert (await operator.post(f"{PATH}/shop/test")).json()["is_sent"]
        assert (await operator.delete(f"{PATH}/shop")).json()["code"] == "forbidden"
        assert (await admin.delete(f"{PATH}/shop")).json() == {"removed": "shop", "dropped": 0}
        for path in (f"{PATH}/shop/test", f"{PATH}/shop/dead/retry", f"{PATH}/shop/dead/drop"):
            assert (await operator.post(path)).json()["code"] == "webhook_not_found"
        assert (await admin.delete(f"{PATH}/%00")).json()["code"] == "webhook_not_found"
        log = (await admin.get("/v1/operators")).text
        assert "webhook.added" in log
        assert "webhook.removed" in log
        assert secret not in log + listed.text


async def test_many_who_test_ask_postgres_as_one(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less often the longer it takes; where nobody sends each is told so, and who goes leaves the others theirs."""
    looks: list[int] = []
    read = store.read_deliveries

    async def counted(conn: Connection, env: str, places: Sequence[tuple[str, str]]) -> object:
        looks.append(len(places))
        return await read(conn, env, places)

    monkeypatch.setattr(store, "read_deliveries", counted)
    monkeypatch.setattr(sending, "LOOK_S", 0.02)
    webhooks = stage.client.webhooks
    told: list[face.Tested] = []

    async def test(name: str, timeout_s: float) -> None:
        told.append(await webhooks.test(name, timeout_s=timeout_s))

    async with open_site(lambda _: Answer(status=200)) as site:
        for name in ("a", "b"):
            await webhooks.add(name, site.url, ["alert"])
        async with anyio.create_task_group() as group:
            for timeout_s in (0.3, 1.0):
                for _ in range(10):
                    group.start_soon(test, "a", timeout_s)
        assert {(each.state, each.error) for each in told} == {("due", "no supervisor has sent it")}
        assert max(looks) > 1
        assert len(looks) < 20, "each alone would have looked more often"
        told.clear()
        stage.supervisor(http_allow="127.0.0.1")
        async with anyio.create_task_group() as group:
            for name in "aabb":
                group.start_soon(test, name, PATIENCE_S)
        assert [each.state for each in told] == ["sent"] * 4
        assert sorted(each.webhook for each in told) == ["a", "a", "b", "b"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"url": "ftp://a.example"}, "webhook_invalid"),
        ({"url": "https://ann:pw@a.example"}, "webhook_invalid"),
        ({"url": "https://a.example:99999"}, "webhook_invalid"),
        ({"on": ["alert"], "workflow": "w"}, "webhook_invalid"),
        ({"name": "../x"}, "body_invalid"),
        ({"on": []}, "body_invalid"),
        ({"on": ["run.begun"]}, "body_invalid"),
    ],
)
async def test_a_webhook_that_cannot_be_kept(stage: Stage, change: dict[str, object], code: str) -> None:
    """It is refused before anything is written, without what may be a password."""
    async with asking(stage.client, Scope.ADMIN) as admin:
        body = {"name": "shop", "url": "https://a.example/x", "on": ["run.failed"]}
        refused = await admin.post(PATH, json=body | change)
        assert (refused.status_code, refused.json()["code"]) == (422, code)
        assert "pw" not in refused.text
        assert (await admin.get(PATH)).json() == {"webhooks": []}
