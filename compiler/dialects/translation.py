"""Translation: a foreign document written again in the native form, with the way back to where things stood.

A dialect only rewrites; the native reader then judges the result. What the dialect itself finds wrong, and where a
path of the native form stood in the original, travels along.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import msgspec

from ..diagnostics import Path
from ..findings import Findings
from ..guesses import NODE_GUESSES
from ..workflow import Json

Fields = dict[str, Json]
Origin = Callable[[Path], Path]


class Translation(msgspec.Struct, frozen=True):
    """``document``: native. ``origin``: path in ``document`` -> path in the original."""

    document: Fields
    origin: Origin


def as_fields(value: Json) -> Fields:
    """The object, or an empty one: the native reader reports what is missing then."""
    return cast("Fields", value) if isinstance(value, dict) else {}


def as_items(value: Json) -> list[Json]:
    """The list, a list of the one value, or nothing."""
    if isinstance(value, list):
        return cast("list[Json]", value)
    return [] if value is None else [value]


def as_text(value: Json) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def first_of(fields: Mapping[str, Json], *names: str) -> Json:
    """The first field that is there, else None."""
    return next((fields[name] for name in names if name in fields), None)


def move(source: Fields, target: Fields, names: Mapping[str, str]) -> None:
    """Copy fields under other names: ``names`` says old -> new. The first old name of a new one wins."""
    for old, new in names.items():
        if old in source and new not in target:
            target[new] = source[old]


def extensions(fields: Fields) -> Fields:
    return {name: below for name, below in fields.items() if name.startswith("x-")}


def origin_by(nodes_key: str, renamed: Mapping[Path, Path], top: Mapping[str, str]) -> Origin:
    """The way back where node i of the native form is item i of ``nodes_key``.

    ``renamed``: path below the node in the native form -> path below the item. ``top``: renamed fields of the root.
    """

    def origin(path: Path) -> Path:
        if not path:
            return path
        if path[0] != "nodes":
            return (top.get(str(path[0]), path[0]), *path[1:])
        head, rest = (nodes_key, *path[1:2]), path[2:]
        for length in range(len(rest), 0, -1):
            place = renamed.get(rest[:length])
            if place is not None:
                return (*head, *place, *rest[length:])
        return (*head, *rest)

    return origin


def in_ms(value: Json) -> Json:
    """A number of ms as a native duration; anything else is left for the native reader to refuse."""
    return f"{value}ms" if isinstance(value, int) and not isinstance(value, bool) else f"{value!r} ms"


def slug(name: Json) -> Json:
    """A workflow id made of a name: ``Feed Discovery`` -> ``feed-discovery``. Other values are left as they are."""
    if not isinstance(name, str):
        return name
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "_.") else " " for c in name.lower())
    return "-".join(kept.split()).lstrip("_.-")[:128]


def ignore_unknown(
    fields: Fields, path: Path, findings: Findings, known: frozenset[str], *, lenient: bool = False
) -> None:
    """Report fields that the dialect does not have: an error, or a warning where the dialect is open."""
    for name in fields:
        if name in known or name.startswith("x-"):
            continue
        hint = findings.suggest(name, known)
        if not hint and name in NODE_GUESSES:
            hint = f"in a document that begins with 'courante: 1': {NODE_GUESSES[name].hint}"
        message = f"the field {name!r} is not part of this dialect"
        if lenient:
            findings.warning("ignored_field", f"{message} and is left out", (*path, name), hint)
        else:
            findings.error("unknown_field", message, (*path, name), hint)


def copy_metadata(source: Fields, target: Fields, names: tuple[str, ...] = ()) -> None:
    """Keep what has no meaning for the engine: ``metadata``, extensions, and descriptive fields by name."""
    kept: dict[str, Any] = {**extensions(source), **{name: source[name] for name in names if name in source}}
    given = source.get("metadata")
    if isinstance(given, dict):
        kept.update(cast("Fields", given))
    elif given is not None:
        target["metadata"] = given
        return
    if kept:
        target["metadata"] = kept
