"""Cached outputs: as they are kept in Redis, what the log says of them, and below which time they are void. Pure.

An event ``step.succeeded`` names its key in ``data.cache``: with reason ``cache_hit`` the output was taken from there,
and ``data.from`` is the run that made it; without, it was made now and is kept. ``data.made_ms`` says since when it is
(the time when the attempt was handed out, by Redis' clock), so that what was made before an invalidation and ends after
it does not count.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ...compiler.workflow import Cache
from ..sealing.artifacts import digests_in
from .cache_keys import read_key

CACHE_HIT = "cache_hit"
"""Why a step is skipped, and has its output all the same."""
RUN_ONLY = "run_only"
KEPT_VERSION = 1
HOT_MS_MAX = 24 * 3600 * 1000
"""How long an output is in Redis at most. What is cold has only the time-to-live of its document."""
_encode = msgspec.msgpack.Encoder().encode


class Kept(msgspec.Struct, frozen=True, array_like=True):
    """An output that may be taken again. ``run_id``: of the run that made it; ``made_ms``: see above.

    ``output``: JSON bytes, or a reference. ``needs``: digests of the payloads that must be there for it, 16 bytes each.
    """

    version: int
    run_id: str
    made_ms: int
    output: bytes
    needs: tuple[bytes, ...] = ()


_decode = msgspec.msgpack.Decoder(Kept).decode


def encode_kept(kept: Kept) -> bytes:
    return _encode(kept)


def decode_kept(content: bytes) -> Kept | None:
    """Return None for what this version cannot read."""
    try:
        kept = _decode(content)
    except msgspec.MsgspecError:
        return None
    return kept if kept.version == KEPT_VERSION else None


def needs_of(output: bytes, content: bytes) -> tuple[bytes, ...]:
    """Return the digests that an output needs. content: the value of it, where the output is a reference to that."""
    found = digests_in(content)
    if output.startswith(b"@"):
        found = found | {bytes.fromhex(output[1:33].decode())}
    return tuple(sorted(found))


def told_hit(key: str, run_id: str) -> dict[str, object]:
    """What the log says of an output that was taken. run_id: of the run that made it."""
    return {"cache": key, "from": run_id}


def told_kept(key: str, cache: Cache, made_ms: int) -> dict[str, object]:
    """What the log says of an output that is kept."""
    told: dict[str, object] = {"cache": key, "made_ms": made_ms}
    if cache.ttl_ms is not None:
        told["ttl_ms"] = cache.ttl_ms
    if cache.scope == RUN_ONLY:
        told["scope"] = RUN_ONLY
    return told


def floor_name(workflow: str = "", step: str = "", key: str = "") -> str:
    """Return the name of a floor; what is empty stands for all. A key stands alone."""
    return key or (f"{workflow}:{step}" if step else workflow)


class Floors:
    """The times before which outputs must have been made no more: of all, of a workflow, of a step, of one output.

    ``times``: in ms, by ``floor_name``.
    """

    def __init__(self, times: Mapping[str, int]) -> None:
        self.times = times

    @classmethod
    def read(cls, content: bytes) -> Floors:
        """Raises msgspec.MsgspecError."""
        return cls(msgspec.json.decode(content, type=dict[str, int]))

    def content(self) -> bytes:
        return msgspec.json.encode(self.times, order="deterministic")

    def allows(self, key: str, made_ms: int) -> bool:
        """Whether an output under this key was made late enough."""
        if not self.times:
            return True
        parts = read_key(key)
        names = ["", key]
        if parts is not None:
            workflow, step = parts.workflow, parts.step
            names += [floor_name(workflow), floor_name(workflow, step), floor_name("", step)]
        return all(made_ms >= self.times.get(name, 0) for name in names)


NO_FLOORS = Floors({})
