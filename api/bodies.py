"""Bodies and queries: what comes from outside is decoded once, here, into structs, or refused with its place."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, get_origin, get_type_hints

import msgspec
from starlette.datastructures import QueryParams

from ..compiler.diagnostics import did_you_mean
from ..compiler.json_text import repeated_keys
from .problems import Fault, Refused, path_text

S = TypeVar("S")
Q = TypeVar("Q", bound=msgspec.Struct)
JSON_TYPE = "application/json"
YAML_TYPES = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")


class NoQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes no query parameters."""


class NoBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route that takes no body."""


class RawDocument(msgspec.Struct, frozen=True):
    """A body that is a workflow document, as it was sent. ``is_json``: and not YAML."""

    content: bytes
    is_json: bool


def check_plain(content: bytes, encoding: str) -> None:
    """Raises Refused for a body that is packed: nothing is unpacked here, for it could become any size."""
    if content and encoding.strip().lower() not in ("", "identity"):
        raise Refused(
            "body_not_supported", f"no body of encoding {encoding!r:.100} is read here", hint="send it as it is"
        )


def decode_body(content: bytes, content_type: str, wanted: type[S]) -> S:
    """Return a body as what it must be. An empty one is an empty object. Raises Refused."""
    if wanted is RawDocument:
        return msgspec.convert(_read_document(content, content_type), wanted)
    if not content.strip():
        content = b"{}"
    elif not _is_json(content_type):
        hint = f"send JSON, with the header Content-Type: {JSON_TYPE}"
        raise Refused("body_not_supported", f"no body of type {content_type[:100] or '(none)'} is read here", hint=hint)
    try:
        text = content.decode()
        value = msgspec.json.decode(content, type=wanted)
        twice = repeated_keys(text)
    except msgspec.ValidationError as error:
        message, path = _told(error)
        raise Refused("body_invalid", f"the body: {message}", faults=[Fault(message=message, path=path)]) from error
    except UnicodeDecodeError as error:
        raise Refused("body_not_json", "the body is not in UTF-8") from error
    except (msgspec.DecodeError, ValueError) as error:
        raise Refused("body_not_json", f"the body is no JSON: {error}") from error
    except RecursionError as error:
        raise Refused("body_not_json", "the body is nested too deeply") from error
    if twice:
        path = path_text(twice[0])
        message = f"the key {str(twice[0][-1])!r:.80} stands twice in one object"
        raise Refused("body_invalid", f"the body: {message}", faults=[Fault(message=message, path=path)])
    return value


def decode_query(given: QueryParams, wanted: type[Q]) -> Q:
    """Return query parameters as what they must be. Only those that are lists may stand there several times.

    Raises Refused.
    """
    lists = _lists(wanted)
    values: dict[str, Any] = {}
    for name, value in given.multi_items():
        if name in lists:
            values.setdefault(name, []).append(value)
        elif name in values:
            raise _bad_query(name, f"the query parameter {name!r:.80} stands there twice")
        else:
            values[name] = value
    known = {field.encode_name for field in _fields(wanted)}
    for name in values:
        if name not in known:
            hint = did_you_mean(name, known) or (f"known are: {', '.join(sorted(known))}" if known else "none is known")
            raise _bad_query(name, f"there is no query parameter {name!r:.80} here", hint)
    try:
        found = msgspec.convert(values, wanted, strict=False)
        nulls = {name: value for name, value in values.items() if str(value).lower() == "null"}
        return msgspec.structs.replace(found, **_words(nulls, wanted)) if nulls else found
    except msgspec.ValidationError as error:
        message, path = _told(error)
        told = f"the query parameter {path}: {message}" if path else f"the query: {message}"
        raise _bad_query(path, told) from error


def _words(values: Mapping[str, str], wanted: type[msgspec.Struct]) -> dict[str, Any]:
    """Parameters that say 'null' mean this word: what is not wanted is left out. Raises Refused."""
    kinds: Mapping[str, Any] = get_type_hints(wanted, include_extras=True)
    found: dict[str, Any] = {}
    for field in _fields(wanted):
        name = field.encode_name
        if name in values:
            try:
                found[field.name] = msgspec.convert(values[name], kinds[field.name])
            except msgspec.ValidationError as error:
                raise _bad_query(name, f"the query parameter {name}: {error}") from error
    return found


@cache
def _fields(wanted: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """To look at the types of a struct takes longer than to decode one."""
    return msgspec.structs.fields(wanted)


@cache
def _lists(wanted: type[msgspec.Struct]) -> frozenset[str]:
    return frozenset(list_fields(wanted))


def list_fields(wanted: type[Any]) -> set[str]:
    """Return the query parameters that may stand there several times."""
    types: Mapping[str, Any] = get_type_hints(wanted)
    return {name for name, kind in types.items() if get_origin(kind) in (tuple, list) or kind in (tuple, list)}


def is_optional(wanted: type[Any]) -> bool:
    """Return whether a body may be left out."""
    if not issubclass(wanted, msgspec.Struct):
        return False
    return not any(field.required for field in msgspec.structs.fields(wanted))


def _read_document(content: bytes, content_type: str) -> dict[str, Any]:
    kind = content_type.partition(";")[0].strip().lower()
    if _is_json(content_type) or kind in YAML_TYPES:
        return {"content": content, "is_json": _is_json(content_type)}
    hint = f"send JSON as {JSON_TYPE}, or YAML as {YAML_TYPES[0]}"
    raise Refused("body_not_supported", f"no document of type {kind[:100] or '(none)'} is read here", hint=hint)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == JSON_TYPE or (kind.startswith("application/") and kind.endswith("+json"))


def _told(error: msgspec.ValidationError) -> tuple[str, str]:
    """What msgspec says of a value, and the place of it: ``Expected `int`, got `str```, ``runs[3].version``."""
    message, _, place = str(error).rpartition(" - at `$")
    if not message:
        return str(error), ""
    return message, place.rstrip("`").lstrip(".")


def _bad_query(name: str, detail: str, hint: str = "") -> Refused:
    return Refused("query_invalid", detail, hint=hint, faults=[Fault(message=detail, path=name[:200])])
