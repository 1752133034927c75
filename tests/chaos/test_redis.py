"""Redis in trouble: killed, slow, full, emptied or set back; the log is never forked and every run ends."""

from __future__ import annotations

import anyio
import pytest

from chaos.journal import count_executions
from chaos.shapes import draw_orders, order
from chaos.site import ENV, LEASE_MS, SHORT_LEASE_MS, Site
from courante.sdk.keys import Keys

pytestmark = pytest.mark.anyio
KEYS = Keys(ENV).partition(0)


async def crew(site: Site, *, workers: int = 2, supervisors: int = 1, lease_ms: int = LEASE_MS) -> None:
    site.lease_ms = lease_ms
    for _ in range(supervisors):
        site.supervisor()
    for _ in range(workers):
        site.worker()
    await site.until_ready()


async def until_busy(site: Site, executions: int) -> None:
    """Wait until so many handlers have begun: the site is in the middle of its work."""
    await site.members[0].until(lambda: count_executions(site.journal) >= executions)


async def test_redis_is_killed_again_and_again(site: Site) -> None:
    """F21, F22: what was written to the file is there again; everyone connects anew and goes on."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    for turn in range(3):
        await site.order(draw_orders(21 + turn, 8))
        await until_busy(site, 5 * (turn + 1))
        site.redis.kill()
        await site.redis.start()
    await site.until_ended()
    site.require_all_alive()
    await site.check(excess=3 * 8)


async def test_redis_restarts_in_order(site: Site) -> None:
    """F21, F22: a clean restart loses nothing; scripts are loaded again, and an epoch begins in which all is fenced."""
    await crew(site)
    await site.order(draw_orders(22, 10))
    await until_busy(site, 5)
    await site.redis.process.stop()
    await site.redis.start()
    await site.order(draw_orders(23, 5))
    await site.until_ended()
    await site.members[0].until_said("recovery_finished")
    await site.check()


async def test_scripts_are_flushed_again_and_again(site: Site) -> None:
    """F22, F32: each call of what the server has forgotten, function or script, loads it and is made again."""
    await crew(site)
    async with anyio.create_task_group() as group:
        group.start_soon(_flush_scripts, site)
        await site.order(draw_orders(32, 20))
        await site.until_ended()
        group.cancel_scope.cancel()
    await site.check()


async def _flush_scripts(site: Site) -> None:
    while True:
        await site.redis.do("SCRIPT", "FLUSH")
        await site.redis.do("FUNCTION", "FLUSH")
        await anyio.sleep(0.02)


async def test_redis_is_slow(site: Site) -> None:
    """F31: half a second for each answer, and a server that stands still for a while: nobody is started twice."""
    way = await site.proxy(site.redis.port)
    site.supervisor()
    site.worker(redis=way)
    site.worker()
    await site.until_ready()
    way.delay_s = 0.25
    await site.order(draw_orders(31, 6, ["chain", "fan"]))
    site.redis.process.freeze()
    await anyio.sleep(1)  # so long it stands still
    site.redis.process.thaw()
    await until_busy(site, 10)
    way.delay_s = 0
    await site.until_ended()
    await site.check()


async def test_redis_is_full(site: Site) -> None:
    """F27, F31: no script is half done and nothing is acknowledged; with memory again, all goes on."""
    await crew(site)
    await site.order(draw_orders(27, 10))
    await until_busy(site, 5)
    await site.redis.do("CONFIG", "SET", "maxmemory", "1")
    await anyio.sleep(1)  # so long it is full
    await site.redis.do("CONFIG", "SET", "maxmemory", "0")
    await site.order(draw_orders(28, 5))
    await site.until_ended()
    site.require_all_alive()
    await site.check()


async def test_redis_is_emptied(site: Site) -> None:
    """F24: FLUSHALL; every unfinished run is rebuilt from the log, every acknowledged start is started."""
    await crew(site, supervisors=2, lease_ms=SHORT_LEASE_MS)
    await site.order(draw_orders(24, 30))
    await until_busy(site, 10)
    await site.redis.do("FLUSHALL")
    await site.order(draw_orders(25, 10))
    await site.until_ended()
    await site.check(excess=200)


@pytest.mark.long
async def test_redis_comes_back_empty(site: Site) -> None:
    """F24: its disk is lost."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    await site.order(draw_orders(26, 15))
    await until_busy(site, 10)
    copy = site.redis.keep_copy()
    for path in copy.rglob("*.aof*"):
        path.unlink()
    site.redis.kill()
    site.redis.set_back(copy)
    await site.redis.start()
    await site.until_ended()
    await site.check(excess=200)


async def test_redis_is_set_back(site: Site) -> None:
    """F25: an older copy of its file, as an older replica has it; the log wins and nothing of the fork is recorded."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    await site.order(draw_orders(29, 15))
    await until_busy(site, 5)
    copy = site.redis.keep_copy()
    await until_busy(site, 20)
    site.redis.kill()
    site.redis.set_back(copy)
    await site.redis.start()
    await site.order(draw_orders(30, 5))
    await site.until_ended()
    await site.check(excess=200)


async def test_the_end_of_the_file_is_lost(site: Site) -> None:
    """F23: the last part of the append-only file was never synced."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    await site.order(draw_orders(33, 15))
    await until_busy(site, 20)
    site.redis.kill()
    last = site.redis.files()[-1]
    content = last.read_bytes()
    last.write_bytes(content[: len(content) * 2 // 3])
    await site.redis.start()
    await site.until_ended()
    await site.check(excess=200)


async def test_the_file_is_damaged_in_its_middle(site: Site) -> None:
    """F37: Redis refuses to start with it; its operator puts it aside, and the log has everything."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    await site.order(draw_orders(37, 15))
    await until_busy(site, 20)
    site.redis.kill()
    last = site.redis.files()[-1]
    content = bytearray(last.read_bytes())
    begin = content.index(b"\r\n*", len(content) // 2) + 2  # of a command: inside of a value nobody would notice
    content[begin : begin + 200] = bytes(200)
    last.write_bytes(content)
    with pytest.raises(AssertionError, match="append only file"):
        await site.redis.start()
    site.redis.put_aside()
    await site.redis.start()
    await site.order(draw_orders(38, 5))
    await site.until_ended()
    await site.check(excess=200)


async def test_a_run_is_deleted_by_hand(site: Site) -> None:
    """F29: one run's keys are gone; it is rebuilt from the log, not continued from nothing."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    ids = await site.order([order("waiting", 2, f"deleted-{i}") for i in range(10)])
    await until_busy(site, 8)
    for run_id in ids:
        await site.redis.do("DEL", KEYS.run(run_id))
    await site.until_ended()
    await site.check(excess=50)


async def test_somebody_trims_the_streams(site: Site) -> None:
    """F33, F34: wake-ups and a consumer's pending list are gone; the audit finds the tokens and wakes them again."""
    await crew(site, lease_ms=SHORT_LEASE_MS)
    await site.order(draw_orders(35, 15))
    await until_busy(site, 8)
    await site.redis.do("XTRIM", KEYS.queue("default:normal"), "MAXLEN", "0")
    await site.until_ended()
    await site.check(excess=50)
