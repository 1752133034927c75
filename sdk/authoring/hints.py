"""Hints: the type hints of a step, and what they make of its input and output.

msgspec converts and checks: dataclasses, structs, typed dictionaries, plain types. What does not fit is an error that
names the place (``$.items[3].price``) and is never tried again. A step without a hint takes and gives any JSON value;
another kind of value does not fit either.
Hints are read when the step is first called, so that they may name what its module defines further down.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import is_dataclass
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

import msgspec

from ..json_values import NotJson, encode_value
from ..step_error import StepError
from .deferral import Deferred

UNTYPED = frozenset({Any, object, inspect.Parameter.empty})
_AT = " - at `"
_decode_untyped = msgspec.json.Decoder().decode


class Hints:
    """Reads and writes JSON bytes for one step. ``given``: the parameter that takes the input, None where none does.

    ``names``: what was visible where the function was defined, beside its module. May be used from any thread.
    """

    __slots__ = ("_function", "_given", "_kind", "_name", "_names", "_reader", "_writer")

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        given: str | None,
        names: Mapping[str, Any] | None = None,
        *,
        kind: str = "step",
    ) -> None:
        self._kind = kind
        self._function = function
        self._name = name
        self._given = given
        self._names = names
        self._reader: Callable[[bytes], Any] | None = None
        self._writer: Callable[[object], bytes] | None = None

    def read(self, content: bytes) -> Any:
        """Return the input as the step wants it. Raises StepError (INPUT_INVALID, CONFIG_INVALID)."""
        reader = self._reader
        if reader is None:
            reader = self._reader = self._make_reader()
        return reader(content)

    def write(self, value: object) -> bytes:
        """Return the output as JSON. Raises StepError (OUTPUT_MISMATCH, CONFIG_INVALID)."""
        writer = self._writer
        if writer is None:
            writer = self._writer = self._make_writer()
        return writer(value)

    def _make_reader(self) -> Callable[[bytes], Any]:
        hint = self.hint(self._given) if self._given is not None else Any
        if _is_untyped(hint):
            return _decode_untyped
        decode = self._decoder(hint, self._given or "")

        def read(content: bytes) -> Any:
            try:
                return decode(content)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise StepError("INPUT_INVALID", placed(error, f"the input of {self._name!r}")) from error

        return read

    def _make_writer(self) -> Callable[[object], bytes]:
        hint = _without_deferred(self.hint("return"))
        if _is_untyped(hint):
            return _encode_untyped
        decode = self._decoder(hint, "return")

        def write(value: object) -> bytes:
            content = _encode_typed(value)
            try:
                decode(content)
            except (msgspec.MsgspecError, RecursionError) as error:
                raise StepError("OUTPUT_MISMATCH", placed(error, f"the output of {self._name!r}")) from error
            return content

        return write

    def hint(self, name: str) -> Any:
        """Return one hint; those that are not needed may name what exists for type checkers only.

        Raises StepError (CONFIG_INVALID).
        """
        annotations: dict[str, Any] = getattr(inspect.unwrap(self._function), "__annotations__", {})
        if name not in annotations:
            return Any
        holder = type("Holder", (), {"__annotations__": {name: annotations[name]}})
        scope: dict[str, Any] = getattr(inspect.unwrap(self._function), "__globals__", {})
        try:
            return get_type_hints(holder, scope, dict(self._names or {}), include_extras=True)[name]
        except Exception as error:
            raise StepError(
                "CONFIG_INVALID", f"{self._kind} {self._name!r}: {self._unreadable(name, error)}"
            ) from error

    def _decoder(self, hint: Any, name: str) -> Callable[[bytes], Any]:
        try:
            return cast("Any", msgspec.json.Decoder(hint)).decode  # type: ignore[no-any-return]
        except TypeError as error:
            raise StepError(
                "CONFIG_INVALID", f"{self._kind} {self._name!r}: {self._unreadable(name, error)}"
            ) from error

    @staticmethod
    def _unreadable(name: str, error: Exception) -> str:
        what = "its return hint" if name == "return" else f"the hint of {name!r}"
        return f"{what} cannot be used: {error}"


def _is_untyped(hint: Any) -> bool:
    try:
        return hint in UNTYPED
    except TypeError:  # an annotation that has no hash
        return False


def _without_deferred(hint: Any) -> Any:
    """A step that may end later has an output all the same, by whoever completes it; nothing checks that one here."""
    if hint is Deferred:
        return Any
    if get_origin(hint) not in (Union, UnionType):
        return hint
    kept = tuple(each for each in get_args(hint) if each is not Deferred)
    return Union[kept]  # noqa: UP007 - the members are known only now


def _encode_untyped(value: object) -> bytes:
    """JSON values only, and what says itself of what it consists."""
    if isinstance(value, msgspec.Struct) or is_dataclass(value):
        return _encode_typed(value)
    try:
        return encode_value(value)
    except NotJson as error:
        raise StepError("OUTPUT_MISMATCH", f"this is no JSON value: {error}") from error


def _encode_typed(value: object) -> bytes:
    """What is no JSON value becomes one as msgspec would write it, sets in order; NaN and its like are refused."""
    with suppress(NotJson):
        return encode_value(value)
    try:
        return encode_value(msgspec.to_builtins(value, order="deterministic"))
    except (NotJson, TypeError, ValueError, RecursionError) as error:
        raise StepError("OUTPUT_MISMATCH", f"this is no JSON value: {error}") from error


def placed(error: Exception, what: str) -> str:
    """Return what msgspec says, the place first.

    ``$.items[3].price: expected `float`, got `str`, in the input of 'x'``
    """
    text, at, place = str(error).rpartition(_AT)
    where = place.replace("`", "") if at else "$"
    said = text if at else str(error)
    return f"{where}: {said[:1].lower()}{said[1:]}, in {what}"
