"""The scripts: every change of a run is one of these calls. sdk/floor/calling.py calls them.

Each ``.lua`` file has one typed wrapper here. A call is a state change and may be repeated safely; still, clients
passed in should not repeat by themselves (``Retry(NoBackoff(), 0)``), so that call numbers stay in order.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from redis import Redis as BlockingRedis

from ..keys import PartitionKeys
from .calling import Connection, Script, Word, run_script, run_script_blocking
from .function_library import library_of

_INCLUDE = re.compile(r"^-- @include (\w+)$", re.MULTILINE)

OUTBOX_HARD_MAX = 100_000
"""Entries in the outbox beyond which nothing is written, where the settings say nothing else."""
OUTBOX_SOFT_MAX = 50_000
"""Entries in the outbox beyond which transitions are applied and no new tokens handed out."""
QUEUE_GROUP = "workers"
DONE_GROUP = "supervisors"
INTAKE_GROUP = "intake"


@cache
def load_script(name: str) -> Script:
    """Return ``lua/<name>.lua`` with its includes expanded, each once, in order."""
    folder = files("courante") / "lua"
    seen: list[str] = []

    def expand(match: re.Match[str]) -> str:
        include = match.group(1)
        if include in seen:
            return ""
        seen.append(include)
        text = (folder / "includes" / f"{include}.lua").read_text("utf-8")
        return _INCLUDE.sub(expand, text)

    written = (folder / f"{name}.lua").read_text("utf-8")
    includes = list(_INCLUDE.finditer(written))
    end = includes[-1].end() + 1 if includes else written.index("\n") + 1
    shared, body = _INCLUDE.sub(expand, written[:end]), written[end:]
    source = (shared + body).encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest()
    return Script(name, source, sha, library_of(name, sha, shared, body))


class Closed(Exception):
    """The partition has no epoch: the server has forgotten its state, and recovery has not opened it yet."""


class BackPressure(Exception):
    """The outbox is over its hard limit: the recorder cannot reach Postgres. Nothing was changed; try later."""


class Late(Exception):
    """A start came after its window: somebody else may have applied it, and the run may have ended since."""


class Fenced(Exception):
    """Somebody else recovers the partition in a later epoch, or Redis lost a call of this recovery."""


def check_word(word: bytes) -> None:
    """Raise what a script's first word says."""
    if word == b"CLOSED":
        raise Closed
    if word == b"FENCED":
        raise Fenced
    if word == b"BACKPRESSURE":
        raise BackPressure
    if word == b"LATE":
        raise Late


class Advanced(NamedTuple):
    """The answer of ``advance``: a letter per transition, and the tokens that were handed out (deliver.lua).

    ``now_ms``: the server's clock, the only one that deadlines use. ``is_over``: the outbox is over its soft limit.
    """

    verdicts: str
    now_ms: int
    tokens: list[list[bytes]]
    is_over: bool = False


async def advance(
    redis: Connection, keys: PartitionKeys, worker: str, streams: Sequence[str], words: Sequence[Word]
) -> Advanced:
    """Apply finished transitions and take new tokens. ``words``: see lua/advance.lua. One round trip.

    Raises Closed, BackPressure.
    """
    answer = await run_script(redis, load_script("advance"), [keys.meta, keys.worker(worker), *streams], words)
    check_word(answer[0])
    return Advanced(answer[1].decode(), int(answer[2]), answer[3:], answer[0] == b"OVER")


async def start_runs(redis: Connection, keys: PartitionKeys, words: Sequence[Word]) -> str:
    """Start runs; return a letter per run: A started, D there already. Raises Closed, BackPressure, Late."""
    answer = await run_script(redis, load_script("start_runs"), [keys.meta], words)
    check_word(answer[0])
    return str(answer[1], "ascii")


class RunLook(NamedTuple):
    """What ``look_at_runs`` says of one run. ``phase``: R, D, E, H, or None where the run is unknown."""

    phase: str | None
    counter: int
    ir_hash: str
    reason: str
    error: bytes | None
    values: list[bytes | None]


async def look_at_runs(redis: Connection, keys: PartitionKeys, wanted: Sequence[tuple[str, str]]) -> list[RunLook]:
    """Return the state and the context values of runs; ``wanted``: (run, fields joined by spaces)."""
    words = [word for pair in wanted for word in pair]
    answer = await run_script(redis, load_script("look_at_runs"), [keys.meta], words)
    return [
        RunLook(
            None if one[0] is None else one[0].decode(),
            int(one[1]),
            (one[2] or b"").decode(),
            one[3].decode(),
            one[4],
            one[5:],
        )
        for one in answer
    ]


async def finish_runs(redis: Connection, keys: PartitionKeys, words: Sequence[Word]) -> str:
    """End runs; return a letter per run (lua/finish_runs.lua). Raises Closed."""
    answer = await run_script(redis, load_script("finish_runs"), [keys.meta], words)
    check_word(answer[0])
    return str(answer[1], "ascii")


async def release_timers(
    redis: Connection, keys: PartitionKeys, limit: int, outbox_hard_max: int = OUTBOX_HARD_MAX
) -> tuple[int, int]:
    """Queue what is due; return how many, and the ms until the next one (-1: none). Raises Closed, BackPressure."""
    words = [limit, outbox_hard_max]
    answer = await run_script(redis, load_script("release_timers"), [keys.meta, keys.timers], words)
    check_word(answer[0])
    return int(answer[1]), int(answer[2])


class Applied(NamedTuple):
    """Commands as ``apply_commands`` takes them; ``kind``: cancel, signal, force, withdraw, pause or resume."""

    run_id: str
    number: int
    kind: str
    reason: str = ""
    token: str = ""
    name: str = ""
    value: Word = b""
    closes: str = "0"
    events: int = 0
    blob: bytes = b""


async def apply_commands(
    redis: Connection, keys: PartitionKeys, commands: Sequence[Applied], outbox_hard_max: int = OUTBOX_HARD_MAX
) -> str:
    """Apply commands of one partition in order; return a letter per command (lua/apply_commands.lua).

    Idempotent by run and number. Raises Closed, BackPressure.
    """
    words: list[Word] = [outbox_hard_max]
    for command in commands:
        words += command
    answer = await run_script(redis, load_script("apply_commands"), [keys.meta], words)
    check_word(answer[0])
    return str(answer[1], "ascii")


def renew_leases(redis: BlockingRedis, keys: PartitionKeys, streams: Sequence[str], words: Sequence[Word]) -> str:
    """Keep what a worker holds; return a letter per token (lua/renew_leases.lua). Blocks. Raises Closed."""
    script = load_script("renew_leases")
    answer = run_script_blocking(redis, script, [keys.meta, *streams], words)
    check_word(answer[0])
    return str(answer[1], "ascii")


class Claims(NamedTuple):
    """What ``claim_tokens`` did. ``lost``: entries that somebody has deleted; ``following``: where to go on."""

    claimed: int
    dropped: int
    lost: int
    following: list[Word]


async def claim_tokens(
    redis: Connection,
    keys: PartitionKeys,
    *,
    lease_ms: int,
    limit: int,
    start: Sequence[Word] = (),
    outbox_hard_max: int = OUTBOX_HARD_MAX,
) -> Claims:
    """Take over what has been held for longer than the lease; look at ``limit`` entries.

    start: ``following`` of the call before. Raises Closed, BackPressure.
    """
    words = [lease_ms, limit, outbox_hard_max, *start]
    answer = await run_script(redis, load_script("claim_tokens"), [keys.meta], words)
    check_word(answer[0])
    return Claims(int(answer[1]), int(answer[2]), int(answer[3]), answer[4])


async def forget_consumers(
    redis: Connection, keys: PartitionKeys, streams: Sequence[str], consumers: Sequence[str]
) -> str:
    """Take consumers out of the groups where nothing of theirs is pending; return a letter per consumer.

    See lua/forget_consumers.lua. Raises Closed.
    """
    answer = await run_script(redis, load_script("forget_consumers"), [keys.meta, *streams], consumers)
    check_word(answer[0])
    return str(answer[1], "ascii")


async def expire_runs(redis: Connection, keys: PartitionKeys, ttl_s: int, run_ids: Sequence[str]) -> None:
    """Give the keys of recorded runs a time-to-live, and say so. ``run_ids``: at most 500. Idempotent."""
    await run_script(redis, load_script("expire_runs"), [keys.meta], [ttl_s, *run_ids])


async def open_partition(
    redis: Connection, keys: PartitionKeys, streams: Sequence[tuple[str, str]], *, epoch: int | None
) -> int:
    """Make the groups of ``streams`` (key, group); open with ``epoch`` where there is none. Returns the epoch.

    Raises Closed where there is none and none was given.
    """
    words: list[Word] = ["" if epoch is None else str(epoch), *(group for _, group in streams)]
    keys_used = [keys.meta, *(stream for stream, _ in streams)]
    answer = await run_script(redis, load_script("open_partition"), keys_used, words)
    if answer[0] is None:
        raise Closed
    return int(answer[0])
