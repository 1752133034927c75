"""The call by which a run goes on with another IR, and what it brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import NotMigratable
from ..floor.calling import Connection, Word, run_script
from ..floor.live_marking import RunHead
from ..floor.restoring import token_ready
from ..floor.scripts import check_word, load_script
from ..fold.migrated import Move, migrated_code
from ..keys import PartitionKeys
from ..marking.marking import Marking, TokenKind
from ..marking.plan import Plan, context_field
from ..marking.scopes import token_key

TOKENS_MAX = 500
"""Tokens that live: each is looked at and written by the one call."""
FIELDS_MAX = 400
"""Values that only one of the versions reads: Redis keeps what is read."""


class Migrated(NamedTuple):
    """``verdict``: see lua/migrate_run.lua. ``taken``: keys of tokens that somebody has in hand."""

    verdict: str
    taken: list[str]


async def migrate_run(redis: Connection, keys: PartitionKeys, words: Sequence[Word]) -> Migrated:
    """Let a run go on with another IR; ``words``: lua/migrate_run.lua. Idempotent.

    Both IRs and the payloads that are referred to must be in Redis. Raises Closed, BackPressure, Late.
    """
    answer = await run_script(redis, load_script("migrate_run"), [keys.meta], words)
    check_word(answer[0])
    return Migrated(str(answer[1], "ascii"), [token.decode() for token in answer[2:]])


def migrate_words(
    run_id: str, old: Plan, new: Plan, marking: Marking, move: Move | None, *, epoch: str, outbox_hard_max: int
) -> list[Word]:
    """Return the words of the call. move: None to look only. Raises NotMigratable where they are too many for one."""
    fields = _fields(old, new, marking)
    if len(marking.tokens) > TOKENS_MAX or len(fields) > FIELDS_MAX:
        told = f"{len(marking.tokens):,} tokens live, and {len(fields):,} values are read otherwise"
        limits = f"one call can move {TOKENS_MAX:,} tokens and {FIELDS_MAX:,} values"
        raise NotMigratable(f"the run is too large to be moved: {told}; {limits}", reason="too_large")
    tokens = [
        word
        for at, token in marking.tokens.items()
        for word in (token_key(*at), token_ready(new, at, token) if token.kind is TokenKind.NORMAL else "")
    ]
    code = "" if move is None else migrated_code(move)
    limit = "" if new.ir.max_parallel is None else new.ir.max_parallel
    head: list[Word] = [outbox_hard_max, epoch, run_id, marking.seq, old.hash, new.hash, code, limit]
    said: list[Word] = [word for pair in fields for word in pair]
    return [*head, int(new.is_sharing), *_timeout(old, new, marking), len(tokens), *tokens, len(said), *said]


def _timeout(old: Plan, new: Plan, marking: Marking) -> tuple[str, str]:
    """What stands behind the timer that ends the run, and when it goes off; nothing where both stay."""
    if (old.ir.timeout_ms, old.closes) == (new.ir.timeout_ms, new.closes):
        return "", ""
    return new.closes, "" if new.ir.timeout_ms is None else str(marking.started_ms + new.ir.timeout_ms)


def _fields(old: Plan, new: Plan, marking: Marking) -> list[tuple[str, bytes | str]]:
    """Outputs that only the new version reads, or does not; and what it says of the maps that have items."""
    found: list[tuple[str, bytes | str]] = [
        (context_field("o", *at), value if new.is_read[at[0]] else b"")
        for at, value in marking.outputs.items()
        if new.is_read[at[0]] != old.is_read[at[0]]
    ]
    open_maps = (at for at, record in marking.maps.items() if not record.is_closed)
    return [*found, *((context_field("N", *at), new.map_terms(*at)) for at in open_maps)]


def read_head(content: bytes | None) -> RunHead | None:
    """Return the head of a run, None where Redis does not know it. Raises ValueError where nobody has written it."""
    return None if content is None else RunHead.read(content.decode())
