"""Maps in the walk: which items are at work, how they end, and whose results wait (token-rules.md, section 6).

The tokens of a map's own are its cursor, which emits items where there are more than one call emits, its collector,
which makes one value of the results of a chunk, and its sweeper, which clears up below a map that a failure has closed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.oracles.broken import Broken
from chaos.oracles.graph import Region, Scope
from chaos.oracles.joins import Record

if TYPE_CHECKING:
    from chaos.oracles.walk import Walk

Place = tuple[int, Scope]
EMITTED_MAX = 100
"""Tokens that one call emits for the items of a map, one item more at most."""
LETTERS = {"live": "ok", "failed": "failed"}


@dataclass
class OpenMap:
    """``following``: the first item that was not emitted. ``ends``: items that have settled, by chunk, as long as their
    results are not collected. ``ready``: chunks that wait for the collector, in order.
    """

    count: int = 0
    following: int = 0
    settled: Counter[str] = field(default_factory=Counter[str])
    is_open: bool = False
    is_filling: bool = False
    is_collecting: bool = False
    collected: int = 0
    ready: list[int] = field(default_factory=list[int])
    ends: Counter[int] = field(default_factory=Counter[int])

    @property
    def numbers(self) -> str:
        """As its aggregate is told: items, and how many of them were ok, failed, skipped."""
        return ".".join(str(n) for n in (self.count, *(self.settled[end] for end in ("ok", "failed", "skipped"))))

    @property
    def text(self) -> str:
        """As Redis has it, by lua/KEYS.md."""
        counts = (self.count, self.following, *(self.settled[end] for end in ("ok", "failed", "skipped")))
        flags = (self.is_open, self.is_filling, self.is_collecting)
        ready = "+".join(map(str, self.ready))
        return ",".join((*map(str, counts), *(str(int(flag)) for flag in flags), str(self.collected), ready))


def read_map(text: str) -> OpenMap | None:
    """Read a record as Redis and the log have it; None where a failure has closed the map. Raises ValueError."""
    if text == "x":
        return None
    count, following, ok, failed, skipped, is_open, is_filling, is_collecting, collected, ready = text.split(",")
    return OpenMap(
        count=int(count),
        following=int(following),
        settled=Counter(ok=int(ok), failed=int(failed), skipped=int(skipped)),
        is_open=is_open == "1",
        is_filling=is_filling == "1",
        is_collecting=is_collecting == "1",
        collected=int(collected),
        ready=[int(chunk) for chunk in ready.split("+")] if ready else [],
    )


def put_items(walk: Walk, place: Place, data: dict[str, Any], *, is_open: bool) -> None:
    """A map says how many items it has: it opens, or has more of them, or will have no more."""
    count = data.get("items")
    if not isinstance(count, int) or count < 0:
        raise Broken("O3", "a map does not say how many items it has")
    if walk.is_draining or is_gone(walk, place):
        return
    node, known = walk.graph.nodes[place[0]], walk.opened.get(place)
    if known is None:
        walk.reach(place, "dead")
        for number in node.outs:
            if walk.graph.edges[number].kind != "normal":
                walk.bring(number, place[1], "dead")
        known = walk.opened[place] = OpenMap()
    if count < known.count or not (known.is_open or known.count == 0):
        raise Broken("O3", f"a map of {known.count} items has {count}")
    known.count, known.is_open = count, is_open
    if not known.is_filling:
        _fill(walk, place, known)
    _end(walk, place, known)


def arrive(walk: Walk, aggregate: int, scope: Scope, item: int, status: str) -> None:
    """An edge reaches an aggregate in one item. scope: of the aggregate."""
    node = walk.graph.nodes[aggregate]
    place = walk.graph.regions[node.map_region].node, scope
    if place in walk.closed or is_gone(walk, place):
        return
    known = walk.opened.get(place)
    if known is None or item >= known.following:
        raise Broken("O3", f"no item {item} of the map {place} is at work")
    if status == "failed" and _region(walk, place).is_fast:
        known.settled["failed"] += 1
        _close(walk, place, known)
        return
    record = walk.joins.setdefault((aggregate, (*scope, item)), Record())
    record.add(status)
    if record.count < len(node.ins):
        return
    del walk.joins[aggregate, (*scope, item)]
    _settle(walk, place, known, item, "failed" if record.failed else "ok" if record.live else "skipped")


def go_on(walk: Walk, kind: str, place: Place, data: dict[str, Any]) -> None:
    """A token of the map's own has done something."""
    node = walk.graph.nodes[place[0]] if place[0] >= 0 else None
    if node is None or node.map_region < 0:
        raise Broken("O3", "that is no token of a map")
    region = walk.graph.regions[node.map_region]
    over = region.node, place[1]
    wanted = {"fanout.continued": region.cursor, "fanout.collected": region.collector, "fanout.swept": region.sweeper}
    if place[0] != wanted[kind]:
        raise Broken("O3", "another token of the map does that")
    walk.must_be(place, "ready")
    if kind == "fanout.swept":
        _sweep(walk, place, over)
        return
    known = walk.opened.get(over)
    stays = False
    if known is not None and not walk.is_draining:
        stays = _continue(walk, over, known) if kind == "fanout.continued" else _collect(walk, over, known, data)
    if not stays:
        walk.consume_own(place)
    if known is not None and kind == "fanout.collected" and not stays and not walk.is_draining:
        _end(walk, over, known)


def forget(walk: Walk, place: Place) -> None:
    """A map that was open is dropped, because one around it is closed."""
    if place not in walk.opened or not is_gone(walk, place):
        raise Broken("O2", "a map is taken away that goes on")
    del walk.opened[place]


def is_gone(walk: Walk, place: Place) -> bool:
    """Whether a place is in a map that a failure has closed, or is one of such a map's own tokens but its sweeper."""
    number, scope = place
    if number < 0 or not walk.closed:
        return False
    node = walk.graph.nodes[number]
    if any(over in walk.closed for over in walk.graph.maps_over(number, scope)):
        return True
    if node.is_aggregate:
        return len(scope) > len(node.levels) and (walk.graph.regions[node.map_region].node, scope[:-1]) in walk.closed
    if node.map_region < 0 or number == walk.graph.regions[node.map_region].sweeper:
        return False
    return (walk.graph.regions[node.map_region].node, scope) in walk.closed


def _region(walk: Walk, place: Place) -> Region:
    return walk.graph.regions[walk.graph.nodes[place[0]].map_region]


def _fill(walk: Walk, place: Place, known: OpenMap) -> None:
    if not _emit(walk, place, known):
        known.is_filling = True
        walk.emit((_region(walk, place).cursor, place[1]))


def _emit(walk: Walk, place: Place, known: OpenMap) -> bool:
    """Emit the items that there is room for; False where they are more than one call emits."""
    edges = [number for number in walk.graph.nodes[place[0]].outs if walk.graph.edges[number].kind == "normal"]
    room = min(known.count, _region(walk, place).window + known.settled.total())
    last = min(room, known.following + max(1, EMITTED_MAX // max(1, len(edges))))
    while known.following < last:
        known.following += 1
        for number in edges:
            walk.bring(number, place[1], "live", known.following - 1)
    return known.following >= room


def _continue(walk: Walk, place: Place, known: OpenMap) -> bool:
    if not known.is_filling:
        raise Broken("O3", "the map has no cursor")
    known.is_filling = not _emit(walk, place, known)
    return known.is_filling


def _settle(walk: Walk, place: Place, known: OpenMap, item: int, end: str) -> None:
    size = _region(walk, place).chunk
    chunk = item // size
    known.settled[end] += 1
    known.ends[chunk] += 1
    if not known.is_filling and known.following < known.count:
        _fill(walk, place, known)
    if known.ends[chunk] == size and (known.count > size or known.is_open):
        _have_collected(walk, place, known, chunk)
    _end(walk, place, known)


def _have_collected(walk: Walk, place: Place, known: OpenMap, chunk: int) -> None:
    known.ready.append(chunk)
    if not known.is_collecting:
        known.is_collecting = True
        walk.emit((_region(walk, place).collector, place[1]))


def _collect(walk: Walk, place: Place, known: OpenMap, data: dict[str, Any]) -> bool:
    if not known.ready or known.ready[0] != data.get("chunk"):
        raise Broken("O3", f"chunks {known.ready} are to be collected")
    del known.ends[known.ready.pop(0)]
    known.collected += 1
    known.is_collecting = bool(known.ready)
    return known.is_collecting


def _end(walk: Walk, place: Place, known: OpenMap) -> None:
    """Where every item has settled, and all chunks of more than one are collected, it is the aggregate's turn."""
    if known.is_open or known.settled.total() < known.count:
        return
    size = _region(walk, place).chunk
    last = known.count // size
    is_alone = known.count <= size and not known.collected and not known.ready
    if not is_alone and last not in known.ready and known.ends[last]:
        _have_collected(walk, place, known, last)
    if not known.is_collecting:
        del walk.opened[place]
        _expect(walk, place, known, "")


def _expect(walk: Walk, place: Place, known: OpenMap, mark: str) -> None:
    walk.expected[f"completed {known.numbers}{mark}", (_region(walk, place).aggregate, place[1])] += 1


def _close(walk: Walk, place: Place, known: OpenMap) -> None:
    """The first failed item ends the map; a sweep takes away what is parked below."""
    del walk.opened[place]
    walk.closed.add(place)
    walk.expected["closed", place] += 1
    _expect(walk, place, known, "!")
    walk.emit((_region(walk, place).sweeper, place[1]))


def _sweep(walk: Walk, place: Place, over: Place) -> None:
    left = [at for at, state in walk.living.items() if state == "parked" and is_gone(walk, at)]
    left += [at for at in (*walk.joins, *walk.opened) if is_gone(walk, at)]
    here = [at for at in left if at[1][: len(over[1])] == over[1] and _is_below(walk, at, over)]
    if here:
        raise Broken("O1", f"the sweep has left {sorted(here)[:3]} below a closed map")
    walk.consume_own(place)


def _is_below(walk: Walk, at: Place, over: Place) -> bool:
    number, scope = at
    node = walk.graph.nodes[number]
    return (
        over in walk.graph.maps_over(number, scope)
        or (node.is_aggregate and (walk.graph.regions[node.map_region].node, scope[:-1]) == over)
        or (node.map_region >= 0 and (walk.graph.regions[node.map_region].node, scope) == over)
    )
