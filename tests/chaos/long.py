"""The long form: the monkey for as long as is wanted, then the checker. ``scripts/chaos`` calls it."""

from __future__ import annotations

import argparse
import logging
import secrets
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import anyio
import structlog

from chaos.calm import run_calmly
from chaos.monkey import Monkey, tricks
from chaos.servers import PostgresServer
from chaos.site import SHORT_LEASE_MS, open_site

ROUND_S = 60.0
"""After so long the trouble pauses, everything must come to its end, and all is checked."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, metavar="N", help="how long there is trouble")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), metavar="S", help="repeats a choice")
    parser.add_argument("--tricks", default="", metavar="A,B", help=f"only these of {', '.join(sorted(tricks()))}")
    parser.add_argument("--keep", action="store_true", help="keep logs and data also where nothing was found")
    given = parser.parse_args()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )
    logging.getLogger("asyncpg").setLevel(logging.CRITICAL)  # the harness's own client; it connects again by itself
    folder = Path(tempfile.mkdtemp(prefix="courante-chaos-"))
    folder.chmod(0o755)
    print(f"seed {given.seed}, {given.seconds:.0f} s, in {folder}", flush=True)
    only = [name for name in given.tricks.split(",") if name]
    try:
        anyio.run(_run, folder, given.seed, given.seconds, only)
    except (AssertionError, TimeoutError, ExceptionGroup) as error:
        traceback.print_exception(error)
        print(f"FOUND with --seed {given.seed}; everything is kept in {folder}")
        return 1
    if not given.keep:
        shutil.rmtree(folder)
    print(f"nothing found with --seed {given.seed}")
    return 0


async def _run(folder: Path, seed: int, seconds: float, only: list[str]) -> None:
    postgres = PostgresServer(folder / "postgres")
    await postgres.start()
    try:
        calm = await run_calmly(postgres, _make(folder / "calm"))
        left, number = seconds, 0
        while left > 0:
            began = time.monotonic()
            await _round(_make(folder / f"round{number}"), postgres, calm, seed + number, min(left, ROUND_S), only)
            left -= time.monotonic() - began
            number += 1
    finally:
        postgres.kill()


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def _round(
    folder: Path, postgres: PostgresServer, calm: Path, seed: int, seconds: float, only: list[str]
) -> None:
    async with open_site(folder, postgres, calm) as site:
        site.lease_ms = SHORT_LEASE_MS
        known = tricks()
        monkey = Monkey(site, seed, {name: known[name] for name in only or known})
        await monkey.run(seconds)
        began = time.monotonic()
        await site.until_ended(120)
        took = time.monotonic() - began
        counted = await site.check(excess=monkey.excess)
        told = ", ".join(f"{name} {count}" for name, count in sorted(monkey.done.items()))
        print(f"round of seed {seed}: {counted['runs']} runs, {counted['events']} events; {told}", flush=True)
        print(f"  all ended {took:.1f} s after the trouble; {site.said('error')} errors logged", flush=True)


if __name__ == "__main__":
    sys.exit(main())
