"""Merkle trees over chain heads, as RFC 6962 (section 2.1) has them, with SHA-256: roots, and proofs of inclusion."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

HASH_BYTES = 32
EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(content: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + content).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def head_leaf(env: str, run_id: str, seq: int, head: bytes) -> bytes:
    """Return the hash of the leaf that says: event ``seq`` of a run has this hash."""
    return leaf_hash(f"{env}|{run_id}|{seq}|{head.hex()}".encode())


class RootBuilder:
    """The root of leaves that are added one after the other. Memory: the logarithm of their number."""

    def __init__(self) -> None:
        self._peaks: list[bytes] = []
        self.size = 0

    def add(self, leaf: bytes) -> None:
        """leaf: its hash."""
        self.size += 1
        full, found = self.size, leaf
        while full % 2 == 0:
            found, full = node_hash(self._peaks.pop(), found), full // 2
        self._peaks.append(found)

    def root(self) -> bytes:
        if not self._peaks:
            return EMPTY_ROOT
        *rest, found = self._peaks
        for peak in reversed(rest):
            found = node_hash(peak, found)
        return found


class Tree:
    """All levels of a tree, for proofs. ``leaves``: their hashes. Memory: 64 bytes a leaf."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        self._levels = [b"".join(leaves)]
        while len(self._levels[-1]) > HASH_BYTES:
            below = self._levels[-1]
            pairs = range(0, len(below) - HASH_BYTES, 2 * HASH_BYTES)
            level = b"".join(node_hash(below[at : at + 32], below[at + 32 : at + 64]) for at in pairs)
            odd = below[-HASH_BYTES:] if len(below) // HASH_BYTES % 2 else b""  # it stands for itself one level up
            self._levels.append(level + odd)

    @property
    def root(self) -> bytes:
        return self._levels[-1] or EMPTY_ROOT

    def path(self, position: int) -> list[bytes]:
        """Return the hashes beside the way from a leaf up to the root; position: from 0."""
        found: list[bytes] = []
        for level in self._levels[:-1]:
            at = (position ^ 1) * HASH_BYTES
            if at < len(level):
                found.append(level[at : at + HASH_BYTES])
            position //= 2
        return found


def root_of(leaf: bytes, position: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """Return the root that a proof leads to; None where it cannot be one of such a tree."""
    if not 0 <= position < size:
        return None
    found, at, last = leaf, position, size - 1
    rest = list(path)
    while last > 0:
        if at % 2 or at < last:
            if not rest:
                return None
            beside = rest.pop(0)
            found = node_hash(beside, found) if at % 2 else node_hash(found, beside)
        at, last = at // 2, last // 2
    return None if rest else found
