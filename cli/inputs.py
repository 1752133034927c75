"""Inputs: the input of a run from ``--input name=value`` and ``--input-file``; times and durations from words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from ..compiler.durations import parse_duration
from ..compiler.source import load_source
from ..compiler.source_error import SourceError
from ..sdk.json_values import NotJson, RepeatedKey, decode_text
from .documents import read_bytes
from .exits import CliError, ExitCode

INPUT_BYTES_MAX = 16 * 1024 * 1024


def read_input(pairs: Sequence[str], file: str | None) -> Any:
    """Return the run's input: what the file holds, with the pairs put on top; ``{}`` where nothing is given.

    A value is taken as JSON where it is JSON, else as text. Raises CliError.
    """
    value: Any = _read_file(file) if file is not None else {}
    if not pairs:
        return value
    if not isinstance(value, dict):
        message = f"--input adds to an object, and {file} holds {_kind(value)}"
        raise CliError(ExitCode.USAGE, "bad_input", message, "give either --input or --input-file")
    named = dict(cast("dict[str, Any]", value))
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name:
            message = f"--input {pair!r}: expected NAME=VALUE"
            raise CliError(ExitCode.USAGE, "bad_input", message, "for example --input topic=tea --input 'ids=[1, 2]'")
        named[name] = read_value(name, text)
    return named


def read_value(name: str, text: str) -> Any:
    """JSON where it is JSON, else the text itself. Raises CliError for JSON that says two things under one key."""
    try:
        return decode_text(text)
    except RepeatedKey as error:
        message = f"--input {name}{error.place}: {error.problem}"
        raise CliError(ExitCode.INVALID, "bad_input", message, "leave out one of the two") from error
    except NotJson:
        return text


def read_json(text: str, option: str) -> Any:
    """Strict JSON. Raises CliError."""
    try:
        return decode_text(text)
    except RepeatedKey as error:
        problem = f"{error.place or 'the object'}: {error.problem}"
        raise bad_option(option, problem, "leave out one of the two") from error
    except NotJson as error:
        hint = f"for example {option} '{{\"approved_for\": 3}}'; a text has quotes of its own: {option} '\"fine\"'"
        raise bad_option(option, f"{text!r:.200} is no JSON", hint) from error


def read_since(text: str | None, option: str = "--since") -> datetime | None:
    """A moment: ``2h`` (ago), or ISO 8601; one without an offset is UTC. Raises CliError."""
    return None if text is None else _read_moment(text, option, -1)


def read_ahead(text: str | None, option: str) -> datetime | None:
    """As ``read_since``, but ``2h`` is from now on."""
    return None if text is None else _read_moment(text, option, 1)


def _read_moment(text: str, option: str, sign: int) -> datetime:
    span_ms = parse_duration(text)
    if span_ms is None:
        return read_time(text, option)
    try:
        return datetime.now(UTC) + sign * timedelta(milliseconds=span_ms)
    except OverflowError as cause:
        raise bad_option(option, f"{text!r} is further away than a date can say") from cause


def read_time(text: str, option: str) -> datetime:
    """ISO 8601; a time without an offset is UTC. Raises CliError."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as cause:
        hint = "for example 30m, 2h, 7d, 2026-01-31 or 2026-01-31T12:00:00Z"
        raise bad_option(option, f"{text!r}: no duration and no time", hint) from cause
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def read_milliseconds(text: str, option: str) -> int:
    """A duration: ``30s``, ``10m``, or seconds. Raises CliError."""
    ms = parse_duration(text)
    if ms is None and text.isdecimal():
        ms = parse_duration(int(text))
    if ms is None:
        raise bad_option(option, f"{text!r}: no duration", "for example 30s, 10m, 1h")
    return ms


def bad_option(option: str, problem: str, hint: str = "") -> CliError:
    """``bad_since`` for ``--since``."""
    return CliError(ExitCode.USAGE, f"bad_{option.lstrip('-').replace('-', '_')}", f"{option} {problem}", hint)


def _read_file(name: str) -> Any:
    content = read_bytes(name, "input file", INPUT_BYTES_MAX)
    try:
        return load_source(content, format="json" if name.endswith(".json") else None, bytes_max=INPUT_BYTES_MAX).value
    except SourceError as error:
        first = error.diagnostics[0]
        told = "standard input" if name == "-" else name
        place = f"{told}:{first.line}:{first.column}" if first.line else told
        raise CliError(ExitCode.INVALID, "bad_input", f"{place}: {first.message}", first.hint) from error


def _kind(value: object) -> str:
    if isinstance(value, list):
        return "a list"
    return "text" if isinstance(value, str) else "nothing" if value is None else f"the value {value!r}"
