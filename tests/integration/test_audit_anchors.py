"""Anchors: what the log said on a day is held against what it says later, and against bundles."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import asyncpg
import pytest

from courante.replay.audit.anchor_lines import FIRST, AnchorBook, line_hash
from courante.replay.audit.anchors import Anchored, check_anchors, make_anchor
from courante.replay.audit.signing import Signer, make_keys
from courante.sdk.embedded import Servers
from courante.sdk.stores.connection import Connection
from integration import bundle_by_the_page as by_the_page
from integration.bundles import exported, verified
from integration.cases import says, waits
from integration.floor import Floor, open_floor
from integration.test_audit_bundles import as_it_was, by_somebody_else, forged
from integration.test_replay_verify import DOCUMENT, change, write_log

pytestmark = pytest.mark.anyio
WAITING: dict[str, Any] = {
    "courante": 1,
    "id": "waiting",
    "nodes": [waits("paid", name="payment"), says("end", "paid")],
}


@pytest.fixture
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    async with open_floor(embedded_servers) as made:
        yield made


@pytest.fixture
async def conn(floor: Floor) -> AsyncIterator[Connection]:
    async with floor.client.pool.acquire() as found:
        yield found


async def ended(floor: Floor, *inputs: int) -> list[str]:
    return [(await floor.run(DOCUMENT, {"n": number})).result.run_id for number in inputs]


def book_of(*made: Anchored, key: str | None = None) -> AnchorBook:
    book = AnchorBook(key)
    for one in made:
        book.add(one.content)
    return book


async def test_an_anchor_has_what_has_moved_since_the_one_before(floor: Floor, conn: Connection) -> None:
    """Runs that go on are anchored again when they have moved; what has not moved is in no second anchor."""
    first_runs = await ended(floor, 1, 2, 12)
    live, _ = await floor.begin(WAITING, until="step.waiting")
    first = await make_anchor(conn, floor.env)
    assert (first.line.number, first.line.heads, first.line.previous, first.bad) == (1, 4, FIRST, [])
    still = await make_anchor(conn, floor.env)
    assert (still.line.number, still.line.heads, still.line.previous) == (2, 0, line_hash(first.content))
    await floor.client.signal(live, "payment")
    await floor.client.wait(live, timeout_s=30, is_recorded=True)
    second_runs = await ended(floor, 3)
    third = await make_anchor(conn, floor.env)
    assert (third.line.number, third.line.heads) == (3, 2)
    checked = await check_anchors(conn, floor.env, [one.content for one in (first, still, third)], with_chains=True)
    assert (checked.ok, checked.anchors, checked.heads, checked.bad) == (True, 3, 6, [])
    book = book_of(first, still, third)
    assert not book.problems
    bundle = await exported(conn, floor.env, [*first_runs, live, *second_runs])
    assert (await verified(bundle, book=book)).ok
    found = await verified(bundle, book=book_of(still, third))
    assert [(bad.run_id, bad.what) for bad in found.bad] == [(run_id, "anchor") for run_id in first_runs]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await conn.execute("UPDATE anchor_heads SET seq = seq + 1")


async def test_a_run_that_no_anchor_has_is_refused_where_anchors_are_asked_for(floor: Floor, conn: Connection) -> None:
    """Else whoever rewrites a run would leave its proof out."""
    made = await make_anchor(conn, floor.env)
    (run_id,) = await ended(floor, 1)
    bundle = await exported(conn, floor.env, [run_id])
    assert (await verified(bundle)).ok
    found = await verified(bundle, book=book_of(made))
    assert [(bad.run_id, bad.what, bad.found) for bad in found.bad] == [
        (run_id, "anchor", "none that has an event of the run")
    ]


async def test_who_makes_all_hashes_again_is_refused_by_the_anchor(floor: Floor, conn: Connection) -> None:
    """A bundle that breaks no rule and no chain, made by somebody who can write everything but the kept line."""
    runs = await ended(floor, 2)
    book = book_of(await make_anchor(conn, floor.env))
    lines = await exported(conn, floor.env, runs)
    assert (await verified(forged(lines, as_it_was), book=book)).ok
    for made in (forged(lines, by_somebody_else), forged(lines, as_it_was, cut=4)):
        assert (await verified(made)).ok
        found = await verified(made, book=book)
        assert [(bad.run_id, bad.what) for bad in found.bad] == [(runs[0], "anchor")]


async def test_a_log_that_was_rewritten_is_found_by_a_kept_anchor(floor: Floor, conn: Connection) -> None:
    """With a chain that holds and projections that agree: only the line that somebody else has can tell."""
    done = await floor.run(DOCUMENT, {"n": 2})
    run_id = done.result.run_id
    kept = await make_anchor(conn, floor.env)
    transaction = conn.transaction(isolation="repeatable_read")
    await transaction.start()
    await conn.execute("SET LOCAL session_replication_role = replica")
    await write_log(conn, floor.env, change("step.succeeded", "end", worker="eve")(list(done.events)))
    found = await check_anchors(conn, floor.env, [kept.content], with_chains=True)
    assert [(bad.run_id, bad.seq, bad.what) for bad in found.bad] == [(run_id, len(done.events), "anchor")]
    await conn.execute(
        "UPDATE anchor_heads h SET hash = l.hash FROM event_log l WHERE l.run_id = h.run_id AND l.seq = h.seq"
    )
    found = await check_anchors(conn, floor.env, [kept.content])
    assert [(bad.run_id, bad.what) for bad in found.bad] == [(None, "root")]
    await conn.execute("DELETE FROM event_log WHERE run_id = $1 AND seq > 4", run_id)
    found = await check_anchors(conn, floor.env, [kept.content])
    assert (run_id, "anchor", "no such event") in [(bad.run_id, bad.what, bad.found) for bad in found.bad]
    await transaction.rollback()
    assert (await check_anchors(conn, floor.env, [kept.content])).ok


async def test_a_broken_chain_is_not_anchored(floor: Floor, conn: Connection) -> None:
    good, broken = await ended(floor, 1, 2)
    await conn.execute("SET session_replication_role = replica")
    await conn.execute("UPDATE event_log SET worker = 'eve' WHERE run_id = $1 AND seq = 3", broken)
    await conn.execute("SET session_replication_role = origin")
    made = await make_anchor(conn, floor.env)
    assert made.line.heads == 1
    assert [(bad.run_id, bad.seq, bad.what) for bad in made.bad] == [(broken, 3, "chain")]
    assert (await verified(await exported(conn, floor.env, [good]), book=book_of(made))).ok


async def test_two_at_once_take_turns(floor: Floor) -> None:
    """Two processes that anchor at the same time make two anchors, and each run is in one of them."""
    await ended(floor, 1, 2)
    made: list[Anchored] = []

    async def once() -> None:
        async with floor.client.pool.acquire() as own:
            made.append(await make_anchor(own, floor.env))

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(once)
    made.sort(key=lambda one: one.line.number)
    assert [one.line.number for one in made] == [1, 2, 3]
    assert [one.line.heads for one in made] == [2, 0, 0]
    assert not book_of(*made).problems


async def test_kept_lines_are_checked_themselves(floor: Floor, conn: Connection, tmp_path: Path) -> None:
    key = make_keys(tmp_path / "key.pem", tmp_path / "key.pub")
    signer = Signer.read(tmp_path / "key.pem")
    await ended(floor, 1)
    one, two, three = [await make_anchor(conn, floor.env, signer) for _ in range(3)]
    assert not book_of(one, two, three, key=key).problems
    assert not book_of(two, three, key=key).problems  # who begins to keep them later
    assert [problem.what for problem in book_of(one, three).problems] == ["order"]
    assert [problem.what for problem in book_of(one, one).problems] == ["order"]
    assert {problem.what for problem in book_of(one, two, key="00" * 32).problems} == {"signature"}
    changed = one._replace(content=one.content.replace(b'"heads":1', b'"heads":2'))
    assert [problem.what for problem in book_of(changed).problems] == ["signature"]
    spaced = one._replace(content=one.content.replace(b'"heads":1', b'"heads": 1'))
    assert [problem.what for problem in book_of(spaced).problems] == ["line"]
    checked = await check_anchors(conn, floor.env, [])
    assert [bad.what for bad in checked.bad] == ["line"]


async def test_who_has_read_the_page_alone_can_check_bundles_and_anchors(
    floor: Floor, conn: Connection, tmp_path: Path
) -> None:
    """Every field and every hash is as docs/reference/audit-bundle.md says."""
    make_keys(tmp_path / "key.pem", tmp_path / "key.pub")
    signer = Signer.read(tmp_path / "key.pem")
    runs = await ended(floor, 1, 2, 3, 12, 13)
    anchors = [await make_anchor(conn, floor.env, signer), await make_anchor(conn, floor.env)]
    lines = await exported(conn, floor.env, runs, signer=signer)
    kept = [one.content for one in anchors]
    events = (await verified(lines)).events
    assert by_the_page.check(lines) == by_the_page.check(lines, kept) == events
    by_the_page.check_anchors(kept)
    with pytest.raises(AssertionError):
        by_the_page.check([*lines[:9], *lines[10:]])
    with pytest.raises(AssertionError):
        by_the_page.check(forged(lines[:-1], by_somebody_else), kept)
