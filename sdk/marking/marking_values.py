"""Marking values: the context values of a run as its marking has them, by the fields of its hash. Pure."""

from __future__ import annotations

from .map_plans import write_ends, write_record
from .marking import Marking
from .scopes import Scope, parse_token_key, scope_key


def read_value(marking: Marking, field: str) -> bytes | None:
    """Return what a field holds (``Plan.reads``), None where there is nothing. Not of kind t, records of tokens.

    ``?o5~2~L7`` stands for node 5 in scope (2, the last iteration of loop 7 there).
    """
    if field == "in":
        return marking.input
    if field.startswith("g:"):
        numbers = (str(number) for number, _ in marking.signals.get(field[2:], ()))
        return " ".join(numbers).encode() or None
    if field.startswith("G"):
        every = (each for some in marking.signals.values() for each in some)
        return next((value for number, value in every if f"G{number}" == field), None)
    if field.startswith("?"):
        found = _last_field(marking, field)
        return None if found is None else read_value(marking, found)
    kind, place = field[:1], parse_token_key(field[1:])
    if kind == "n":
        return write_record(marking.maps[place]).encode() if place in marking.maps else None
    if kind == "q":
        return write_ends(marking.chunks[place]).encode() if place in marking.chunks else None
    kept = {
        "r": marking.results,
        "E": marking.item_errors,
        "o": marking.outputs,
        "i": marking.inputs,
        "s": marking.statuses,
        "e": marking.errors,
    }
    return kept.get(kind, marking.values).get(place)


def _last_field(marking: Marking, field: str) -> str | None:
    """None where one of the loops has not ended."""
    name, *parts = field[1:].split("~")
    scope: Scope = ()
    for part in parts:
        index = marking.last.get((int(part[1:]), scope)) if part.startswith("L") else int(part)
        if index is None:
            return None
        scope = (*scope, index)
    return f"{name}:{scope_key(scope)}"
