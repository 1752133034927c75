"""The fold of maps: items, their cursor and collector, and what is left of a map that a failure has closed. Pure.

Each function changes the marking and returns the codes that must follow. Raises ``Corrupt`` where the event contradicts
the state.
"""

from __future__ import annotations

from collections.abc import Mapping

from ...compiler.ir import Ir, signals_of
from ..corrupt import Corrupt
from ..events import Facts, RecordedEvent
from ..marking import maps
from ..marking.marking import GOES_ON, OPEN, PARKS, Marking, TokenKind, lasting, with_word
from ..marking.rules import Collected, Effect, Forget, ItemError, Items, failing_item, opened
from ..marking.scopes import Scope, parse_scope_key
from ..marking.waiting import take_early

At = tuple[int, Scope]


def items(ir: Ir, marking: Marking, at: At, event: RecordedEvent, *, is_open: bool) -> list[Effect]:
    """Return what a map does that says how many items it has."""
    count = event.facts.data.get("items")
    if not isinstance(count, int) or count < 0:
        raise Corrupt("a map says how many items it has")
    if event.payload is not None:
        marking.outputs[at] = event.payload
    early, names = event.facts.data.get("early"), signals_of(ir.nodes[at[0]])
    if early is not None and marking.phase in PARKS:
        if not isinstance(early, int) or not names:
            raise Corrupt("it takes no signals")
        take_early(marking, names[0], early)
    if at in marking.maps:
        return [Items(*at, count, is_open)]
    return opened(ir, *at, count, is_open=is_open)


def door_waits(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> list[str]:
    """The map's token waits for more items."""
    codes = marking.apply(ir, items(ir, marking, at, event, is_open=True))
    token = marking.tokens[at]
    extra = lasting(token.extra)
    token.extra = extra if OPEN in extra.split("+") else with_word(extra, OPEN)
    return codes


def item_error(ir: Ir, at: At, error: bytes) -> list[Effect]:
    """What a failure nobody handles means to the item that it is in."""
    item = failing_item(ir, *at)
    return [] if item is None else [ItemError(*item, error)]


def settled(ir: Ir, marking: Marking, at: At, live: str) -> None:
    """Take away what an aggregate does when it settles, also in a run that drains. live: of its token."""
    node = ir.nodes[at[0]]
    if node.is_aggregate and live:
        maps.forget(marking, ir, Forget(ir.regions[node.map_region].node, at[1], live))


def own_token(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> list[str]:
    """What the cursor, the collector or the sweep of a map has done."""
    if event.facts.type == "fanout.collected":
        return collected(ir, marking, at, event)
    if event.facts.type == "fanout.continued":
        return continued(ir, marking, at)
    swept(ir, marking, at)
    return []


def continued(ir: Ir, marking: Marking, at: At) -> list[str]:
    """The cursor has emitted more items."""
    token = marking.tokens.get(at)
    if token is None or token.kind is not TokenKind.FILL:
        raise Corrupt("no cursor of a map is there")
    codes: list[str] = []
    stays = marking.phase in GOES_ON and maps.fill_on(marking, ir, _map_of(ir, at), codes)
    _keep(marking, at, stays=stays)
    return codes


def collected(ir: Ir, marking: Marking, at: At, event: RecordedEvent) -> list[str]:
    """The results of a chunk are one value. With ``more`` the same transition says so of another one."""
    token, chunk = marking.tokens.get(at), event.facts.data.get("chunk")
    if token is None or token.kind is not TokenKind.COLLECT or not isinstance(chunk, int):
        raise Corrupt("no collector of a map is there")
    codes: list[str] = []
    over = _map_of(ir, at)
    if marking.phase in GOES_ON and event.payload is not None:
        marking.results[over[0], (*over[1], chunk)] = event.payload
    stays = marking.phase in GOES_ON and maps.collected(marking, ir, Collected(*over, chunk), codes)
    _keep(marking, at, stays=stays or event.facts.data.get("more") is True)
    return codes


def swept(ir: Ir, marking: Marking, at: At) -> None:
    """Nothing is parked below the closed map any more, no join is half-filled and no map open."""
    token = marking.tokens.get(at)
    if token is None or token.kind is not TokenKind.CLEAR:
        raise Corrupt("no sweep of a map is there")
    over = _map_of(ir, at)
    if any(maps.below(ir, over, place) for place in marking.joins):
        raise Corrupt("a join below the closed map is half-filled")
    if any(not record.is_closed and maps.below(ir, over, place) for place, record in marking.maps.items()):
        raise Corrupt("a map below the closed one is open")
    marking.take(*at)


def join_dropped(ir: Ir, marking: Marking, facts: Facts, numbers: Mapping[str, int]) -> None:
    """A half-filled join below a closed map is gone. The scope of an aggregate's has the item in it."""
    at = numbers[facts.node], parse_scope_key(facts.scope)
    if at not in marking.joins or not is_gone(ir, marking, at):
        raise Corrupt("no join is taken from a map that goes on")
    del marking.joins[at]


def map_dropped(ir: Ir, marking: Marking, at: At) -> None:
    """An open map below a closed one is gone."""
    record = marking.maps.get(at)
    if record is None or record.is_closed or not is_gone(ir, marking, at):
        raise Corrupt("no map is taken from one that goes on")
    del marking.maps[at]


def is_gone(ir: Ir, marking: Marking, at: At) -> bool:
    """Whether a place is below a closed map."""
    return any(record.is_closed and maps.below(ir, over, at) for over, record in marking.maps.items())


def _map_of(ir: Ir, at: At) -> At:
    return ir.regions[ir.nodes[at[0]].map_region].node, at[1]


def _keep(marking: Marking, at: At, *, stays: bool) -> None:
    if stays:
        marking.tokens[at].deliveries = 0
    else:
        marking.take(*at)
