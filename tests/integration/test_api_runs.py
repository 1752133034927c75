"""Runs over HTTP: submitted, shown, commanded and followed."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import anyio
import httpx
import pytest

from integration.http_calls import listen_to, open_api, open_server
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
REVIEW = {"id": "review", "type": "approval", "config": {"form": {"type": "object", "required": ["ok"]}}}


@pytest.fixture
async def api(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    async with open_api(stage) as client:
        yield client


async def staffed(stage: Stage) -> None:
    stage.worker({"bad": bad})
    stage.supervisor()


def bad() -> None:
    raise ValueError("no tea today")


async def ended(api: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    """A run that has ended, as it is shown."""
    answer = await api.get(f"/v1/runs/{run_id}", params={"wait": 20}, timeout=30)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_run_from_its_submission_to_its_end(stage: Stage, api: httpx.AsyncClient) -> None:
    """It is submitted once for a key, waited for, listed and told with its steps and events."""
    await staffed(stage)
    await stage.register({"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "depends_on": "a"})
    keyed = {"Idempotency-Key": "tea"}
    body = {"workflow": "w", "input": {"n": 1}, "tags": ["x"]}
    first = await api.post("/v1/runs", json=body, headers=keyed)
    assert first.status_code == 201
    run_id = first.json()["run_id"]
    assert first.headers["location"] == f"/v1/runs/{run_id}"
    assert (await api.post("/v1/runs", json=body, headers=keyed)).json()["run_id"] == run_id
    other = await api.post("/v1/runs", json={"workflow": "w", "input": 2}, headers=keyed)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    shown = await ended(api, run_id)
    assert (shown["status"], shown["output"]) == ("COMPLETED", {"b": {"n": 1}})
    assert shown["steps_summary"] == {"SUCCEEDED": 2}
    assert [(one["from"], one["to"]) for one in shown["edges"]] == [("a", "b")]
    steps = (await api.get(f"/v1/runs/{run_id}/steps", params={"status": "success"})).json()["steps"]
    assert [step["id"] for step in steps] == ["a", "b"]
    page = (await api.get(f"/v1/runs/{run_id}/events", params={"limit": 2, "payloads": "true"})).json()
    assert ([one["seq"] for one in page["events"]], page["next"]) == ([1, 2], 2)
    of_b = (await api.get(f"/v1/runs/{run_id}/events", params={"step": "b", "type": "step.*"})).json()
    assert [(one["node"], one["type"]) for one in of_b["events"]] == [("b", "step.succeeded")]
    some: dict[str, str | int] = {"type": "step.succeeded", "limit": 1, "payloads": "true"}
    first = (await api.get(f"/v1/runs/{run_id}/events", params=some)).json()
    rest = (await api.get(f"/v1/runs/{run_id}/events", params=some | {"after": first["next"]})).json()
    assert [one["node"] for page in (first, rest) for one in page["events"]] == ["a", "b"]
    assert rest["events"][0]["data"]["payload"] == {"n": 1}
    stream = {"Accept": "text/event-stream"}
    refused = await api.get(f"/v1/runs/{run_id}/events", params={"step": "b"}, headers=stream)
    assert (refused.status_code, refused.json()["code"]) == (400, "query_invalid")
    listed = (await api.get("/v1/runs", params={"tag": "x", "status": "completed"})).json()["runs"]
    assert [one["run_id"] for one in listed] == [run_id]
    assert (await api.get(f"/v1/runs/{run_id}/cost")).json()["cost"] == {"amount": 0, "currency": "USD"}
    assert (await api.get(f"/v1/runs/{run_id}/logs")).json()["lines"] == []
    assert (await api.get(f"/v1/runs/{run_id}/artifacts")).json()["artifacts"] == []


async def test_what_could_mean_two_things_starts_nothing(stage: Stage, api: httpx.AsyncClient) -> None:
    """Two keys in one request, and a body that would have to be unpacked."""
    await stage.register({"id": "a", "type": "noop"})
    two = [("Idempotency-Key", "tea"), ("Idempotency-Key", "milk")]
    for path, body in (("/v1/runs", {"workflow": "w"}), ("/api/workflows/w/run", {})):
        refused = await api.post(path, json=body, headers=two)
        assert (refused.status_code // 100, refused.json()["code"]) == (4, "bad_value")
    packed = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    refused = await api.post("/v1/runs", content=gzip.compress(b'{"workflow": "w"}'), headers=packed)
    assert (refused.status_code, refused.json()["code"]) == (415, "body_not_supported")
    assert (await api.get("/v1/runs")).json()["runs"] == []
    same = await api.post("/v1/runs", json={"workflow": "w"}, headers={"Content-Encoding": "identity"})
    assert same.status_code == 201


async def test_many_runs_at_once(stage: Stage, api: httpx.AsyncClient) -> None:
    """All or none."""
    await stage.register({"id": "a", "type": "noop"})
    many = await api.post("/v1/runs/batch", json={"runs": [{"workflow": "w"}] * 3})
    assert (many.status_code, len(set(many.json()["run_ids"]))) == (201, 3)
    refused = await api.post("/v1/runs/batch", json={"runs": [{"workflow": "w"}, {"workflow": "none"}]})
    assert (refused.status_code, refused.json()["code"]) == (404, "workflow_not_found")
    assert len((await api.get("/v1/runs")).json()["runs"]) == 3
    first = (await api.get("/v1/runs", params={"limit": 2})).json()
    rest = (await api.get("/v1/runs", params={"limit": 2, "cursor": first["next"]})).json()
    assert (len(first["runs"]), len(rest["runs"]), rest["next"]) == (2, 1, None)


async def test_many_runs_once(stage: Stage, api: httpx.AsyncClient) -> None:
    """With a key a batch that is sent again is the same runs; where something in it is another, nothing starts."""
    await stage.register({"id": "a", "type": "noop"})
    keyed = {"Idempotency-Key": "week-7"}
    runs: list[dict[str, Any]] = [{"workflow": "w", "input": 1}, {"workflow": "w", "key": "own"}]
    first = await api.post("/v1/runs/batch", json={"runs": runs}, headers=keyed)
    assert first.status_code == 201
    assert (await api.post("/v1/runs/batch", json={"runs": runs}, headers=keyed)).json() == first.json()
    single = await api.post("/v1/runs", json=runs[0], headers={"Idempotency-Key": "week-7/0"})
    assert single.json()["run_id"] == first.json()["run_ids"][0], "as docs/reference/api.md says it"
    assert (await api.post("/v1/runs", json=runs[1])).json()["run_id"] == first.json()["run_ids"][1]
    longer = await api.post("/v1/runs/batch", json={"runs": [*runs, {"workflow": "w"}]}, headers=keyed)
    assert longer.json()["run_ids"][:2] == first.json()["run_ids"]
    other = [{"workflow": "w"}, {"workflow": "w", "input": 2}, {"workflow": "w", "input": 3}]
    for body in ([runs[0] | {"input": 9}, runs[1]], [*runs, other[1]], other):
        refused = await api.post("/v1/runs/batch", json={"runs": body}, headers=keyed)
        assert (refused.status_code, refused.json()["code"]) == (409, "idempotency_conflict")
    two = [("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    assert (await api.post("/v1/runs/batch", json={"runs": runs}, headers=two)).json()["code"] == "bad_value"
    wrong = await api.post("/v1/runs/batch", json={"runs": [*runs, {"workflow": "w", "inputs": 1}]}, headers=keyed)
    assert (wrong.status_code, wrong.json()["errors"][0]["path"]) == (422, "runs[2]")
    assert len((await api.get("/v1/runs")).json()["runs"]) == 3


async def test_a_key_that_is_used_twice_at_once(stage: Stage, api: httpx.AsyncClient) -> None:
    """However many ask at the same moment: one run, and who means another one is told so; alone or in a batch."""
    await stage.register({"id": "a", "type": "noop"})
    answers: list[httpx.Response] = []

    async def ask(path: str, body: dict[str, Any]) -> None:
        answers.append(await api.post(path, json=body, headers={"Idempotency-Key": f"at once {path}"}))

    for path, bodies in (
        ("/v1/runs", [{"workflow": "w", "input": number} for number in range(2)]),
        (
            "/v1/runs/batch",
            [{"runs": [{"workflow": "w", "input": [number, place]} for place in range(3)]} for number in range(2)],
        ),
    ):
        answers.clear()
        async with anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(ask, path, bodies[number % 2])
        made = [one.json() for one in answers if one.status_code == 201]
        ids = {json.dumps(one.get("run_id", one.get("run_ids"))) for one in made}
        assert (len(ids), len(made)) == (1, 10), path
        assert {one.json()["code"] for one in answers if one.status_code != 201} == {"idempotency_conflict"}
    assert len((await api.get("/v1/runs")).json()["runs"]) == 4


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/runs", {"workflow": "w"}),
        ("/v1/runs/batch", {"runs": [{"workflow": "w"}]}),
        ("/runs", {"workflow": "w"}),
        ("/api/workflows/w/run", {}),
    ],
)
async def test_a_submission_brings_its_trace(
    stage: Stage, api: httpx.AsyncClient, path: str, body: dict[str, Any]
) -> None:
    """At each path that starts a run; what is none, as W3C says, refuses nothing and counts for nothing."""
    await staffed(stage)
    await stage.register({"id": "a", "type": "noop"})
    good = f"00-{'4b' * 16}-{'00f0' * 4}-01"
    later = f"cc-{'4b' * 16}-{'00f0' * 4}-01-more"
    none = ["nonsense", f"00-{'0' * 32}-{'00f0' * 4}-01", "x" * 5_000, ""]
    wanted: dict[str, str | None] = {good: good, later: later[:55], **dict.fromkeys(none)}
    told: list[tuple[str, str]] = [("traceparent", good), ("traceparent", good)]
    for headers, kept in [*(([("traceparent", text)], kept) for text, kept in wanted.items()), (told, None)]:
        answer = await api.post(path, json=body, headers=headers)
        assert answer.status_code in (200, 201), (headers, answer.text)
        run_id = (await api.get("/v1/runs", params={"limit": 1})).json()["runs"][0]["run_id"]
        assert run_id in answer.text
        await ended(api, run_id)
        first = (await api.get(f"/v1/runs/{run_id}/events", params={"limit": 1})).json()["events"][0]
        assert first["data"].get("traceparent") == kept, headers


async def test_a_decision_by_who_is_named(stage: Stage, api: httpx.AsyncClient) -> None:
    """What waits is listed with its form; the first decision stands, and who is second is told so."""
    await staffed(stage)
    await stage.register(REVIEW)
    run_id = (await api.post("/v1/runs", json={"workflow": "w"})).json()["run_id"]

    async def waiting() -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await api.get("/v1/approvals", params={"run_id": run_id})).json()["approvals"]
        return found

    found = await until(waiting, bool)
    assert (found[0]["step"], found[0]["form"]["required"]) == ("review", ["ok"])
    assert (await api.get(f"/v1/runs/{run_id}")).json()["approvals"][0]["step"] == "review"
    wrong = await api.post(f"/v1/runs/{run_id}/approve", json={"data": {}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "input_invalid")
    done = await api.post(f"/v1/runs/{run_id}/approve", json={"data": {"ok": True}, "by": "ann"})
    assert (done.status_code, done.json()["by"], done.json()["decision"]) == (200, "ann", "approve")
    late = await api.post(f"/v1/runs/{run_id}/reject", json={"step": "review"})
    assert (late.status_code, late.json()["code"]) in {(409, "already_decided"), (409, "nothing_waits")}
    assert (await ended(api, run_id))["status"] == "COMPLETED"


async def test_a_run_that_fails_goes_on_as_another(stage: Stage, api: httpx.AsyncClient) -> None:
    """Its dead letter is listed, requeued or dropped."""
    await staffed(stage)
    node = {"id": "a", "type": "function", "config": {"handler": "bad"}, "retry": {"max_attempts": 1}}
    await stage.register(node)
    run_id = (await api.post("/v1/runs", json={"workflow": "w"})).json()["run_id"]
    shown = await ended(api, run_id)
    assert (shown["status"], shown["steps"][0]["error"]["message"]) == ("FAILED", "no tea today")
    (letter,) = (await api.get("/v1/dead-letters")).json()["dead_letters"]
    assert (letter["run_id"], letter["step"], letter["state"]) == (run_id, "a", "open")
    dry = await api.post(f"/v1/runs/{run_id}/retry", json={"dry_run": True})
    assert (dry.status_code, dry.json()["impacted"]) == (200, ["a"])
    again = await api.post(f"/v1/runs/{run_id}/retry")
    assert (again.status_code, again.json()["base_run_id"]) == (201, run_id)
    second = again.json()["run_id"]
    assert (await api.post(f"/v1/runs/{run_id}/retry")).json()["run_id"] == second
    await ended(api, second)
    dropped = await api.post("/v1/dead-letters/drop", json={"places": [{"run_id": second}], "reason": "known"})
    assert [one["step"] for one in dropped.json()["dropped"]] == ["a"]
    told = (await api.post("/v1/dead-letters/requeue", json={"runs": ["run_none"]})).json()
    assert [one["code"] for one in told["refused"]] == ["run_not_found"]


async def test_commands_to_a_run(stage: Stage, api: httpx.AsyncClient) -> None:
    """It is paused, resumed, signalled and cancelled; a cancelled one is changed no more."""
    await staffed(stage)
    waits = {"id": "s", "type": "signal", "config": {"name": "paid"}}
    await stage.register(waits, {"id": "t", "type": "signal", "config": {"name": "sent"}, "depends_on": "s"})
    run_id = (await api.post("/v1/runs", json={"workflow": "w"})).json()["run_id"]
    place = f"/v1/runs/{run_id}"
    assert (await api.post(f"{place}/pause")).json()["state"] in {"applied", "accepted"}
    assert (await api.post(f"{place}/resume", json={"reason": "go"})).status_code in {200, 202}
    unknown = await api.post(f"{place}/signal", json={"name": "payd"})
    assert (unknown.status_code, unknown.json()["code"]) == (422, "input_invalid")
    assert (await api.post(f"{place}/signal", json={"name": "paid", "data": 3})).json()["name"] == "paid"
    assert (await api.post(f"{place}/cancel", json={"reason": "enough", "by": "ann"})).json()["by"] == "ann"
    assert (await ended(api, run_id))["status"] == "CANCELLED"
    done = (await api.post(f"{place}/cancel")).json()
    assert (done["state"], done["reason"]) in {("applied", ""), ("no_effect", "the run is CANCELLED")}


async def test_schedules_and_workers(stage: Stage, api: httpx.AsyncClient) -> None:
    """A schedule is kept under its id, shown with its next ticks, triggered, paused and deleted."""
    await stage.register({"id": "a", "type": "noop"})
    body = {"workflow": "w", "cron": "0 2 * * *", "timezone": "Europe/Berlin"}
    kept = await api.put("/v1/schedules/nightly", json=body)
    assert (kept.status_code, kept.json()["cron"], kept.json()["overlap"]) == (200, "0 2 * * *", "skip")
    shown = (await api.get("/v1/schedules/nightly")).json()
    assert (shown["schedule"]["id"], len(shown["next"])) == ("nightly", 5)
    assert (await api.post("/v1/schedules/nightly/trigger")).json()["state"] == "started"
    assert (await api.post("/v1/schedules/nightly/pause")).json()["is_paused"]
    assert not (await api.post("/v1/schedules/nightly/resume")).json()["is_paused"]
    bad = await api.put("/v1/schedules/x", json={"workflow": "w", "cron": "61 * * * *"})
    assert (bad.status_code, bad.json()["code"]) == (422, "schedule_invalid")
    assert (await api.delete("/v1/schedules/nightly")).json() == {"id": "nightly", "is_deleted": True}
    assert (await api.get("/v1/schedules/nightly")).status_code == 404
    assert (await api.get("/v1/workers", params={"all": "true"})).json()["workers"] == []


async def test_a_run_is_followed_as_it_goes(stage: Stage) -> None:
    """Every event comes once and in order; who was cut off goes on where it was; the stream ends with the run."""
    await staffed(stage)
    await stage.register({"id": "s", "type": "signal", "config": {"name": "paid"}})
    run_id = await stage.client.submit("w")
    async with open_server(stage) as api:
        seen: list[int] = []
        with anyio.fail_after(20):
            async for _, id, event in listen_to(api, f"/v1/runs/{run_id}/events"):
                assert (event["run_id"], id) == (run_id, str(event["seq"]))
                seen.append(event["seq"])
                if event["type"] == "step.waiting":
                    await stage.client.signal(run_id, "paid")
        assert seen == list(range(1, len(seen) + 1))
        assert len(seen) == len(await stage.events(run_id))
        with anyio.fail_after(20):
            rest = [one.data["seq"] async for one in listen_to(api, f"/v1/runs/{run_id}/events", "2")]
        assert rest == seen[2:]
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(seen[-1])}
        assert (await api.get(f"/v1/runs/{run_id}/events", headers=headers)).status_code == 204


async def test_all_runs_are_followed(stage: Stage) -> None:
    """By many at once; who was cut off hears what it has missed, and nothing is left out."""
    await staffed(stage)
    await stage.register({"id": "a", "type": "noop"})
    heard: list[list[tuple[str, int]]] = [[] for _ in range(5)]
    async with open_server(stage) as api, anyio.create_task_group() as group:

        async def hear(number: int) -> None:
            async for _, _, event in listen_to(api, "/v1/events"):
                heard[number].append((event["run_id"], event["seq"]))
                if len(ends(heard[number], lengths)) == 10:
                    return

        lengths: dict[str, int] = {}
        for number in range(5):
            group.start_soon(hear, number)

        async def listening() -> bool:
            await stage.run("w")
            return all(heard)

        await until(listening, bool)
        run_ids = [await stage.client.submit("w") for _ in range(11)]
        await stage.results(run_ids)
        for run_id in run_ids[:10]:
            lengths[run_id] = len(await stage.events(run_id))
        await stage.run("w")

        async def complete() -> bool:
            return all(len(ends(one, lengths)) == 10 for one in heard)

        await until(complete, bool)
        for one in heard:
            assert set(one) >= {(run_id, seq) for run_id, count in lengths.items() for seq in range(1, count + 1)}
            assert len(one) == len(set(one))
        group.cancel_scope.cancel()


def ends(heard: list[tuple[str, int]], lengths: dict[str, int]) -> set[str]:
    return {run_id for run_id, seq in heard if lengths.get(run_id) == seq}
