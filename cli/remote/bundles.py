"""Bundles over an API: lines as they come, and the signature of whoever asks, which the server has no part in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ...replay.audit.lines import BadLine, SignatureLine, TrailerLine, read_line, write_line
from ...replay.audit.signing import ALGORITHM
from ..exits import CliError, ExitCode
from .connection import Connection, Query
from .paths import at

if TYPE_CHECKING:
    from ...replay.audit.signing import Signer

EVENT = b'{"line":"event"'
TRAILER_BYTES_MAX = 4_096


async def fetch_bundle(
    api: Connection,
    wanted: Query,
    write: Callable[[bytes], object],
    signer: Signer | None,
    tell: Callable[[int], None],
) -> TrailerLine:
    """Write a bundle, and return its last line but for the signature. Memory does not grow with it.

    wanted: ``runs``, or filters.
    tell: is told about how many events there were until now. Raises CliError, also for a bundle that was broken off.
    """
    tail, events = b"", 0
    asked = (
        api.reading(at("audit", "export"), body=wanted) if "runs" in wanted else api.reading(at("audit"), query=wanted)
    )
    async with asked as parts:
        async for part in parts:
            write(part)
            tail = (tail + part)[-TRAILER_BYTES_MAX:]
            events += part.count(EVENT)
            tell(events)
    trailer = _trailer(tail)
    if trailer is None:
        raise CliError(
            ExitCode.SERVICE,
            "bundle_broken_off",
            f"the API at {api.url} has broken off the bundle after some {events:,} events",
            "ask again; the log of the server says why",
        )
    if signer is not None:
        signature = signer.sign(write_line(trailer))
        write(write_line(SignatureLine(algorithm=ALGORITHM, key=signer.public, signature=signature)) + b"\n")
    return trailer


def _trailer(tail: bytes) -> TrailerLine | None:
    """The last line, where that is one."""
    *_, line, rest = b"", *tail.split(b"\n")
    try:
        found = read_line(line)
    except BadLine:
        return None
    return found if isinstance(found, TrailerLine) and not rest else None
