"""Map plans: what a plan knows of its maps beforehand, and the names of their fields in a run's hash. Pure.

Fields: ``n<map>`` the record, ``N<map>`` what it says once, ``q<map>:<scope and chunk>`` how items ended, ``r`` their
results, ``E<map>:<scope and item>`` an item's first error.
"""

from __future__ import annotations

from typing import NamedTuple

from ...compiler.ir import Edge, Ir, Node, Region, RegionKind
from .maps import Counts, ItemEnd, MapRecord, plain_nodes, tokens_per_item
from .scopes import Scope, scope_key, token_key

ITEM_MARK = -(2**52)
"""Stands for the item's index where the operations of any item are written."""


class Source(NamedTuple):
    """A node that leads to an aggregate. ``loops``: the regions of those that it is in, inside of the item."""

    number: int
    id: str
    loops: tuple[int, ...] = ()

    def field(self, item: Scope) -> str:
        """Return the field of its output in an item, in the last iteration of its loops. item: the map's scope too."""
        if not self.loops:
            return f"o{self.number}:{scope_key(item)}"
        return "~".join((f"?o{self.number}", *map(str, item), *(f"L{region}" for region in self.loops)))


class MapPlans:
    """``plain``: per map the nodes of its body that are in no region inside of it. ``is_any_fast``: whether a failed
    item closes any of them.
    """

    def __init__(self, ir: Ir) -> None:
        self._ir = ir
        numbers = [region.node for region in ir.regions if region.kind is RegionKind.MAP]
        self.plain = {number: plain_nodes(ir, number) for number in numbers}
        self.tokens_per_item = {number: tokens_per_item(ir, number) for number in numbers}
        self._fast = [
            [(at, region) for at, region in enumerate(ir.regions[level] for level in node.levels) if region.is_fast]
            for node in ir.nodes
        ]
        self.is_any_fast = any(region.is_fast for region in ir.regions)

    def region(self, number: int) -> Region:
        return self._ir.regions[self._ir.nodes[number].map_region]

    def sources(self, aggregate: Node) -> list[Source]:
        """Return the nodes behind the in-edges of an aggregate."""
        found: list[Source] = []
        for edge in aggregate.ins:
            node = self._ir.nodes[self._ir.edges[edge].origin]
            inside = node.levels[len(aggregate.levels) + 1 :]
            found.append(Source(self._ir.edges[edge].origin, node.id, inside))
        return found

    def fast_fields(self, number: int, scope: Scope) -> list[str]:
        """Return the records of the maps around a token that a failed item closes; of a map's own also that map's."""
        if number < 0:
            return []
        fields = [f"n{token_key(region.node, scope[:depth])}" for depth, region in self._fast[number]]
        node = self._ir.nodes[number]
        if node.map_region >= 0 and not node.is_aggregate:
            region = self._ir.regions[node.map_region]
            if region.is_fast and number != region.sweeper:
                fields.append(f"n{token_key(region.node, scope)}")
        return fields

    def arrival(self, edge: Edge, scope: Scope, status: str) -> tuple[str, ...]:
        """Return the operation of an arrival at an aggregate. scope: of the aggregate, and the item."""
        node = self._ir.nodes[edge.target]
        number = self._ir.regions[node.map_region].node
        key = token_key(number, scope[:-1])
        return ("I", key, token_key(edge.target, scope), str(scope[-1]), str(edge.slot), status, str(len(node.ins)))

    def item_fields(self, number: int, scope: Scope, is_read: list[bool], *, is_failed: bool) -> list[str]:
        """Return the fields that an item may have left behind. scope: the map's, and the item."""
        key = scope_key(scope)
        fields: list[str] = []
        for other in self.plain[number]:
            node = self._ir.nodes[other]
            kinds = ("o" * is_read[other], "i" * node.keeps_input, "s" * node.keeps_status)
            fields += (f"{kind}{other}:{key}" for kind in kinds if kind)
            if is_failed or node.has_error_edge:
                fields.append(f"e{other}:{key}")
        return [*fields, f"E{number}:{key}"] if is_failed else fields

    def alone_fields(self, number: int, scope: Scope, counts: Counts, is_read: list[bool]) -> list[str]:
        """Return the fields of a map of one chunk that are needed no more when its aggregate settles."""
        fields = [f"q{number}:{scope_key((*scope, 0))}"] if counts.items else []
        for index in range(counts.items):
            fields += self.item_fields(number, (*scope, index), is_read, is_failed=bool(counts.failed))
        return fields

    def result_fields(self, number: int, scope: Scope, counts: Counts) -> list[str]:
        """Return the fields of results that may be there when the aggregate begins, in the order of the chunks.

        Of a map that a failed item has closed also how items ended, in chunks that were not collected.
        """
        chunks = range(-(-counts.items // self.region(number).chunk))
        kinds = "rq" if counts.is_closed else "r"
        return [f"{kind}{number}:{scope_key((*scope, chunk))}" for chunk in chunks for kind in kinds]

    def chunk_fields(self, number: int, scope: Scope, chunk: int, is_read: list[bool], *, is_failed: bool) -> list[str]:
        """Return the fields that are needed no more when the results of a chunk are collected.

        is_failed: whether any of its items has an error, also one that was not what the item came to.
        """
        size = self.region(number).chunk
        fields = [f"q{number}:{scope_key((*scope, chunk))}"]
        for index in range(chunk * size, (chunk + 1) * size):
            fields += self.item_fields(number, (*scope, index), is_read, is_failed=is_failed)
        return fields

    def below(self, node: Node) -> tuple[str, str]:
        """Return (the nodes below a map, those of them that have a mutex) for the sweep whose node this is."""
        region = self._ir.regions[node.map_region]
        body = [at for at, other in enumerate(self._ir.nodes) if node.map_region in other.levels]
        mutexes = {at: self._ir.nodes[at].mutex for at in (*body, region.node) if self._ir.nodes[at].mutex}
        return ranges(sorted((*body, region.aggregate))), " ".join(f"{at}={name}" for at, name in mutexes.items())


def ranges(numbers: list[int]) -> str:
    """Return sorted numbers as ``3-7 9``."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(str(first) if first == last else f"{first}-{last}" for first, last in found)


def write_record(record: MapRecord) -> str:
    """Return the field ``n<map>``: ``count,next,ok,failed,skipped,open,filling,collecting,collected,ready``, or ``x``.

    The flags are 0 or 1, the chunks that are ready are joined by ``+``.
    """
    if record.is_closed:
        return "x"
    numbers = (record.count, record.next, record.ok, record.failed, record.skipped)
    flags = (record.is_open, record.is_filling, record.is_collecting)
    ready = "+".join(map(str, record.ready))
    return ",".join((*map(str, numbers), *(str(int(flag)) for flag in flags), str(record.collected), ready))


def read_record(text: str) -> MapRecord:
    """Raises ValueError."""
    if text == "x":
        return MapRecord(is_closed=True)
    count, following, ok, failed, skipped, is_open, is_filling, is_collecting, collected, ready = text.split(",")
    return MapRecord(
        count=int(count),
        next=int(following),
        ok=int(ok),
        failed=int(failed),
        skipped=int(skipped),
        is_open=is_open == "1",
        is_filling=is_filling == "1",
        is_collecting=is_collecting == "1",
        collected=int(collected),
        ready=[int(chunk) for chunk in ready.split("+")] if ready else [],
    )


def write_ends(ends: list[ItemEnd]) -> str:
    """Return the field ``q<map>``: ``<offset><status><slots>`` per item, joined by ``;``."""
    return ";".join(f"{end.offset}{end.status}{'+'.join(map(str, end.slots))}" for end in ends)


def read_ends(text: str) -> list[ItemEnd]:
    """Raises ValueError."""
    ends: list[ItemEnd] = []
    for word in text.split(";"):
        status = next(letter for letter in word if letter in "ofs")
        offset, _, slots = word.partition(status)
        ends.append(ItemEnd(int(offset), status, tuple(map(int, slots.split("+"))) if slots else ()))
    return ends
