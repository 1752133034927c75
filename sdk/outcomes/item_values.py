"""Items and results as JSON bytes: one item cut out of a map's list, and what a chunk of results looks like. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, cast

import msgspec

from ...compiler.ir import Region
from ...compiler.maps import ITEMS_MAX
from ...compiler.reading import kind_of
from ..marking.map_plans import Source
from ..marking.maps import ItemEnd
from ..marking.plan import Plan
from ..marking.scopes import Scope, scope_key
from .step_context import StepError, encode_json

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
NULL = msgspec.Raw(b"null")


class ItemResult(msgspec.Struct, frozen=True, array_like=True):
    """How one item ended. ``status``: o, f or s. ``value``: its output; of a failed item its error.

    ``stored``: references of outputs that are stored apart: under ``""`` where the aggregate has one in-edge, else by
    the ids of the nodes behind them, whose other outputs ``value`` has by id.
    """

    status: str
    value: msgspec.Raw = NULL
    stored: dict[str, str] = {}


class ItemResults:
    """ItemResults of items in their order, kept as the JSON of their chunks and read again each time that they are gone
    through: a hundred thousand of them as objects are some forty times as large. ``left``: the fields of the run that
    are needed no more when the aggregate settles. ``closed_by``: of a map that a failed item has closed, of which there
    are no results, the place of that item and its error as JSON, where these can be told.
    """

    def __init__(
        self, chunks: list[bytes], left: list[str] | None = None, closed_by: tuple[int, bytes] | None = None
    ) -> None:
        self._chunks = chunks
        self.left = left or []
        self._closed_by = closed_by

    def first_failed(self) -> tuple[int, bytes] | None:
        """Return the place and the error of the first item that failed."""
        found = ((at, bytes(result.value)) for at, result in enumerate(self) if result.status == "f")
        return self._closed_by or next(found, None)

    def __iter__(self) -> Iterator[ItemResult]:
        for part in self.parts():
            yield from part

    def parts(self) -> Iterator[list[ItemResult]]:
        return map(decode_results, self._chunks)


_results = msgspec.json.Decoder(list[ItemResult]).decode
_encode = msgspec.json.Encoder().encode


def as_items(value: Any, batch: int) -> tuple[bytes, int]:
    """Return a map's list as JSON bytes, and how many items it has. batch: values per item, 0: each is one.

    An object becomes a list of its fields by their names, each ``{"key": ..., "value": ...}``. Raises StepError.
    """
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        value = [{"key": key, "value": field} for key, field in sorted(fields.items())]
    if not isinstance(value, list):
        raise StepError("ITEMS_INVALID", f"a map runs over a list or an object, not {kind_of(value)}")
    values = cast("list[Any]", value)
    if len(values) > ITEMS_MAX:
        raise StepError("TOO_MANY_ITEMS", f"a map has at most {ITEMS_MAX:,} items, not {len(values):,}")
    return encode_json(values), count_items(len(values), batch)


def count_items(values: int, batch: int) -> int:
    return -(-values // batch) if batch else values


def split_list(content: bytes) -> list[bytes]:
    """Return each value of a list as JSON bytes of its own: a quarter of what views of the whole take."""
    return list(map(bytes, _split(content)))


def cut_item(values: list[bytes], index: int, batch: int) -> bytes | None:
    """Return one item as JSON bytes, None where the list is too short."""
    if not batch:
        return values[index] if index < len(values) else None
    some = values[index * batch : (index + 1) * batch]
    return b"[" + b",".join(some) + b"]" if some else None


@lru_cache(maxsize=8)
def _split_once(content: bytes) -> list[bytes]:
    return split_list(content)


def cut_items(plan: Plan, number: int, scope: Scope, values: list[bytes | None]) -> list[bytes | None]:
    """Return the context values of a token with its own items in the place of the lists that they are in."""
    if number < 0 or not plan.item_reads[number]:
        return values
    node, ir = plan.ir.nodes[number], plan.ir
    cut = list(values)
    for at in plan.item_reads[number]:
        value = cut[at] if at < len(cut) else None  # a skip token brings nothing
        if value is not None:
            over = ir.nodes[node.reads[at].node].map_region
            cut[at] = cut_item(_split_once(value), scope[node.levels.index(over)], ir.regions[over].batch)
    return cut


def result_fields(sources: list[Source], region: Region, scope: Scope, number: int, ends: list[ItemEnd]) -> list[str]:
    """Return the fields that hold the results of a chunk. scope: of the map."""
    fields: list[str] = []
    for end in ends:
        item = (*scope, number * region.chunk + end.offset)
        if end.status == "f":
            fields.append(f"E{region.node}:{scope_key(item)}")
        elif end.status == "o":
            fields += (sources[slot].field(item) for slot in _slots(sources, end))
    return fields


def error_fields(region: Region, scope: Scope, number: int) -> list[str]:
    """Return the fields of the first errors of all items of a chunk."""
    first = number * region.chunk
    return [f"E{region.node}:{scope_key((*scope, index))}" for index in range(first, first + region.chunk)]


def gather_results(
    sources: list[Source],
    region: Region,
    scope: Scope,
    number: int,
    ends: list[ItemEnd],
    values: Mapping[str, bytes | None],
) -> list[ItemResult]:
    """Return the results of a chunk in the order of its items. values: by the fields that ``result_fields`` names."""
    found: list[ItemResult] = []
    for end in sorted(ends):
        item = (*scope, number * region.chunk + end.offset)
        if end.status == "f":
            found.append(ItemResult("f", msgspec.Raw(values.get(f"E{region.node}:{scope_key(item)}") or b"null")))
            continue
        slots = [sources[slot] for slot in _slots(sources, end)]
        outputs = {source.id: values.get(source.field(item)) or b"null" for source in slots}
        found.append(ItemResult("s") if end.status == "s" else _result(outputs, is_alone=len(sources) == 1))
    return found


def _result(outputs: Mapping[str, bytes], *, is_alone: bool) -> ItemResult:
    if is_alone:
        (output,) = outputs.values()
        is_apart = output.startswith(b"@")
        return ItemResult("o", NULL, {"": output.decode()}) if is_apart else ItemResult("o", msgspec.Raw(output))
    inline = {name: msgspec.Raw(output) for name, output in outputs.items() if not output.startswith(b"@")}
    stored = {name: output.decode() for name, output in outputs.items() if output.startswith(b"@")}
    return ItemResult("o", msgspec.Raw(_encode(inline)), stored)


def _slots(sources: list[Source], end: ItemEnd) -> Iterable[int]:
    """The in-edges that came live; sources in the document's order."""
    return (0,) if len(sources) == 1 else sorted(end.slots)


def encode_results(results: list[ItemResult]) -> bytes:
    """Return a chunk as JSON, without what is there only where outputs are stored apart."""
    return _encode([result if result.stored else (result.status, result.value) for result in results])


def decode_results(content: bytes) -> list[ItemResult]:
    return _results(content)
