"""What operators ask for over HTTP: pauses, moves to another version, many runs at once, keys, caches and schedules."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from courante.sdk.access.scopes import Scope
from integration.api_asking import asking
from integration.cases import node, waits
from integration.flaky import Flaky
from integration.http_calls import open_api
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio


def refusal(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_many_runs_go_on_anew(stage: Stage) -> None:
    """A page at a time: retried or executed again, each as another run; what is refused of one stops no other."""
    stage.worker(Flaky(0).steps())
    stage.supervisor()
    await stage.register(step("a", "bad", max_retries=0))
    await stage.register(step("a", "flaky"), node("b", "a"), id="good")
    failed = [(await stage.run("w", n)).run_id for n in range(3)]
    good = (await stage.run("good")).run_id
    async with open_api(stage) as api:

        async def ask(kind: str, **body: Any) -> dict[str, Any]:
            answer = await api.post(f"/v1/runs/{kind}", json=body)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found

        wanted = {"workflow": "w", "since": "1h", "limit": 2}
        page = await ask("retry", runs=wanted, dry_run=True)
        assert [one["run_id"] for one in page["outcomes"]] == failed[:0:-1]
        assert (page["dry_run"], page["outcomes"][0]["restarted"]["impacted"]) == (True, ["a"])
        assert "run_id" not in page["outcomes"][0]["restarted"]
        rest = await ask("retry", runs=wanted | {"cursor": page["next"]})
        assert ([one["run_id"] for one in rest["outcomes"]], rest["next"]) == (failed[:1], None)
        made = rest["outcomes"][0]["restarted"]
        assert (made["is_new"], made["base_run_id"]) == (True, failed[0])
        again = await ask("rerun", runs={"workflow": "good"}, steps=["b"])
        assert [one["restarted"]["base_run_id"] for one in again["outcomes"]] == [good]
        none = await ask("rerun", runs={"status": "FAILED"}, steps=["nothing"], dry_run=True)
        assert {one["refused"]["code"] for one in none["outcomes"]} == {"step_not_found"}
        assert refusal(await api.post("/v1/runs/retry", json={"runs": {}})) == (422, "input_invalid")
        assert refusal(await api.post("/v1/runs/retry", json={"runs": {"status": "COMPLETED"}})) == (
            422, "input_invalid",
        )  # fmt: skip
        forked = await api.post(f"/v1/runs/{good}/fork", json={"at": 3, "override": {"a": 5}, "dry_run": True})
        assert forked.json()["given"] == ["a"], forked.text
        for word in ("latest", "newest"):  # the second was the word before
            dry = await api.post(f"/v1/runs/{failed[1]}/retry", json={"version": word, "dry_run": True})
            assert (dry.status_code, dry.json()["is_new"]) == (200, True), dry.text
            dry = await api.post(f"/v1/runs/{good}/rebuild", json={"steps": ["b"], "version": word, "dry_run": True})
            assert (dry.status_code, dry.json()["impacted"]) == (200, ["b"]), dry.text


async def test_a_dead_letter_is_dropped_by_its_scope(stage: Stage) -> None:
    """Of a step in a loop, by the scope that people read; in vain where that is another one."""
    made: list[int] = []

    async def once(value: int) -> int:
        made.append(value)
        if len(made) > 1:
            raise ValueError("no more")
        return value

    stage.worker({"once": once})
    stage.supervisor()
    loop = {"while": "true", "back_to": "a", "max_iterations": 9}
    await stage.register(step("a", "once", max_retries=0), node("b", "a", loop=loop))
    run_id = (await stage.run("w", 1)).run_id
    async with open_api(stage) as api:
        (letter,) = (await api.get("/v1/dead-letters")).json()["dead_letters"]
        place = {"run_id": run_id, "step": "a", "scope": letter["scope"]}
        assert letter["scope"]
        unknown = await api.post("/v1/dead-letters/drop", json={"places": [place | {"scope": "x"}]})
        assert refusal(unknown) == (404, "run_not_found")
        dropped = (await api.post("/v1/dead-letters/drop", json={"places": [place]})).json()["dropped"]
        assert dropped == [place]
        assert (await api.post("/v1/dead-letters/drop", json={"places": [place]})).json()["dropped"] == []


async def test_workflows_and_queues_stand_still(stage: Stage) -> None:
    """And their runs go on, with another version where it is proved that they can."""
    stage.worker()
    stage.supervisor()
    await stage.register(waits("s", name="go"), node("a", "s"))
    run_id = await stage.client.submit("w")
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    await stage.register(waits("s", name="go"), node("a", "s"), node("b", "a"))
    await stage.register(node("other"))
    async with open_api(stage) as api:
        paused = (await api.post("/v1/workflows/w/pause", json={"reason": "why", "by": "ann"})).json()
        assert paused == {"workflow": "w", "by": "ann", "state": "applied", "runs": 1}
        assert refusal(await api.post("/v1/workflows/none/pause")) == (404, "workflow_not_found")
        assert (await api.post("/v1/queues/slow/pause")).json()["queue"] == "slow"
        assert refusal(await api.post("/v1/queues/system/pause")) == (422, "input_invalid")
        pauses = (await api.get("/v1/pauses")).json()["pauses"]
        assert [(one["kind"], one["name"], one["reason"]) for one in pauses] == [
            ("queue", "slow", ""),
            ("workflow", "w", "why"),
        ]
        assert (await api.post("/v1/queues/slow/resume")).json()["state"] == "applied"
        assert (await api.post("/v1/workflows/w/resume")).json()["runs"] == 1
        assert (await api.post("/v1/workflows/w/resume")).json()["state"] == "no_effect"
        place = f"/v1/runs/{run_id}/migrate"
        refused = await api.post(place)
        assert refusal(refused) == (409, "not_migratable")
        assert refused.json()["errors"][0]["code"]
        dry = (await api.post(place, json={"to": 3, "dry_run": True})).json()
        assert (dry["ok"], dry["moved"], dry["from"]["version"], "by" in dry) == (False, False, 1, False)
        done = (await api.post(place, json={"to": 2})).json()
        assert (done["ok"], done["moved"], done["to"]["version"]) == (True, True, 2)
        assert refusal(await api.post(place, json={"to": 9})) == (404, "workflow_not_found")
        await api.post(f"/v1/runs/{run_id}/signal", json={"name": "go"})
        shown = (await api.get(f"/v1/runs/{run_id}", params={"wait": 20})).json()
        assert [one["id"] for one in shown["steps"]] == ["s", "a", "b"]


async def test_keys_caches_and_ticks(stage: Stage) -> None:
    """A key is made, used and revoked by its name; outputs are counted and made void; past ticks are made up for."""
    stage.worker(Flaky(0).steps())
    stage.supervisor()
    await stage.register(step("a", "flaky", cache="global"))
    await stage.run("w")
    await stage.run("w")
    async with asking(stage.client, Scope.ADMIN) as admin:
        made = await admin.post(
            "/v1/keys", json={"name": "ci", "scopes": ["read"], "expires_at": "2100-01-01T00:00:00Z"}
        )
        key = made.json()
        assert (made.status_code, key["scopes"], key["created_by"]) == (201, ["read"], "admin")
        assert key["expires_at"] == "2100-01-01T00:00:00.000Z"
        assert refusal(await admin.post("/v1/keys", json={"name": "ci", "scopes": ["read"]})) == (409, "api_key_exists")
        late = {"name": "x", "scopes": ["read"], "expires_at": "2000-01-01T00:00:00Z"}
        assert refusal(await admin.post("/v1/keys", json=late)) == (422, "input_invalid")
        listed = await admin.get("/v1/keys")
        assert [one["name"] for one in listed.json()["keys"]] == ["admin", "ci"]
        assert key["key"] not in listed.text
        headers = {"Authorization": f"Bearer {key['key']}"}
        assert (await admin.get("/v1/cache", headers=headers)).status_code == 200
        assert refusal(await admin.get("/v1/keys", headers=headers)) == (403, "forbidden")
        assert (await admin.delete("/v1/keys/ci")).json()["revoked_by"] == "admin"
        assert refusal(await admin.delete("/v1/keys/nobody")) == (404, "api_key_not_found")
        assert len((await admin.get("/v1/keys", params={"all": "true"})).json()["keys"]) == 2

        async def cached() -> dict[str, Any]:
            found: dict[str, Any] = (await admin.get("/v1/cache", params={"workflow": "w"})).json()
            return found

        told = await until(cached, lambda found: found["total"]["hits"] == 1)
        assert (told["steps"][0]["step"], told["total"]["misses"], told["total"]["hit_rate"]) == ("a", 1, 0.5)
        assert refusal(await admin.post("/v1/cache/invalidate")) == (422, "input_invalid")
        dry = (await admin.post("/v1/cache/invalidate", json={"workflow": "w", "dry_run": True})).json()
        assert (dry["dry_run"], dry["entries"]) == (True, 1)
        assert (await admin.post("/v1/cache/invalidate", json={"all": True})).json()["entries"] == 1
        assert (await cached())["total"]["entries"] == 0

        await admin.put("/v1/schedules/s", json={"workflow": "w", "every_ms": 3_600_000, "is_paused": True})
        coming = (await admin.get("/v1/schedules/s/next", params={"count": 3})).json()
        assert (coming["id"], len(coming["next"])) == ("s", 3)
        filled = (await admin.post("/v1/schedules/s/backfill", json={"since": "150m"})).json()
        assert (filled["id"], len(filled["ticks"]), filled["filled"]) == ("s", len(filled["filled"]), filled["ticks"])
        assert (await admin.post("/v1/schedules/s/backfill", json={"since": "150m"})).json()["filled"] == []
        future = await admin.post("/v1/schedules/s/backfill", json={"since": "2100-01-01T00:00:00Z"})
        assert refusal(future) == (422, "schedule_invalid")
        done = (await admin.get("/v1/operators", params={"since": "1h"})).text
        assert "POST /v1/cache/invalidate" in done
        assert key["key"] not in done
