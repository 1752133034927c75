"""Reading: checked access to the values of a document. Every fault is reported; a usable value always comes back.

Each function takes the value, its path, and where faults go; a wrong value gives the fallback named in the signature,
so that reading goes on and all faults of a document are reported at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar, cast

from .diagnostics import Path
from .durations import parse_duration
from .findings import Findings, quote
from .guesses import Guess
from .workflow import Json

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

WORKFLOW_ID_PATTERN = r"^[a-z0-9][a-z0-9_.-]{0,127}$"
NODE_ID_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$"
QUEUE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
FAILURE_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$"
CHANGE_PATTERN = NODE_ID_PATTERN
SIGNAL_PATTERN = r"^[A-Za-z0-9_.-]{1,128}$"
DURATION_HINT = "write 250ms, 30s, 10m, 1h, 2d, or seconds as a number"
NO_GUESSES: Mapping[str, Guess] = {}
_KINDS: dict[type, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def kind_of(value: object) -> str:
    """What a value is, in the words of the diagnostics."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)


def wrong_type(findings: Findings, path: Path, wanted: str, value: object, hint: str = "") -> None:
    findings.error("wrong_type", f"{_name(path)} must be {wanted}, not {kind_of(value)}", path, hint)


def read_object(value: Json, path: Path, findings: Findings, hint: str = "") -> dict[str, Json]:
    """The object, else an empty one."""
    if isinstance(value, dict):
        return cast("dict[str, Json]", value)
    wrong_type(findings, path, "an object", value, hint)
    return {}


def read_list(value: Json, path: Path, findings: Findings) -> list[Json]:
    """The list, else an empty one."""
    if isinstance(value, list):
        return cast("list[Json]", value)
    wrong_type(findings, path, "a list", value)
    return []


def read_text(value: Json, path: Path, findings: Findings) -> str:
    """The string, else an empty one."""
    if isinstance(value, str):
        return value
    wrong_type(findings, path, "a string", value)
    return ""


def read_boolean(value: Json, path: Path, findings: Findings) -> bool:
    """The boolean, else False."""
    if isinstance(value, bool):
        return value
    wrong_type(findings, path, "true or false", value, "write true or false, without quotes")
    return False


def read_integer(value: Json, path: Path, findings: Findings, *, low: int, high: int) -> int:
    """The integer, else ``low``. ``low`` and ``high`` are allowed values."""
    if isinstance(value, bool) or not isinstance(value, int):
        wrong_type(findings, path, "an integer", value)
        return low
    if low <= value <= high:
        return value
    findings.error("out_of_range", f"{_name(path)} must be from {low} to {high}, not {value}", path)
    return low


def read_number(value: Json, path: Path, findings: Findings, *, low: float, high: float) -> float:
    """The number as a float, else ``low``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        wrong_type(findings, path, "a number", value)
        return low
    if low <= value <= high:
        return float(value)
    findings.error("out_of_range", f"{_name(path)} must be from {low:g} to {high:g}, not {value:g}", path)
    return low


def read_duration(value: Json, path: Path, findings: Findings, *, low_ms: int = 0) -> int:
    """Milliseconds, else ``low_ms``."""
    ms = parse_duration(value)
    if ms is None:
        findings.error("bad_duration", f"{_name(path)} is no duration: {quote(value)}", path, DURATION_HINT)
        return low_ms
    if ms < low_ms:
        findings.error("out_of_range", f"{_name(path)} must be at least {low_ms} ms", path)
        return low_ms
    return ms


def read_choice(
    value: Json, path: Path, findings: Findings, known: Collection[str], fallback: str, *, hint: str = ""
) -> str:
    """One of the ``known`` words, else ``fallback``. hint: in the place of the nearest word."""
    if isinstance(value, str) and value in known:
        return value
    hint = hint or findings.suggest(value, known) or "one of: " + ", ".join(known)
    findings.error("unknown_value", f"{_name(path)} can not be {quote(value)}", path, hint)
    return fallback


def read_enum(value: Json, path: Path, findings: Findings, kind: type[E], fallback: E) -> E:
    """One of the words of ``kind``, else ``fallback``."""
    return kind(read_choice(value, path, findings, [member.value for member in kind], fallback.value))


def read_expression(value: Json, path: Path, findings: Findings) -> str:
    """Source of a CEL expression, not compiled here, else ``null``. A boolean or a number stands for itself."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if not isinstance(value, str):
        hint = "" if value is None else "write the whole expression as one string"
        wrong_type(findings, path, "an expression", value, hint)
        return "null"
    if not value.strip():
        findings.error("empty_expression", f"{_name(path)} is an empty expression", path, "leave the field out")
        return "null"
    return value


def read_mapping(value: Json, path: Path, findings: Findings) -> dict[str, str]:
    """An object with a CEL expression per field; here null stands for itself too."""
    fields = read_object(value, path, findings)
    return {
        name: "null" if below is None else read_expression(below, (*path, name), findings)
        for name, below in fields.items()
    }


def read_pattern(value: Json, path: Path, findings: Findings, pattern: str, code: str) -> str:
    """A string of the pattern, else an empty one."""
    if not isinstance(value, str):
        wrong_type(findings, path, "a string", value)
        return ""
    if re.fullmatch(pattern.removesuffix("$"), value):
        return value
    findings.error(code, f"{_name(path)} can not be {quote(value)}", path, f"it must match {pattern}")
    return ""


def read_id(value: Json, path: Path, findings: Findings) -> str | None:
    """The id of a node, else None. Whether it exists is checked by ``wiring``."""
    if not isinstance(value, str):
        wrong_type(findings, path, "a node id", value)
        return None
    if not value:
        findings.error("unknown_node", f"{_name(path)} names no node", path)
    return value or None


def read_ids(value: Json, path: Path, findings: Findings) -> tuple[str, ...]:
    """Node ids: a string is a list of one. Each once, in order. Whether they exist is checked by ``wiring``."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        wrong_type(findings, path, "a node id or a list of node ids", value, f"write {_name(path)}: [a, b]")
        return ()
    ids: dict[str, None] = {}
    for index, each in enumerate(cast("list[Json]", value)):
        if isinstance(each, str):
            ids[each] = None
        else:
            wrong_type(findings, (*path, index), "a node id", each)
    return tuple(ids)


def is_extension(name: str) -> bool:
    return name.startswith("x-")


def unknown_field(
    name: str, path: Path, findings: Findings, known: Collection[str], guesses: Mapping[str, Guess] = NO_GUESSES
) -> str:
    """Report a field that means nothing here; ``path`` is that of the object. Gives the field that was meant, or ""."""
    guess = guesses.get(name)
    meant = findings.nearest(name, known) if guess is None else guess.meant
    hint = guess.hint if guess is not None else f"did you mean {meant!r}?" if meant else ""
    hint = hint or "known here: " + ", ".join(sorted(known))
    findings.error("unknown_field", f"unknown field {quote(name)}{_inside(path)}", (*path, name), hint)
    return meant


Reader = Callable[[Json, Path, Findings], Any]


def read_fields(
    value: Json,
    path: Path,
    findings: Findings,
    readers: Mapping[str, Reader],
    required: Collection[str] = (),
    *,
    hint: str = "",
    guesses: Mapping[str, Guess] = NO_GUESSES,
) -> dict[str, Any]:
    """Read an object field by field; gives what each reader made of the fields that are there.

    Fields without a reader are reported, but for those that begin with ``x-``, which are left out. A field that is
    misspelt is read as the one that was meant, so that what it holds is judged as well, and the other is not missed.
    hint: what to write where ``value`` is no object.
    """
    made: dict[str, Any] = {}
    fields = read_object(value, path, findings, hint)
    meant: dict[str, str] = {}
    for name, below in fields.items():
        reader = readers.get(name)
        if reader is not None:
            made[name] = reader(below, (*path, name), findings)
        elif not is_extension(name):
            meant.setdefault(unknown_field(name, path, findings, readers, guesses), name)
    for name, written in meant.items():
        if name and name not in fields:
            findings.moved[(*path, name)] = (*path, written)
            made[name] = readers[name](fields[written], (*path, written), findings)
    if isinstance(value, dict):
        for name in required:
            if name not in fields and name not in meant:
                missing_field(name, path, findings)
    return made


def with_extensions(config: Mapping[str, Json], made: Mapping[str, Any]) -> dict[str, Any]:
    """What was made of a config, in the order of the config, with its extensions as they are."""
    kept = {name: made.get(name, config[name]) for name in config if name in made or is_extension(name)}
    return {**kept, **made}


def missing_field(name: str, path: Path, findings: Findings, hint: str = "") -> None:
    findings.error("missing_field", f"the field {name!r} is missing{_inside(path)}", path, hint)


def _name(path: Path) -> str:
    names = [step for step in path if isinstance(step, str)]
    return names[-1] if names else "the document"


def _inside(path: Path) -> str:
    return f" in {_name(path)}" if path else ""
