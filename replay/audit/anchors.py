"""Anchors: made of what has moved, proved for bundles, and held against the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ...sdk.events import GENESIS
from ...sdk.stores.anchors import (
    PAGE,
    Leaf,
    MovedRun,
    anchoring,
    hash_of_event,
    insert_anchor,
    insert_heads,
    last_anchor,
    last_head,
    leaves_of,
    moved_runs,
)
from ...sdk.stores.connection import Connection, iso_text
from ...sdk.stores.errors import LogArchived
from ...sdk.stores.log import ChainBreak, check_archived, follow_chain, verify_chain
from .anchor_lines import FIRST, FORMAT, VERSION, AnchorBook, AnchorLine, line_hash, read_anchor, write_anchor
from .lines import ProofLine
from .merkle import RootBuilder, Tree, head_leaf
from .run_check import Bad
from .signing import Signer

TREES_MAX = 4
"""Anchors whose leaves are kept in memory while proofs are made: 64 bytes a leaf."""


class Anchored(NamedTuple):
    """``content``: the line without its end. ``bad``: runs whose chains do not hold; the anchor does not have them."""

    line: AnchorLine
    content: bytes
    bad: list[Bad]


async def make_anchor(conn: Connection, env: str, signer: Signer | None = None) -> Anchored:
    """Anchor the heads of all runs that have moved since they were anchored last; durable when it returns.

    Each chain is verified from the head that the anchor before had. Whatever was recorded late has moved late: the next
    anchor has it. One at a time for each environment. Not in a transaction.
    """
    async with anchoring(conn, env), conn.transaction(isolation="repeatable_read"):
        before = await last_anchor(conn, env)
        number = 1 if before is None else before[0] + 1
        root, leaves, bad = RootBuilder(), list[Leaf](), list[Bad]()
        async for run in moved_runs(conn, env):
            head = await _head(conn, run)
            if isinstance(head, Bad):
                bad.append(head)
                continue
            leaves.append(Leaf(root.size, run.run_id, *head))
            root.add(head_leaf(env, run.run_id, *head))
            if len(leaves) >= PAGE:
                await insert_heads(conn, env, number, leaves)
                leaves.clear()
        await insert_heads(conn, env, number, leaves)
        at = datetime.now(UTC)
        line = AnchorLine(
            format=FORMAT,
            version=VERSION,
            env=env,
            number=number,
            at=iso_text(at),
            heads=root.size,
            root=root.root().hex(),
            previous=FIRST if before is None else line_hash(before[1]),
        )
        content = write_anchor(line, signer)
        await insert_anchor(conn, env, number, at, root.size, content)
        return Anchored(read_anchor(content), content, bad)


async def _head(conn: Connection, run: MovedRun) -> tuple[int, bytes] | Bad:
    """The head of a run whose chain holds, and still has what was anchored before."""
    seq, head = run.anchored or (0, GENESIS)
    if seq and await hash_of_event(conn, run.run_id, seq) != head:
        return Bad(
            run_id=run.run_id, seq=seq, what="anchor", expected=head.hex(), found="another event than was anchored"
        )
    found = await follow_chain(conn, run.run_id, seq, head)
    if isinstance(found, ChainBreak):
        return Bad(run_id=run.run_id, seq=found.seq, what="chain", found=found.reason)
    return found


class Prover:
    """Makes proofs that anchors have what the log says, of one environment."""

    def __init__(self, conn: Connection, env: str) -> None:
        self._conn = conn
        self._env = env
        self._trees: OrderedDict[int, Tree] = OrderedDict()

    async def of_run(self, run_id: str) -> dict[int, ProofLine]:
        """Return the proof of the last event of a run that an anchor has, by its number; empty where there is none."""
        head = await last_head(self._conn, self._env, run_id)
        if head is None:
            return {}
        tree = await self._tree(head.anchor)
        path = tuple(part.hex() for part in tree.path(head.position))
        return {head.seq: ProofLine(anchor=head.anchor, position=head.position, size=tree.size, path=path)}

    async def _tree(self, anchor: int) -> Tree:
        tree = self._trees.get(anchor)
        if tree is None:
            leaves = leaves_of(self._conn, self._env, anchor)
            tree = Tree([head_leaf(self._env, leaf.run_id, leaf.seq, leaf.hash) async for leaf in leaves])
            self._trees[anchor] = tree
            if len(self._trees) > TREES_MAX:
                self._trees.popitem(last=False)
        return tree


class AnchorsChecked(msgspec.Struct, frozen=True, kw_only=True):
    """``anchors``, ``heads``: looked at. ``bad``: the first event of each head that the log does not have as it was."""

    ok: bool
    anchors: int
    heads: int
    bad: list[Bad]


async def check_anchors(
    conn: Connection, env: str, lines: Iterable[bytes], *, key: str | None = None, with_chains: bool = False
) -> AnchorsChecked:
    """Hold anchors that somebody has kept against the log. lines: without their ends; those of other environments are
    left out.

    key: a public key as hex; then each line must be signed by it. with_chains: every run is followed from its first
    event, so that changes before an anchored head show too.
    """
    book, bad, heads, count, last = AnchorBook(key), list[Bad](), 0, 0, 0
    for content in lines:
        line = book.add(content)
        if line is None or line.env != env:
            continue
        count, last = count + 1, max(last, line.number)
        async for found in _against_log(conn, line):
            if isinstance(found, Bad):
                bad.append(found)
            else:
                heads += 1
                if with_chains and (broken := await _broken(conn, found)) is not None:
                    bad.append(broken)
    problems = [
        Bad(run_id=None, seq=None, what=one.what, expected=one.expected, found=_told(one.number, one.found))
        for one in book.problems
    ]
    if not count and not problems:
        problems.append(Bad(run_id=None, seq=None, what="line", expected=f"anchors of {env}", found="none"))
    found_bad = [*problems, *bad]
    return AnchorsChecked(ok=not found_bad, anchors=count, heads=heads, bad=found_bad)


async def _against_log(conn: Connection, line: AnchorLine) -> AsyncIterator[Leaf | Bad]:
    root = RootBuilder()
    async for leaf in leaves_of(conn, line.env, line.number, with_log=True):
        root.add(head_leaf(line.env, leaf.run_id, leaf.seq, leaf.hash))
        yield leaf
        if leaf.found != leaf.hash:
            told = await _missing(conn, leaf) if leaf.found is None else f"an event with the hash {leaf.found.hex()}"
            expected = f"the hash {leaf.hash.hex()} of anchor {line.number}"
            yield Bad(run_id=leaf.run_id, seq=leaf.seq, what="anchor", expected=expected, found=told)
    if (root.size, root.root().hex()) != (line.heads, line.root):
        expected, found = f"{line.heads} heads under {line.root}", f"{root.size} heads under {root.root().hex()}"
        yield Bad(run_id=None, seq=None, what="root", expected=expected, found=_told(line.number, found))


async def _missing(conn: Connection, leaf: Leaf) -> str:
    try:
        await check_archived(conn, leaf.run_id)
    except LogArchived as error:
        return f"no such event: {error}"
    return "no such event"


async def _broken(conn: Connection, leaf: Leaf) -> Bad | None:
    """What is wrong with the chain of an anchored run; where its head is gone too, that is told already."""
    try:
        broken = await verify_chain(conn, leaf.run_id)
    except LogArchived as error:
        return None if leaf.found is None else Bad(run_id=leaf.run_id, seq=1, what="chain", found=str(error))
    return None if broken is None else Bad(run_id=leaf.run_id, seq=broken.seq, what="chain", found=broken.reason)


def _told(number: int | None, found: str) -> str:
    return found if number is None else f"anchor {number}: {found}"
