"""Likeness: whether a step would do the same in a new run that it did in its base, by another version. Pure.

It would where it is the same, by type and config, and gets the same: its effective input, and whatever else its config
reads. When it runs, how often it is tried and where it leads to is not asked: what is done is done, and ways are
decided again.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple, Protocol, TypeAlias

import msgspec

from ...compiler.ir import Ir, Node, Read, ReadKind
from ..caching.cache_keys import canonical
from ..marking.scopes import Scope
from ..outcomes.node_code import Codes
from ..outcomes.step_context import StepContext, StepError, decode_json

At: TypeAlias = tuple[int, Scope]
CHANGED, DIFFERS = "changed", "input_differs"
WITHOUT_EFFECT = frozenset({"max_concurrency"})
"""Config of a map that decides how, and not what."""
_STANDING = frozenset({ReadKind.TOKEN, ReadKind.MAP})


class Seen(NamedTuple):
    """What a step read when it was executed: ``live`` as its token had it, and the values of ``Plan.reads``."""

    live: str
    values: list[bytes | None]


class Contexts(Protocol):
    """Makes contexts of values, and brings what these stand for. Raises Unloaded."""

    def context_of(self, codes: Codes, at: At, live: str, values: list[bytes | None]) -> StepContext: ...


class Likeness:
    """before, after: the two versions. numbers: from the nodes of the new one to those of the old one that are the same
    steps. seen: what was read then, by places of the old one. done_by: IRs by which steps were done, where that is not
    the last one that the base had. lost: references to what is not stored any more.
    """

    def __init__(
        self,
        before: Codes,
        after: Codes,
        numbers: Mapping[int, int],
        seen: Mapping[At, Seen],
        done_by: Mapping[At, Ir],
        lost: AbstractSet[bytes] = frozenset(),
    ) -> None:
        self._lost = lost
        self._before = before
        self._after = after
        self._numbers = numbers
        self._seen = seen
        self._done_by = done_by
        self._kinds: dict[int, tuple[object, ...]] = {}

    def unlike(self, at: At, live: str, values: list[bytes | None], contexts: Contexts) -> str:
        """Return why a step would not do the same, nothing where it would. values: what it reads now.

        Raises what ``contexts`` does.
        """
        then = self._numbers[at[0]], at[1]
        if at[0] not in self._kinds:
            self._kinds[at[0]] = kind_of(self._after.plan.ir, at[0])
        if kind_of(self._done_by.get(then, self._before.plan.ir), then[0]) != self._kinds[at[0]]:
            return CHANGED
        seen = self._seen[then]
        return "" if self._gets_the_same(then, seen, at, Seen(live, values), contexts) else DIFFERS

    def _gets_the_same(self, then: At, seen: Seen, now: At, sees: Seen, contexts: Contexts) -> bool:
        old, new = self._before.plan.ir, self._after.plan.ir
        node, other = old.nodes[then[0]], new.nodes[now[0]]
        read, reads = _named(old, node, seen.values), _named(new, other, sees.values)
        if any(read[key] != reads[key] for key in read.keys() & reads.keys()):
            return False
        if seen.values[len(node.reads) :] != sees.values[len(other.reads) :]:
            return False  # the output of its loop, by which it begins anew
        is_same_way = seen.live == sees.live and _sources(node) == _sources(other)
        if is_same_way and node.input == other.input:
            return True
        if not self._lost.isdisjoint(value for value in (*seen.values, *sees.values) if value is not None):
            return False  # nobody can tell
        try:
            one = contexts.context_of(self._before, then, seen.live, seen.values)
            two = contexts.context_of(self._after, now, sees.live, sees.values)
            if not is_same_way and _reads_inputs(other) and dict(one.live_inputs()) != dict(two.live_inputs()):
                return False
            return canonical(decode_json(one.input_bytes())) == canonical(decode_json(two.input_bytes()))
        except StepError:
            return False


def kind_of(ir: Ir, number: int) -> tuple[object, ...]:
    """Return what a step is: type and config, of an aggregate also whose outputs it gathers."""
    node = ir.nodes[number]
    if node.is_map:
        return node.type, {name: value for name, value in node.config.items() if name not in WITHOUT_EFFECT}
    gathered = sorted(ir.nodes[ir.edges[edge].origin].id for edge in node.ins) if node.is_aggregate else ()
    return node.type, node.config_hash, tuple(gathered)


def _named(ir: Ir, node: Node, values: list[bytes | None]) -> dict[tuple[object, ...], bytes | None]:
    """The values by what they are in any version."""
    return {
        _name(ir, read): value for read, value in zip(node.reads, values, strict=False) if read.kind not in _STANDING
    }


def _name(ir: Ir, read: Read) -> tuple[object, ...]:
    return read.kind, ir.nodes[read.node].id if read.node >= 0 else "", read.scope


def _sources(node: Node) -> list[str]:
    return [name for name, _ in node.sources]


def _reads_inputs(node: Node) -> bool:
    """Whether its config may read ``inputs``; whoever only says so is taken at his word."""
    return b"inputs" in msgspec.json.encode(node.config)
