"""Dead letters: steps that failed for good. They are listed and dropped; ``restarts`` starts their runs again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..errors import InputInvalid
from ..keys import Keys
from ..stores.connection import Pool
from ..stores.dead_letters import DeadLetter, DeadLetterPage, Dropped, Wanted, drop_dead_letters, list_dead_letters
from ..stores.errors import BadFilter
from ..submissions.said_texts import check_said
from ..unavailable import AsUnavailable


class DroppedLetters(NamedTuple):
    """``letters``: that were open until now. ``by``: who has dropped them, as it is kept."""

    letters: Sequence[Dropped]
    by: str | None


class DeadLetters:
    """Of one environment. Safe for any number of tasks."""

    def __init__(self, pool: Pool, keys: Keys) -> None:
        self._pool = pool
        self._keys = keys

    async def list(self, wanted: Wanted, *, limit: int = 50, cursor: str | None = None) -> DeadLetterPage:
        """Return one page of dead letters, the last failure first. Raises InputInvalid, ServiceUnavailable."""
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                try:
                    return await list_dead_letters(conn, self._keys.env, wanted, limit=limit, cursor=cursor)
                except BadFilter as error:
                    raise InputInvalid(str(error)) from error

    async def drop(self, letters: Sequence[DeadLetter], reason: str, by: str | None) -> DroppedLetters:
        """Write down that somebody has dealt with them; return those that were open. Raises InputInvalid."""
        check_said(by=by, reason=reason)
        with AsUnavailable():
            async with self._pool.acquire() as conn:
                return DroppedLetters(await drop_dead_letters(conn, self._keys.env, letters, by=by, reason=reason), by)
