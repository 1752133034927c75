"""Anchors: made of what has moved, proved for bundles, and held against the log."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from ...sdk.errors import AnchorOutdated, InputInvalid
from ...sdk.events import GENESIS
from ...sdk.moments import iso_text
from ...sdk.stores.anchors import (
    PAGE,
    Leaf,
    MovedRun,
    anchoring,
    delete_draft,
    hash_of_event,
    insert_anchor,
    insert_draft,
    insert_draft_heads,
    insert_heads,
    keep_draft_heads,
    last_anchor,
    last_head,
    leaves_of,
    moved_runs,
    read_draft,
)
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import LogArchived
from ...sdk.stores.log import ChainBreak, check_archived, follow_chain, verify_chain
from .anchor_lines import (
    FIRST,
    FORMAT,
    VERSION,
    AnchorBook,
    AnchorLine,
    has_signature,
    line_hash,
    read_anchor,
    write_anchor,
)
from .lines import BadLine, ProofLine
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
        number, previous = await _next(conn, env)
        line, bad = await _collect(conn, env, number, previous, lambda leaves: insert_heads(conn, env, number, leaves))
        content = write_anchor(line, signer)
        await insert_anchor(conn, line.env, line.number, datetime.fromisoformat(line.at), line.heads, content)
        return Anchored(read_anchor(content), content, bad)


async def draft_anchor(conn: Connection, env: str, key: str) -> Anchored:
    """Say which anchor is to be signed by whoever has the private key of this public one, as hex.

    As ``make_anchor``, but nothing is anchored before ``keep_signed``. The draft of somebody else is void then.
    """
    async with anchoring(conn, env), conn.transaction(isolation="repeatable_read"):
        await delete_draft(conn, env)
        line, bad = await _collect(
            conn, env, *await _next(conn, env), lambda leaves: insert_draft_heads(conn, env, leaves)
        )
        line = msgspec.structs.replace(line, key=key)
        content = write_anchor(line)
        await insert_draft(conn, env, content)
        return Anchored(line, content, bad)


async def keep_signed(conn: Connection, env: str, content: bytes) -> AnchorLine:
    """Anchor what ``draft_anchor`` has said, with its signature; durable when it returns. Asked twice it is done once.

    Raises InputInvalid for what is no line or is not signed, AnchorOutdated where it is not the draft, or no more.
    """
    try:
        line = read_anchor(content)
    except BadLine as error:
        raise InputInvalid(f"the line: {error}") from error
    async with anchoring(conn, env), conn.transaction(isolation="repeatable_read"):
        last, draft = await last_anchor(conn, env), await read_draft(conn, env)
        if last is not None and last[1] == content:
            return line
        is_next = (line.number, line.previous) == await _next(conn, env)
        if not is_next or draft != write_anchor(msgspec.structs.replace(line, signature="")):
            hint = "anchor again, when nobody else does"
            raise AnchorOutdated(
                "somebody else has made an anchor, or is about to, since this one was drafted", hint=hint
            )
        if not has_signature(line):
            raise InputInvalid("the line: its signature does not fit its key")
        await keep_draft_heads(conn, env, line.number)
        await insert_anchor(conn, env, line.number, datetime.fromisoformat(line.at), line.heads, content)
        await delete_draft(conn, env)
    return line


async def _next(conn: Connection, env: str) -> tuple[int, str]:
    """Return the number of the next anchor, and what it says of the one before it."""
    before = await last_anchor(conn, env)
    return (1, FIRST) if before is None else (before[0] + 1, line_hash(before[1]))


async def _collect(
    conn: Connection, env: str, number: int, previous: str, insert: Callable[[Sequence[Leaf]], Awaitable[None]]
) -> tuple[AnchorLine, list[Bad]]:
    """Return the line over all that has moved, unsigned, and what does not hold. insert: is given the leaves."""
    root, leaves, bad = RootBuilder(), list[Leaf](), list[Bad]()
    async for run in moved_runs(conn, env):
        head = await _head(conn, run)
        if isinstance(head, Bad):
            bad.append(head)
            continue
        leaves.append(Leaf(root.size, run.run_id, *head))
        root.add(head_leaf(env, run.run_id, *head))
        if len(leaves) >= PAGE:
            await insert(leaves)
            leaves.clear()
    await insert(leaves)
    line = AnchorLine(
        format=FORMAT,
        version=VERSION,
        env=env,
        number=number,
        at=iso_text(datetime.now(UTC)),
        heads=root.size,
        root=root.root().hex(),
        previous=previous,
    )
    return line, bad


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


class AnchorChecked(msgspec.Struct, frozen=True, kw_only=True):
    """One anchor. ``heads``: looked at. ``bad``: the first event of each that the log does not have as it was."""

    heads: int
    bad: list[Bad]


class AnchorsChecked(msgspec.Struct, frozen=True, kw_only=True):
    """``anchors``, ``heads``: looked at. ``bad``: the first event of each head that the log does not have as it was."""

    ok: bool
    anchors: int
    heads: int
    bad: list[Bad]


async def check_anchors(
    conn: Connection, env: str, lines: Iterable[bytes], *, key: str | None = None, with_chains: bool = False
) -> AnchorsChecked:
    """See ``check_lines``. with_chains: see ``check_anchor``."""

    async def against_log(line: AnchorLine) -> AnchorChecked:
        return await check_anchor(conn, env, line.number, line.heads, line.root, with_chains=with_chains)

    return await check_lines(env, lines, against_log, key=key)


async def check_lines(
    env: str, lines: Iterable[bytes], against_log: Callable[[AnchorLine], Awaitable[AnchorChecked]], *, key: str | None
) -> AnchorsChecked:
    """Hold anchors that somebody has kept against the log. lines: without their ends; those of other environments are
    left out.

    key: a public key as hex; then each line must be signed by it. against_log: ``check_anchor``, wherever the log is.
    """
    book, bad, heads, count = AnchorBook(key), list[Bad](), 0, 0
    for content in lines:
        line = book.add(content)
        if line is None or line.env != env:
            continue
        found = await against_log(line)
        bad += found.bad
        count, heads = count + 1, heads + found.heads
    problems = [
        Bad(run_id=None, seq=None, what=one.what, expected=one.expected, found=_told(one.number, one.found))
        for one in book.problems
    ]
    if not count and not problems:
        problems.append(Bad(run_id=None, seq=None, what="line", expected=f"anchors of {env}", found="none"))
    found_bad = [*problems, *bad]
    return AnchorsChecked(ok=not found_bad, anchors=count, heads=heads, bad=found_bad)


async def check_anchor(
    conn: Connection, env: str, number: int, heads: int, root: str, *, with_chains: bool
) -> AnchorChecked:
    """Hold the log against what an anchor says: so many heads under a root, as hex.

    with_chains: every run is followed from its first event, so that changes before an anchored head show too.
    """
    built, bad = RootBuilder(), list[Bad]()
    async for leaf in leaves_of(conn, env, number, with_log=True):
        built.add(head_leaf(env, leaf.run_id, leaf.seq, leaf.hash))
        if with_chains and (broken := await _broken(conn, leaf)) is not None:
            bad.append(broken)
        if leaf.found != leaf.hash:
            told = await _missing(conn, leaf) if leaf.found is None else f"an event with the hash {leaf.found.hex()}"
            expected = f"the hash {leaf.hash.hex()} of anchor {number}"
            bad.append(Bad(run_id=leaf.run_id, seq=leaf.seq, what="anchor", expected=expected, found=told))
    if (built.size, built.root().hex()) != (heads, root):
        expected, found = f"{heads} heads under {root}", f"{built.size} heads under {built.root().hex()}"
        bad.append(Bad(run_id=None, seq=None, what="root", expected=expected, found=_told(number, found)))
    return AnchorChecked(heads=built.size, bad=bad)


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
