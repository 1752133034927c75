"""Maps in a marking: which items are at work, how they end, and whose results are gathered. Pure.

The twin of lua/includes/maps.lua. At first the map, then its cursor, emits as many items as may be at work at a time;
from then on each item that settles makes room for the next one in the same transition. Results of items stay as outputs
until those of a whole chunk are there; the collector makes one value of them. When all items have settled and all
chunks are collected the aggregate has its token; a map of one chunk needs no collector.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ...compiler.ir import Ir, Region, RegionKind
from ..corrupt import Corrupt
from . import rules
from .scopes import Scope, scope_key, token_key

if TYPE_CHECKING:
    from .marking import Marking

At = tuple[int, Scope]

FILL_MAX = 100
"""Tokens that one transition of a map or its cursor emits, one item more at most. Logs are folded by it: another number
would have to be one of the IR."""
CLOSED = "!"
"""Ends ``live`` of the aggregate's token where the first failed item has closed the map."""


@dataclass(slots=True)
class MapRecord:
    """``count``: items so far; ``next``: the first that was not emitted. ``ready``: chunks that wait for the collector.

    ``is_open``: more may come; ``is_filling``: its cursor lives; ``is_collecting``: its collector lives; ``is_closed``:
    a failed item has closed it, and nothing else is known.
    """

    count: int = 0
    next: int = 0
    ok: int = 0
    failed: int = 0
    skipped: int = 0
    is_open: bool = False
    is_filling: bool = False
    is_collecting: bool = False
    is_closed: bool = False
    collected: int = 0
    ready: list[int] = field(default_factory=lambda: [])

    @property
    def settled(self) -> int:
        return self.ok + self.failed + self.skipped


class ItemEnd(NamedTuple):
    """How an item of a chunk ended. ``offset``: in the chunk. ``status``: o, f or s. ``slots``: the in-edges of the
    aggregate that came live, where it has several.
    """

    offset: int
    status: str
    slots: tuple[int, ...] = ()


def region_of(ir: Ir, node: int) -> Region:
    return ir.regions[ir.nodes[node].map_region]


def tokens_per_item(ir: Ir, node: int) -> int:
    return max(1, sum(1 for e in ir.nodes[node].outs if ir.edges[e].kind == "normal"))


def put_items(marking: Marking, ir: Ir, effect: rules.Items, codes: list[str]) -> None:
    """The map opens, or has more items, or will have no more."""
    at = effect.node, effect.scope
    record = marking.maps.get(at)
    if record is None:
        record = marking.maps[at] = MapRecord()
    if record.is_closed:
        return
    record.count, record.is_open = effect.total, effect.is_open
    if not record.is_filling:
        _fill(marking, ir, at, record, codes)
    _end(marking, ir, at, record, codes)


def _fill(marking: Marking, ir: Ir, at: At, record: MapRecord, codes: list[str]) -> None:
    """Emit what there is room for; a cursor does the rest."""
    if not _emit(marking, ir, at, record, codes):
        record.is_filling = True
        marking.put_own(region_of(ir, at[0]).cursor, at[1], "f")


def _emit(marking: Marking, ir: Ir, at: At, record: MapRecord, codes: list[str]) -> bool:
    """Emit items; False where there is room for more than one transition may emit."""
    room = min(region_of(ir, at[0]).window + record.settled, record.count)
    last = min(room, record.next + max(1, FILL_MAX // tokens_per_item(ir, at[0])))
    while record.next < last:
        index = record.next
        record.next += 1
        codes += marking.apply(ir, rules.item(ir, *at, index))
    return record.next >= room


def fill_on(marking: Marking, ir: Ir, at: At, codes: list[str]) -> bool:
    """The cursor goes on; False where it has nothing left to do."""
    record = marking.maps.get(at)
    if record is None or record.is_closed or not record.is_filling:
        return False
    record.is_filling = not _emit(marking, ir, at, record, codes)
    return record.is_filling


def arrive(marking: Marking, ir: Ir, effect: rules.Arrive, codes: list[str]) -> None:
    """An edge reaches an aggregate in one item: ``effect.scope`` is the aggregate's, and the item."""
    edge = ir.edges[effect.edge]
    aggregate = ir.nodes[edge.target]
    region = ir.regions[aggregate.map_region]
    at, index = (region.node, effect.scope[:-1]), effect.scope[-1]
    record = marking.maps.get(at)
    if record is None or index >= record.next:
        raise Corrupt(f"no item {index} of {token_key(*at)} is at work")
    if effect.status == "f" and region.is_fast:
        record.failed += 1
        _close(marking, ir, at, record, codes)
        return
    if len(aggregate.ins) == 1:
        _settle(marking, ir, at, record, ItemEnd(index, {"l": "o", "f": "f"}.get(effect.status, "s")), codes)
        return
    join = marking.join_at(edge.target, effect.scope)
    join.live += effect.status == "l"
    join.dead += effect.status != "l"
    join.failed += effect.status == "f"
    if effect.status == "l":
        join.slots.append(edge.slot)
    if join.live + join.dead < len(aggregate.ins):
        return
    del marking.joins[edge.target, effect.scope]
    status = "f" if join.failed else "o" if join.live else "s"
    _settle(marking, ir, at, record, ItemEnd(index, status, tuple(join.slots)), codes)


def _settle(marking: Marking, ir: Ir, at: At, record: MapRecord, end: ItemEnd, codes: list[str]) -> None:
    region = region_of(ir, at[0])
    record.ok += end.status == "o"
    record.failed += end.status == "f"
    record.skipped += end.status == "s"
    number, offset = divmod(end.offset, region.chunk)
    chunk = marking.chunks.setdefault((at[0], (*at[1], number)), [])
    chunk.append(end._replace(offset=offset))
    if not record.is_filling and record.next < record.count:
        _fill(marking, ir, at, record, codes)
    if len(chunk) == region.chunk and (record.count > region.chunk or record.is_open):
        record.ready.append(number)
        _call_collector(marking, ir, at, record)
    _end(marking, ir, at, record, codes)


def _call_collector(marking: Marking, ir: Ir, at: At, record: MapRecord) -> None:
    if not record.is_collecting:
        record.is_collecting = True
        marking.put_own(region_of(ir, at[0]).collector, at[1], "g")


def _end(marking: Marking, ir: Ir, at: At, record: MapRecord, codes: list[str]) -> None:
    """Where all items have settled: the last chunk is collected, then the aggregate has its token."""
    if record.is_open or record.settled < record.count:
        return
    region = region_of(ir, at[0])
    last = record.count // region.chunk
    is_alone = record.count <= region.chunk and not (record.collected or record.ready)
    if not is_alone and last not in record.ready and (at[0], (*at[1], last)) in marking.chunks:
        record.ready.append(last)
        _call_collector(marking, ir, at, record)
    if not record.is_collecting:
        del marking.maps[at]
        _fire(marking, region, at, record, "", codes)


def _fire(marking: Marking, region: Region, at: At, record: MapRecord, mark: str, codes: list[str]) -> None:
    live = f"{record.count}.{record.ok}.{record.failed}.{record.skipped}{mark}"
    marking.put_own(region.aggregate, at[1], "n", live)
    codes.append(f"I{region.aggregate}:{scope_key(at[1])}:{live}")


def collected(marking: Marking, ir: Ir, effect: rules.Collected, codes: list[str]) -> bool:
    """The collector has stored the results of a chunk; False where it has nothing left to do."""
    at = effect.node, effect.scope
    record = marking.maps.get(at)
    if record is None or record.is_closed:
        return False
    if not record.ready or record.ready[0] != effect.chunk:
        raise Corrupt(f"chunk {effect.chunk} of {token_key(*at)} is not to be collected")
    record.ready.pop(0)
    record.collected += 1
    forget_items(marking, ir, at, effect.chunk)
    if record.ready:
        return True
    record.is_collecting = False
    _end(marking, ir, at, record, codes)
    return False


def plain_nodes(ir: Ir, node: int) -> list[int]:
    """Return the nodes of a map's body that are in no region inside of it."""
    inside = (*ir.nodes[node].levels, ir.nodes[node].map_region)
    return [number for number, other in enumerate(ir.nodes) if other.levels == inside]


def forget_items(marking: Marking, ir: Ir, at: At, number: int) -> None:
    """What the items of a chunk have left behind is gone."""
    chunk = marking.chunks.pop((at[0], (*at[1], number)), [])
    first = number * region_of(ir, at[0]).chunk
    nodes = plain_nodes(ir, at[0])
    for end in chunk:
        scope = (*at[1], first + end.offset)
        for node in nodes:
            for kept in (marking.outputs, marking.inputs, marking.statuses, marking.errors):
                kept.pop((node, scope), None)
        marking.item_errors.pop((at[0], scope), None)


def forget(marking: Marking, ir: Ir, effect: rules.Forget) -> None:
    """The aggregate has settled."""
    size = region_of(ir, effect.node).chunk
    count = Counts.read(effect.live)
    if count.items <= size and not count.is_closed:
        forget_items(marking, ir, (effect.node, effect.scope), 0)
    for number in range(-(-count.items // size)):
        marking.chunks.pop((effect.node, (*effect.scope, number)), None)
        marking.results.pop((effect.node, (*effect.scope, number)), None)


class Counts(NamedTuple):
    """What ``live`` of an aggregate's token says."""

    items: int
    ok: int
    failed: int
    skipped: int
    is_closed: bool

    @classmethod
    def read(cls, live: str) -> Counts:
        items, ok, failed, skipped = map(int, live.removesuffix(CLOSED).split("."))
        return cls(items, ok, failed, skipped, live.endswith(CLOSED))


def _close(marking: Marking, ir: Ir, at: At, record: MapRecord, codes: list[str]) -> None:
    """The first failed item ends the map; a sweep takes away what is parked below."""
    region = region_of(ir, at[0])
    marking.maps[at] = MapRecord(is_closed=True)
    codes.append(f"A{at[0]}:{scope_key(at[1])}")
    _fire(marking, region, at, record, CLOSED, codes)
    marking.put_own(region.sweeper, at[1], "z")


def is_closed(marking: Marking, ir: Ir, at: At) -> bool:
    """Whether a token is below a map that a failed item has closed, or is such a map's own."""
    return any(_is_closed(marking, over) for over in fast_maps(ir, at))


def is_below_closed(marking: Marking, ir: Ir, effect: rules.Effect) -> bool:
    """Whether an effect is in a closed map, and so changes nothing."""
    match effect:
        case rules.Arrive(edge, scope):
            node = ir.nodes[ir.edges[edge].target]
            if node.is_aggregate:
                return _is_closed(marking, (ir.regions[node.map_region].node, scope[:-1])) or any(
                    _is_closed(marking, over) for over in _maps_over(ir, node.levels, scope)
                )
            levels = node.levels
        case rules.Emit(number, scope) | rules.Skip(number, scope) | rules.Withdraw(number, scope):
            levels = ir.nodes[number].levels
        case rules.Tell(number, scope) | rules.Items(number, scope):
            levels = ir.nodes[number].levels
        case rules.Milestone(edge, scope):
            levels = ir.nodes[ir.edges[edge].target].levels
        case rules.Last(region, scope):
            levels = ir.nodes[ir.regions[region].node].levels
        case _:
            return False
    return any(_is_closed(marking, over) for over in _maps_over(ir, levels, scope))


def _maps_over(ir: Ir, levels: tuple[int, ...], scope: Scope) -> list[At]:
    """The maps around a scope that a failed item closes."""
    regions = (ir.regions[level] for level in levels[: len(scope)])
    return [
        (region.node, scope[:depth])
        for depth, region in enumerate(regions)
        if region.kind is RegionKind.MAP and region.is_fast
    ]


def _is_closed(marking: Marking, at: At) -> bool:
    record = marking.maps.get(at)
    return record is not None and record.is_closed


def fast_maps(ir: Ir, at: At) -> list[At]:
    """Return the maps around a place that a failed item closes; of a map and its own tokens also that map."""
    number, scope = at
    if number < 0:
        return []
    node = ir.nodes[number]
    found = _maps_over(ir, node.levels, scope)
    if node.map_region >= 0 and not node.is_aggregate:
        region = ir.regions[node.map_region]
        if region.is_fast and number != region.sweeper:
            found.append((region.node, scope))
    return found


def below(ir: Ir, at: At, place: At) -> bool:
    """Whether a token or a join at ``place`` is one of a map's items, or the map's own."""
    number, scope = place
    if number < 0 or scope[: len(at[1])] != at[1]:
        return False
    node = ir.nodes[number]
    if len(scope) == len(at[1]):
        return number in (at[0], region_of(ir, at[0]).cursor, region_of(ir, at[0]).collector)
    return ir.nodes[at[0]].map_region in node.levels or number == region_of(ir, at[0]).aggregate
