"""Webhooks on real servers: who is told, once or until it is taken, and who cannot be."""

from __future__ import annotations

import json
import re
import socket
import time
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from command_line import Said, spawn
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.stores.alerts import Alert, AlertKind, replace_alerts
from courante.sdk.stores.webhooks import add_webhook, list_dead, read_deliveries, take_due, tell_a_test
from courante.sdk.webhook_signing import verify
from courante.supervisor import webhooks as webhooks_module
from courante.supervisor.recording.projection_rebuild import rebuild_projections
from courante.supervisor.webhooks import Webhooks
from integration.cases import node
from integration.flaky import SAID, Flaky
from integration.http_site import Answer, Asked, open_site
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
SECRET = b"whsec_test"
SEALED = b"#siv:old:" + b"A" * 22 + b"=="


class Receiver:
    """Answers with ``status``."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.told: list[dict[str, Any]] = []

    def give(self, asked: Asked) -> Answer:
        at_s = int(asked.headers["courante-timestamp"])
        signature, event_id = asked.headers["courante-signature"], asked.headers["courante-id"]
        assert verify(SECRET, event_id, at_s, asked.body, signature, now_s=time.time())
        if self.status < 300:
            self.told.append(json.loads(asked.body))
            assert self.told[-1]["id"] == event_id
        return Answer(status=self.status)

    async def all(self) -> list[dict[str, Any]]:
        return self.told


async def hook(stage: Stage, url: str, *kinds: str, name: str = "h", workflow: str | None = None) -> None:
    async with stage.client.pool.acquire() as conn:
        assert await add_webhook(conn, stage.place.env, name, url, kinds, SECRET, workflow=workflow, by="ada")


async def send(sender: Webhooks) -> int:
    """Send what is due, and wait until it is sent; return how much that was."""
    begun: list[int] = []
    async with anyio.create_task_group() as group:
        begun.append(await sender.send(group))
    return sum(begun)


async def test_ends_failures_and_approvals_are_told(stage: Stage) -> None:
    """To each webhook what it asked for, signed, and once; what was before it is not told."""
    receiver = Receiver()
    await stage.register(node("a"), id="good")
    await stage.register(step("a", "bad", max_retries=0), id="bad")
    await stage.register(node("ok", type="approval"), id="asks")
    stage.worker(Flaky().steps())
    supervisor = stage.supervisor(http_allow="127.0.0.1")
    await stage.run("good", 0)
    async with open_site(receiver.give) as site:
        await hook(stage, site.url, "run.ended", "run.failed", "approval.needed")
        await hook(stage, site.url, "run.ended", name="only", workflow="good")
        good, failed = await stage.run("good", 1), await stage.run("bad", 1)
        asks = await stage.client.submit("asks", 1)
        told = await until(receiver.all, lambda found: len(found) == 4)
        by_run: dict[str, list[dict[str, Any]]] = {}
        for one in told:
            by_run.setdefault(one["run_id"], []).append(one)
        assert [one["type"] for one in by_run[good.run_id]] == ["run.ended"] * 2
        (end,) = by_run[failed.run_id]
        assert {name: end[name] for name in ("type", "workflow", "status", "step", "error", "version")} == {
            "type": "run.failed", "workflow": "bad", "status": "FAILED", "step": "a", "error": "NEVER", "version": 1,
        }  # fmt: skip
        assert SAID not in str(told)
        (wait,) = by_run[asks]
        assert (wait["type"], wait["step"]) == ("approval.needed", "ok")
        async with stage.client.pool.acquire() as conn:
            await rebuild_projections(conn, stage.place.env)
            assert await take_due(conn, stage.place.env, 10, 1, 10, {}) == []
            assert await conn.fetchval("SELECT count(*) FROM webhook_deliveries WHERE env = $1", stage.place.env) == 4
    assert supervisor.name


async def test_who_does_not_take_it_is_asked_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the same id, up to a number of times; then it is given up."""
    monkeypatch.setattr(webhooks_module, "BACKOFF_MS", 1)
    monkeypatch.setattr(webhooks_module, "ATTEMPTS_MAX", 3)
    monkeypatch.setattr(webhooks_module, "LOOK_S", 0.02)
    receiver = Receiver(500)
    stage.worker()
    stage.supervisor(http_allow="127.0.0.1")
    async with open_site(receiver.give) as site:
        await hook(stage, site.url, "run.ended")
        await stage.run(await stage.register(node("a")), 1)

        async def dead() -> list[Any]:
            async with stage.client.pool.acquire() as conn:
                return await list_dead(conn, stage.place.env)

        (found,) = await until(dead, bool)
        assert (found.attempts, found.error) == (3, "HTTP 500")
        assert len({asked.headers["courante-id"] for asked in site.asked}) == 1
        assert len(site.asked) == 3


async def test_what_somebody_had_in_hand_who_died_is_sent_by_another(stage: Stage) -> None:
    """Whoever took it has so much time; it is sent twice rather than never."""
    receiver = Receiver()
    stage.worker()
    stage.supervisor()
    async with open_site(receiver.give) as site:
        await hook(stage, site.url, "run.ended")
        stage.supervisors[0].stop()
        await stage.ends[1].wait()
        run_id = await stage.client.submit(await stage.register(node("a")), 1)
        async with stage.client.pool.acquire() as conn:
            stage.supervisor()
            assert (await stage.result(run_id)).status == "COMPLETED"
            await conn.execute(
                "UPDATE webhook_deliveries SET state = 'due', due_at = now() WHERE env = $1", stage.place.env
            )
            (mine,) = await take_due(conn, stage.place.env, 10, hold_ms=1, of_one=10, held={})
            sender = Webhooks(stage.client.pool, stage.place.env, "127.0.0.1")
            assert await until(partial(send, sender), bool) == 1
        assert [one["id"] for one in receiver.told] == [mine.event_id]


async def test_an_inner_address_is_never_asked(stage: Stage) -> None:
    """What is not public and not permitted is given up at once, and nothing is sent there."""
    receiver = Receiver()
    stage.worker()
    stage.supervisor()
    async with open_site(receiver.give) as site:
        await hook(stage, site.url, "run.ended")
        await stage.run(await stage.register(node("a")), 1)

        async def dead() -> list[Any]:
            async with stage.client.pool.acquire() as conn:
                return await list_dead(conn, stage.place.env)

        (found,) = await until(dead, bool)
        assert "a loopback address" in found.error
        assert site.asked == []


@pytest.mark.parametrize("url", ["http://xn--/", "https://xn--a.test/hooks"])
async def test_a_name_that_no_host_can_have_is_given_up(stage: Stage, url: str) -> None:
    """Nobody else waits for it, and no supervisor ends by it."""
    receiver = Receiver()
    env, pool = stage.place.env, stage.client.pool
    async with open_site(receiver.give) as site, pool.acquire() as conn:
        await stage.client.webhooks.add("odd", url, ["alert"])
        await hook(stage, site.url, "alert", name="well")
        for name in ("odd", "well"):
            await tell_a_test(conn, env, name, "test:now", '{"id": "test:now"}')
        assert await send(Webhooks(pool, env, "127.0.0.1")) == 2
        states = await read_deliveries(conn, env, [("odd", "test:now"), ("well", "test:now")])
        assert [states[name, "test:now"].state for name in ("odd", "well")] == ["dead", "sent"]


async def test_no_name_and_no_redirect_leads_inside(stage: Stage) -> None:
    """What a name stands for is looked at when it is called; where a redirect leads, nobody goes."""
    env, pool = stage.place.env, stage.client.pool
    inner = Receiver()
    async with open_site(inner.give) as site, pool.acquire() as conn:
        leads = Answer(status=307, headers={"Location": f"{site.url}/inner"})
        async with open_site(lambda _: leads) as outer:
            await hook(stage, f"http://localhost:{site.port}/", "alert", name="named")
            await hook(stage, outer.url, "alert", name="led")
            for name in ("named", "led"):
                await tell_a_test(conn, env, name, "test:now", '{"id": "test:now"}')
            assert await send(Webhooks(pool, env, f"127.0.0.1:{outer.port}")) == 2
        states = await read_deliveries(conn, env, [("named", "test:now"), ("led", "test:now")])
        named, led = states["named", "test:now"], states["led", "test:now"]
        assert named.state == "dead"
        assert re.search(r"localhost \(.*\) at port \d+ is a loopback address", str(named.error))
        assert (led.state, led.error) == ("due", "HTTP 307")
        assert len(outer.asked) == 1
        assert site.asked == []


async def test_what_a_url_says_after_its_host_is_kept_to_itself(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many a service has its token there: it is encrypted where payloads are, and masked for people."""
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"k": bytes(range(64))}))
    receiver = Receiver()
    env, pool = stage.place.env, stage.client.pool
    async with open_site(receiver.give) as site, pool.acquire() as conn:
        await hook(stage, f"{site.url}/services/token-7?key=8", "alert")
        stored = str(await conn.fetchval("SELECT url FROM webhooks WHERE env = $1", env))
        assert "token-7" not in stored
        assert site.url not in stored
        (listed,) = await stage.client.webhooks.list()
        assert listed.url == f"{site.url}/***"
        await tell_a_test(conn, env, listed.name, "test:now", '{"id": "test:now"}')
        assert await send(Webhooks(pool, env, "127.0.0.1")) == 1
        (asked,) = site.asked
        assert asked.target == "/services/token-7?key=8"


async def test_one_that_cannot_be_told_holds_up_no_other(stage: Stage) -> None:
    """Neither one whose key cannot be read, nor what is left of many that were removed."""
    receiver = Receiver()
    env, pool = stage.place.env, stage.client.pool
    async with open_site(receiver.give) as site, pool.acquire() as conn:
        await hook(stage, site.url, "alert", name="sealed")
        await hook(stage, site.url, "alert", name="well")
        await conn.execute("UPDATE webhooks SET url = $2 WHERE env = $1 AND name = 'sealed'", env, SEALED.decode())
        for number in range(webhooks_module.HELD_MAX):
            await tell_a_test(conn, env, "removed", f"test:{number}", "{}")
        for name in ("sealed", "well"):
            await tell_a_test(conn, env, name, "test:now", '{"id": "test:now"}')
        sender = Webhooks(pool, env, "127.0.0.1")
        while await send(sender):
            pass
        places = [(name, "test:now") for name in ("well", "sealed", "nobody")]
        states = await read_deliveries(conn, env, places)
        found = states.pop(places[1])
        assert states == {places[0]: ("sent", 1, None)}
        assert (found[0], found[1]) == ("due", 1)
        assert "cannot be read" in str(found[2])


async def test_one_that_does_not_answer_holds_up_no_other(stage: Stage) -> None:
    """However much is due to it, and for as long as it keeps silent; it has only so many requests at once itself."""
    env, pool = stage.place.env, stage.client.pool
    receiver = Receiver()
    asked = "SELECT count(*) FROM webhook_deliveries WHERE env = $1 AND webhook = 'silent' AND attempts > 0"

    async def under_way() -> int:
        async with pool.acquire() as conn:
            return int(await conn.fetchval(asked, env))

    with socket.create_server(("127.0.0.1", 0), backlog=128) as silent:
        async with open_site(receiver.give) as site, pool.acquire() as conn, anyio.create_task_group() as group:
            await hook(stage, f"http://127.0.0.1:{silent.getsockname()[1]}", "alert", name="silent")
            await hook(stage, site.url, "alert", name="well")
            for number in range(2 * webhooks_module.HELD_MAX):
                await tell_a_test(conn, env, "silent", f"test:{number}", "{}")
            group.start_soon(Webhooks(pool, env, "127.0.0.1").run)
            await until(under_way, bool)
            for number in range(3):
                await tell_a_test(conn, env, "well", f"test:{number}", f'{{"id": "test:{number}"}}')
            await until(receiver.all, lambda told: len(told) == 3)
            assert await under_way() == webhooks_module.HELD_MAX // webhooks_module.SHARES
            group.cancel_scope.cancel()


@pytest.mark.parametrize("hanging", [10, 60])
async def test_many_that_do_not_answer_hold_up_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, hanging: int
) -> None:
    """However much is due to each of them, and since when: one that answers is told meanwhile."""
    monkeypatch.setattr(webhooks_module, "SEND_S", 600.0)
    env, pool = stage.place.env, stage.client.pool
    receiver = Receiver()
    asked = "SELECT count(*) FROM webhook_deliveries WHERE env = $1 AND webhook <> 'well' AND attempts > 0"

    async def under_way() -> int:
        async with pool.acquire() as conn:
            return int(await conn.fetchval(asked, env))

    with socket.create_server(("127.0.0.1", 0), backlog=256) as silent:
        async with open_site(receiver.give) as site, pool.acquire() as conn, anyio.create_task_group() as group:
            for number in range(hanging):
                await hook(stage, f"http://127.0.0.1:{silent.getsockname()[1]}", "alert", name=f"silent{number}")
            await hook(stage, site.url, "alert", name="well")
            for number in range(hanging * 20):
                await tell_a_test(conn, env, f"silent{number % hanging}", f"test:{number}", "{}")
            group.start_soon(Webhooks(pool, env, "127.0.0.1").run)
            await until(under_way, lambda found: found >= hanging)
            for number in range(30):
                await tell_a_test(conn, env, "well", f"test:{number}", f'{{"id": "test:{number}"}}')
            await until(receiver.all, lambda told: len(told) == 30)
            assert await under_way() < webhooks_module.HELD_MAX
            group.cancel_scope.cancel()


async def test_the_loop_outlives_a_database_that_fails_in_the_middle(stage: Stage) -> None:
    """What was sent and could not be noted is sent again."""
    receiver = Receiver()
    env, pool = stage.place.env, stage.client.pool
    check = f"CHECK (env <> '{env}' OR state <> 'sent') NOT VALID"
    async with pool.acquire() as conn:
        await conn.execute(f"ALTER TABLE webhook_deliveries ADD CONSTRAINT nothing_is_sent {check}")
    try:
        async with open_site(receiver.give) as site, anyio.create_task_group() as group:
            await hook(stage, site.url, "alert")
            group.start_soon(Webhooks(pool, env, "127.0.0.1").run)
            async with pool.acquire() as conn:
                await tell_a_test(conn, env, "h", "test:now", '{"id": "test:now"}')
            await until(receiver.all, bool)
            async with pool.acquire() as conn:
                await conn.execute("ALTER TABLE webhook_deliveries DROP CONSTRAINT nothing_is_sent")
                await conn.execute("UPDATE webhook_deliveries SET due_at = now() WHERE env = $1", env)

            async def sent() -> bool:
                async with pool.acquire() as conn:
                    (found,) = (await read_deliveries(conn, env, [("h", "test:now")])).values()
                    return found.state == "sent"

            await until(sent, bool)
            group.cancel_scope.cancel()
    finally:
        async with pool.acquire() as conn:
            await conn.execute("ALTER TABLE webhook_deliveries DROP CONSTRAINT IF EXISTS nothing_is_sent")


async def test_an_alert_is_told_once_each_time_it_is_raised(stage: Stage) -> None:
    """As long as it stands it is one; when it comes again it is another."""
    receiver = Receiver()
    env, pool = stage.place.env, stage.client.pool
    async with open_site(receiver.give) as site, pool.acquire() as conn:
        await hook(stage, site.url, "alert")
        sender = Webhooks(pool, env, "127.0.0.1")
        now = await conn.fetchval("SELECT now()")
        alert = Alert(kind=AlertKind.RUN_STUCK, subject="run_1", message="nothing happens", since=now)
        for alerts in ([alert], [alert], [], [alert]):
            await replace_alerts(conn, env, AlertKind.RUN_STUCK, alerts)
        while await send(sender):
            pass
    assert [(one["type"], one["alert"], one["subject"]) for one in receiver.told] == [
        ("alert", "run.stuck", "run_1")
    ] * 2
    assert len({one["id"] for one in receiver.told}) == 2


async def test_webhooks_at_the_command_line(stage: Stage, tmp_path: Path) -> None:
    place = stage.place
    names = {"REDIS_URL": place.redis_url, "DATABASE_URL": place.database_url, "ENV": place.env}
    environ = {f"COURANTE_{name}": value for name, value in names.items()}

    async def ask(*argv: str) -> Said:
        return await anyio.to_thread.run_sync(partial(spawn, "webhooks", *argv, cwd=tmp_path, environ=environ))

    stage.supervisor(http_allow="127.0.0.1")
    assert (await ask("list")).out == "no webhooks\n"
    async with open_site(lambda _: Answer()) as site:
        added = (
            await ask("add", "shop", site.url, "--on", "run.failed", "--on", "alert", "--by", "ada", "--json")
        ).json
        assert (added["on"], added["by"], added["secret"][:6]) == (["alert", "run.failed"], "ada", "whsec_")
        twice = await ask("add", "shop", site.url, "--on", "alert", "--json")
        assert (twice.code, twice.json["error"]["code"]) == (1, "webhook_exists")
        sent = await ask("test", "shop", "--json")
        assert (sent.code, sent.json["is_sent"]) == (0, True)
        (asked,) = site.asked
        at_s, event_id = int(asked.headers["courante-timestamp"]), asked.headers["courante-id"]
        signature = asked.headers["courante-signature"]
        assert verify(added["secret"].encode(), event_id, at_s, asked.body, signature, now_s=time.time())
        listed = await ask("list")
        assert "shop" in listed.out
        assert "whsec_" not in listed.out
    inner = await ask("add", "inner", "http://10.0.0.1/", "--on", "run.ended")
    assert inner.code == 0, inner
    refused = await ask("test", "inner")
    assert (refused.code, "given up" in refused.out, "a private address" in refused.out) == (1, True, True), refused
    (dead,) = (await ask("dlq", "--json")).json["dead"]
    assert (dead["webhook"], dead["body"]["type"]) == ("inner", "test")
    assert (await ask("dlq", "--drop", "--json")).json["error"]["code"] == "bad_drop"
    assert (await ask("dlq", "inner", "--drop", "--by", "ada", "--json")).json == {"webhook": "inner", "dropped": 1}
    noted = (await stage.client.operators.list()).operations[0]
    assert (noted.by, noted.action, noted.target) == ("ada", "webhook.dead_dropped", "inner")
    assert (await ask("remove", "inner", "--json")).json == {"removed": "inner", "dropped": 0}
    assert ((await ask("remove", "inner", "--json")).code, (await ask("test", "nobody")).code) == (3, 3)
    for url in ("ftp://x", "http://", "https://ada:pw@x.test/", "nonsense"):
        assert (await ask("add", "x", url, "--on", "alert")).code == 64
    assert (await ask("add", "X Y", "http://x.test", "--on", "alert")).code == 64
    assert (await ask("add", "x", "http://x.test", "--on", "run.ends")).code == 64
    assert (await ask("add", "x", "http://x.test", "--on", "alert", "--workflow", "w")).code == 64
