"""Runs that go on from others where payloads are encrypted, also by a newer key than their bases were."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from courante.sdk.base_terms import BaseTerms, restart_key
from courante.sdk.client.restarts import Restarted
from courante.sdk.errors import PayloadUnreadable
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS
from courante.sdk.stores.salts import read_salt
from integration.stage import Stage
from integration.standing_text import places_of
from integration.test_dead_letters import verified
from integration.test_encryption import CANARY, NEW, OLD
from integration.test_rebuilding import Builders, step

pytestmark = pytest.mark.anyio


@pytest.fixture
def rotate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let this process have these keys, the newest first; without any, none at all."""

    def to(**keys: bytes) -> None:
        monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing(keys) if keys else None)

    to(old=OLD)
    return to


async def test_the_same_wish_is_one_run_under_every_key(stage: Stage, rotate: Callable[..., None]) -> None:
    """Of runs that failed and that are complete, in every way; the key of the wish says nothing of what was given."""
    builders, client = Builders(), stage.client
    builders.failing = {"late"}
    stage.supervisor()
    stage.worker(builders.steps())
    late = step("late", "price", given="steps.price.output.name", max_retries=0)
    await stage.register(step("copy", given="input.text"), step("price", "copy"), late, changes={"prices": ["price"]})
    failed = await client.submit("w", {"text": CANARY})
    assert (await stage.result(failed)).status == "FAILED"
    builders.failing = set()
    whole = await client.submit("w", {"text": CANARY})
    assert (await stage.result(whole)).status == "COMPLETED"
    at = len(await stage.events(whole))
    await stage.register(step("copy", given="input.text"), step("cost", "copy"), changes={"prices": ["cost"]})
    other: Any = {"text": f"other {CANARY}"}
    wishes: list[Callable[[], Awaitable[Restarted]]] = [
        lambda: client.retry(failed),
        lambda: client.retry(failed, version="latest"),
        lambda: client.rerun(failed, ["price"], input=other),
        lambda: client.rebuild(whole, ["prices"], is_any_version=True),
        lambda: client.rebuild(whole, ["prices"], input=other, is_any_version=True),
        lambda: client.fork(whole, at, input=other),
        lambda: client.fork(whole, at, override={"price": {"name": CANARY}}),
    ]
    first = [await wish() for wish in wishes[:4]]
    for wish in wishes[4:]:
        rotate(new=NEW, old=OLD)
        first.append(await wish())
        rotate(old=OLD, new=NEW)
    assert len({done.run_id for done in first}) == len(wishes)
    for keys in ({"new": NEW, "old": OLD}, {"old": OLD, "new": NEW}):
        rotate(**keys)
        again = [await wish() for wish in wishes]
        assert [(done.run_id, done.is_new) for done in again] == [(done.run_id, False) for done in first]
    for done in first:
        assert (await stage.result(done.run_id)).status == "COMPLETED"
        found = await verified(stage, done.run_id)
        assert found.ok, found
    assert await places_of(stage, CANARY) == []
    rotate(new=NEW, old=OLD)
    following = await client.rerun(first[2].run_id, ["late"])
    assert (await stage.result(following.run_id)).status == "COMPLETED"
    assert following.reused == ("copy", "price")


async def test_a_salt_outlives_the_keys_that_encrypt_it(stage: Stage, rotate: Callable[..., None]) -> None:
    """And where no key is left for it, a new one begins."""
    env, terms = stage.place.env, BaseTerms(way="fork", given={"a": b"1"})
    async with stage.client.pool.acquire() as conn:
        salt = await read_salt(conn, env)
        rotate(new=NEW, old=OLD)
        assert await read_salt(conn, env) == salt
        rotate(new=NEW)
        assert await read_salt(conn, env) == salt, "it was encrypted anew meanwhile"
        assert restart_key("run_0", 7, terms, salt=salt) != restart_key("run_0", 7, terms, salt=b"another")
        rotate()
        with pytest.raises(PayloadUnreadable):
            await read_salt(conn, env)
        rotate(third=b"t" * 64)
        assert await read_salt(conn, env) != salt
