"""Cache keys: what a step's output is kept under, ``<workflow>:<step>:<hash>``. Pure.

The hash is BLAKE2b (RFC 7693), 16 bytes as hex, of the canonical form of all that decides what the step would do:
``[version, node type, config hash, run or "", effective input]``. Canonical is JSON in UTF-8 without spaces, the names
of each object in the order of their UTF-8 bytes, texts with the fewest escapes, and numbers as they read back: a float
in the shortest form that gives it again, always with a dot or an exponent, so that ``1`` and ``1.0`` are two values, as
they are to a handler. The form has a version: whoever changes it makes every older output a miss, never a wrong hit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

import msgspec

CANONICAL_VERSION = 1
HASH_BYTES = 16
_encode = msgspec.json.Encoder(order="deterministic").encode


class CacheKey(NamedTuple):
    """The parts of a key: the first two name a step of a workflow."""

    workflow: str
    step: str
    hash: str


def canonical(value: object) -> bytes:
    """Return the canonical bytes of a JSON value. Raises TypeError, UnicodeEncodeError for others."""
    return _encode(value)


def cache_key(
    workflow: str,
    step: str,
    *,
    node_type: str,
    config_hash: str,
    effective: object,
    run_id: str = "",
    encode: Callable[[bytes], bytes] = bytes,
) -> str:
    """Return the key of an output. effective: what the step gets, as JSON. run_id: where it is one run's alone.

    encode: how payloads are kept; where they are encrypted nobody without the key can try what an input was.
    """
    content = canonical([CANONICAL_VERSION, node_type, config_hash, run_id, effective])
    return f"{workflow}:{step}:{hashlib.blake2b(encode(content), digest_size=HASH_BYTES).hexdigest()}"


def read_key(key: str) -> CacheKey | None:
    """Return the parts of a key, None for what is none. Ids have no colons."""
    parts = key.split(":")
    if len(parts) != 3 or not all(parts):
        return None
    return CacheKey(*parts)
