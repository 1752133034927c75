"""Changes: what differs between two states of a run, as ``state.marking_to_json`` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

Fields = dict[str, Any]


class Change(NamedTuple):
    """One value that differs. ``place``: its way in the state; None stands for what is not there."""

    place: tuple[str, ...]
    before: Any
    after: Any


def diff(before: Fields, after: Fields) -> list[Change]:
    """Return what differs between two states, in the order of their fields.

    Tokens, joins, steps and outputs are compared by node and scope: the place of one is ``("steps", "poll poll#2")``.
    """
    return list(_diff((), _named(before), _named(after)))


def _named(state: Fields) -> Fields:
    """Lists of things with a node become objects by node and scope."""
    return {
        name: _by_place(cast("list[Fields]", value)) if isinstance(value, list) else value
        for name, value in state.items()
    }


def _by_place(things: list[Fields]) -> Fields:
    return {" ".join(filter(None, (thing["node"], thing["scope"]))): _rest(thing) for thing in things}


def _rest(thing: Fields) -> Any:
    """What it says beside its place; a single field is the value itself."""
    rest = {name: value for name, value in thing.items() if name not in {"node", "scope"}}
    return next(iter(rest.values())) if len(rest) == 1 else rest


def _diff(place: tuple[str, ...], before: Any, after: Any) -> Iterator[Change]:
    if before == after:
        return
    if len(place) < 2 and place != ("input",) and isinstance(before, dict) and isinstance(after, dict):
        one, other = cast("Fields", before), cast("Fields", after)
        for name in dict.fromkeys((*one, *other)):
            yield from _diff((*place, name), one.get(name), other.get(name))
    else:
        yield Change(place, before, after)
