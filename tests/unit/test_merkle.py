"""Merkle trees of anchors: as RFC 6962 has them, whatever their size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.replay.audit.merkle import RootBuilder, Tree, leaf_hash, node_hash, root_of

LEAVES = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "60" * 16)]
KNOWN = {0: hashlib.sha256(b"").hexdigest(), 1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"}
"""Roots that are known elsewhere: of no leaf, and of one that is empty, as Certificate Transparency tests them."""


def plain_root(leaves: Sequence[bytes]) -> bytes:
    """The definition, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(plain_root(leaves[:split]), plain_root(leaves[split:]))


@pytest.mark.parametrize("size", KNOWN)
def test_known_roots(size: int) -> None:
    assert Tree([leaf_hash(leaf) for leaf in LEAVES[:size]]).root.hex() == KNOWN[size]


@given(st.integers(0, 200))
def test_roots_are_those_of_the_definition(size: int) -> None:
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    builder = RootBuilder()
    for leaf in leaves:
        builder.add(leaf)
    assert builder.size == size
    assert builder.root() == Tree(leaves).root == plain_root(leaves)


@given(st.data())
def test_a_proof_leads_to_the_root_from_its_own_leaf_alone(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 200))
    position = data.draw(st.integers(0, size - 1))
    leaves = [leaf_hash(str(number).encode()) for number in range(size)]
    tree = Tree(leaves)
    path = tree.path(position)
    assert root_of(leaves[position], position, size, path) == tree.root
    other = data.draw(st.integers(-1, size).filter(lambda at: at != position))
    assert root_of(leaves[position], other, size, path) != tree.root
    assert root_of(leaf_hash(b"forged"), position, size, path) != tree.root
    assert root_of(leaves[position], position, size, [*path, tree.root]) is None
    if path:
        assert root_of(leaves[position], position, size, path[:-1]) != tree.root
        assert root_of(leaves[position], position, size, [leaf_hash(b"x"), *path[1:]]) != tree.root
