"""The calls that put a run on the floor which goes on from another one. The same plan gives the same calls.

One call makes the run. What is too much for one is put aside before it, under a key of its own that nobody reads; who
dies in between leaves it to its time-to-live, and whoever applies the start again begins again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ..errors import NotRestartable
from ..events import encode_blob, encode_facts
from ..floor.calling import Connection, Word, run_script
from ..floor.payloads import is_reference, store_payload
from ..floor.restoring import PlacedToken
from ..floor.scripts import Late, check_word, load_script
from ..floor.starting import StartWindow, started_facts
from ..keys import Keys, PartitionKeys
from ..marking.marking import Place
from ..reenactment.restarting import ASIDE, Event, RestartPlan
from ..sealing.payload_terms import PAYLOAD_TERMS
from ..slices import uncut
from ..stores.commands import StartCommand

FIELDS_MAX = 900
"""Fields that one call brings."""
BYTES_MAX = 1_000_000
"""Payload bytes that travel inline; of more, all but the small ones are stored apart."""
SMALL_BYTES = 256
BLOB_BYTES_MAX = 64_000_000
STAGED_S = 600
STILL = frozenset({ASIDE, str(Place.ROOM)})
"""Places of tokens that nothing is set for but their record."""
TRIES_MAX = 3
"""How often it is begun again where what was put aside is gone."""


async def apply_restart(
    redis: Connection,
    keys: Keys,
    partition: PartitionKeys,
    command: StartCommand,
    restart: RestartPlan,
    *,
    outbox_hard_max: int,
    window: StartWindow,
) -> bool:
    """Put the run on the floor; whether it was new. Idempotent.

    The payloads and the IR that it refers to must be in Redis. Raises Closed, BackPressure, Late, NotRestartable.
    """
    stored = await _stored(redis, keys, restart)
    events = [(started_facts(command), restart.marking.input), *restart.events]
    blob = await uncut(len(events), lambda: _blob(events, stored))
    if len(blob) > BLOB_BYTES_MAX:
        told = f"what it takes over has {len(blob):,} bytes; at most {BLOB_BYTES_MAX:,} are allowed"
        raise NotRestartable(told, reason="too_large")
    epoch = window.epochs[partition.base]
    fields: list[tuple[str, Word]] = [
        (name, stored.get(value, value) if isinstance(value, bytes) else value) for name, value in restart.fields
    ]
    staged, tokens = _aside(fields, restart.tokens, epoch)
    fields = [] if staged else fields
    head: list[Word] = [outbox_hard_max, window.until_ms, epoch, command.run_id, restart.head, len(staged)]
    waits = [
        word
        for wait in restart.waits
        for word in (wait.token, wait.due, encode_blob([(encode_facts(wait.facts), None)]))
    ]
    words = [
        *head,
        len(events),
        blob,
        *_listed(fields),
        *_listed(tokens),
        *_listed((timer.name, timer.behind, f"+{timer.due}") for timer in restart.timers),
        len(waits),
        *waits,
    ]
    for _ in range(TRIES_MAX):
        for first in range(0, len(staged), FIELDS_MAX):
            await stage_fields(redis, partition, epoch, command.run_id, staged[first : first + FIELDS_MAX])
        verdict = await restart_run(redis, partition, words)
        if verdict != "G":
            return verdict == "A"
    raise Late


async def restart_run(redis: Connection, partition: PartitionKeys, words: Sequence[Word]) -> str:
    """Make the run; return A made, D there already, G what was put aside is gone. Raises Closed, BackPressure, Late."""
    answer = await run_script(redis, load_script("restart_run"), [partition.meta], words)
    check_word(answer[0])
    return str(answer[1], "ascii")


async def stage_fields(
    redis: Connection, partition: PartitionKeys, epoch: str, run_id: str, fields: Iterable[tuple[str, Word]]
) -> None:
    """Put fields of a run aside. Idempotent. Raises Closed, Late."""
    words = [word for pair in fields for word in pair]
    answer = await run_script(redis, load_script("stage_fields"), [partition.meta], [epoch, run_id, STAGED_S, *words])
    check_word(answer[0])


async def _stored(redis: Connection, keys: Keys, restart: RestartPlan) -> dict[bytes, bytes]:
    """Store what is too much to travel inline, by itself or in all; return the references, by what they stand for."""
    payloads = [payload for _, payload in restart.events if payload is not None]
    is_much = sum(map(len, payloads)) > BYTES_MAX
    large = {
        payload
        for payload in payloads
        if not is_reference(payload)
        and (PAYLOAD_TERMS.keeps_apart(payload) or (is_much and len(payload) > SMALL_BYTES))
    }
    return {payload: await store_payload(redis, keys, payload) for payload in sorted(large)}


def _blob(events: Sequence[Event], stored: Mapping[bytes, bytes]) -> bytes:
    return encode_blob([(encode_facts(facts), payload and stored.get(payload, payload)) for facts, payload in events])


def _aside(
    fields: Sequence[tuple[str, Word]], tokens: Sequence[PlacedToken], epoch: str
) -> tuple[list[tuple[str, Word]], Sequence[PlacedToken]]:
    """Return the fields that are put aside, and the tokens that are left: records of tokens may be put aside too."""
    if len(fields) + 2 * len(tokens) <= FIELDS_MAX:
        return [], tokens
    fence = int(epoch) * 2**32 + 1
    records: list[tuple[str, Word]] = [
        (f"t{token.token}", f"{fence}|{token.place}|0|{token.due}|{token.ready}")
        for token in tokens
        if token.place in STILL
    ]
    return [*fields, *records], [token for token in tokens if token.place not in STILL]


def _listed(items: Iterable[tuple[Word, ...]]) -> list[Word]:
    """The number of words, and the words."""
    words = [word for item in items for word in item]
    return [len(words), *words]
