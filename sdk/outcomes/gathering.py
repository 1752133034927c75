"""Gathering: the results of a map, read for its aggregate and chunk by chunk for its collector.

Nothing here changes anything; what is read is bounded by the size of one payload.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import msgspec

from ..floor.payloads import PayloadMissing, is_reference
from ..marking.map_plans import read_ends, read_record
from ..marking.maps import Counts
from ..marking.scopes import scope_key
from ..sealing.payload_terms import PAYLOAD_BYTES_MAX, PayloadTooLarge
from ..sealing.sealing import open_error_json
from .item_values import (
    ItemResult,
    ItemResults,
    decode_results,
    encode_results,
    error_fields,
    gather_results,
    result_fields,
)
from .step_context import StepContext

CHUNKS_MAX = 10
GONE_MAX = 500
"""Chunks that one transition of a collector takes, and fields that go with them, those of one chunk more at most: so
many that it keeps up with all items that settle between two of its turns.
"""
LOOKED_AT_MAX = 2_000
"""Items of a closed map among which the failed one is looked for."""
PART_BYTES = 1_000_000
"""Of outputs that are stored apart and brought at once, those of one result more at most."""
Read = Callable[[str, list[str]], Awaitable[list[bytes | None]]]
Resolve = Callable[[list[bytes]], Awaitable[Mapping[bytes, bytes]]]
Recorded = Callable[[StepContext], Awaitable[Mapping[int, bytes]]]


class ResultsMissing(PayloadMissing):
    """Results are in Redis no more and not in the log, which will have them again if its server went back in time."""


class Collection(NamedTuple):
    """The results of a chunk as one value. ``gone``: the fields that are not needed any more then."""

    number: int
    content: bytes
    gone: list[str]


class Gatherer:
    """``read``: fields of a run; ``resolve``: what references stand for; ``recorded``: by chunk, the results of the map
    of an aggregate's token that the log has.
    """

    def __init__(self, read: Read, resolve: Resolve, recorded: Recorded) -> None:
        self._read = read
        self._resolve = resolve
        self._recorded = recorded

    async def results(self, step: StepContext) -> ItemResults:
        """Return the results for an aggregate's token, in the order of the items.

        Raises ResultsMissing, PayloadMissing, PayloadTooLarge, PayloadUnreadable.
        """
        region = step.plan.ir.regions[step.node.map_region]
        counts, maps = Counts.read(step.live), step.plan.maps
        room = PAYLOAD_BYTES_MAX
        if not counts.items:
            return ItemResults([])
        if await self._is_alone(step, counts):
            fields = maps.alone_fields(region.node, step.scope, counts, step.plan.is_read)
            content, room = await self._whole_chunk(await self.chunk(step, 0), room)
            return ItemResults([content], fields)
        fields = maps.result_fields(region.node, step.scope, counts)
        kept = dict(zip(fields, await self._read(step.run_id, fields), strict=True))
        left = [field for field, value in kept.items() if value is not None]
        if counts.is_closed:
            return ItemResults([], left, await self._closing(step, counts))
        chunks: list[bytes] = []
        recorded: Mapping[int, bytes] = await self._recorded(step) if len(left) < len(fields) else {}
        for number, value in enumerate(kept.values()):
            told = recorded.get(number) if value is None else value
            if told is None:
                first, node = number * region.chunk, step.plan.ir.nodes[region.node]
                raise ResultsMissing(f"neither Redis nor the log has the results from {node.id}[{first}] on")
            whole = (await self._resolve([told]))[told] if is_reference(told) else told
            content, room = await self._whole_chunk(decode_results(whole), room)
            chunks.append(content)
        return ItemResults(chunks, left)

    async def _closing(self, step: StepContext, counts: Counts) -> tuple[int, bytes] | None:
        """Return the item that has closed the map, and its error: of those that were at work last the one that has one.

        The last items are looked at: there the failed one is, or not far behind those that were faster.
        """
        region = step.plan.ir.regions[step.node.map_region]
        last = min(counts.items, counts.ok + counts.failed + counts.skipped + region.window)
        places = range(last - 1, max(-1, last - 1 - LOOKED_AT_MAX), -1)
        fields = [f"E{region.node}:{scope_key((*step.scope, index))}" for index in places]
        found = zip(places, await self._read(step.run_id, fields), strict=True)
        return next(((index, open_error_json(error)) for index, error in found if error is not None), None)

    async def _is_alone(self, step: StepContext, counts: Counts) -> bool:
        """Whether they are those of one chunk that was not collected, as it was if it was full before the last item."""
        region = step.plan.ir.regions[step.node.map_region]
        if counts.is_closed or counts.items != region.chunk:
            return counts.items < region.chunk and not counts.is_closed
        (ends,) = await self._read(step.run_id, [f"q{region.node}:{scope_key((*step.scope, 0))}"])
        return ends is not None

    async def _whole_chunk(self, found: list[ItemResult], room: int) -> tuple[bytes, int]:
        """Return a chunk with the outputs that are stored apart, and how many bytes are left.

        Raises PayloadTooLarge, PayloadUnreadable.
        """
        first = 0
        while first < len(found):
            last, references = _part(found, first)
            contents: Mapping[bytes, bytes] = await self._resolve(references) if references else {}
            for at in range(first, last):
                found[at] = _whole(found[at], contents)
                room -= len(bytes(found[at].value))
                if room < 0:
                    raise PayloadTooLarge(PAYLOAD_BYTES_MAX - room, PAYLOAD_BYTES_MAX)
            first = last
        return encode_results(found), room

    async def chunk(self, step: StepContext, number: int) -> list[ItemResult]:
        """Return the results of one chunk; those that are stored apart stay references."""
        ((found, _),) = await self._chunks(step, [number], with_errors=False)
        return found

    async def ready(self, step: StepContext) -> list[Collection]:
        """Return the chunks whose turn it is, for a collector's token: as many as one transition may take."""
        record, maps = step.values[0], step.plan.maps
        over = step.plan.ir.regions[step.node.map_region].node
        numbers = read_record(record.decode()).ready[:CHUNKS_MAX] if record else [0]
        some = max(1, GONE_MAX // len(maps.chunk_fields(over, step.scope, 0, step.plan.is_read, is_failed=False)))
        collections: list[Collection] = []
        going = 0
        found = await self._chunks(step, numbers[:some], with_errors=True)
        for number, (results, is_failed) in zip(numbers, found, strict=False):
            gone = maps.chunk_fields(over, step.scope, number, step.plan.is_read, is_failed=is_failed)
            collections.append(Collection(number, encode_results(results), gone))
            going += len(gone)
            if going > GONE_MAX:
                break
        return collections

    async def _chunks(
        self, step: StepContext, numbers: list[int], *, with_errors: bool
    ) -> list[tuple[list[ItemResult], bool]]:
        """Return the results of chunks, and whether anything failed in their items (with_errors)."""
        plan, scope = step.plan, step.scope
        region = plan.ir.regions[step.node.map_region]
        sources = plan.maps.sources(plan.ir.nodes[region.aggregate])
        texts = await self._read(step.run_id, [f"q{region.node}:{scope_key((*scope, number))}" for number in numbers])
        ends = [read_ends(text.decode()) if text else [] for text in texts]
        errors = [error_fields(region, scope, number) if with_errors else [] for number in numbers]
        fields = dict[str, None]()
        for number, some, failing in zip(numbers, ends, errors, strict=True):
            fields |= dict.fromkeys((*result_fields(sources, region, scope, number, some), *failing))
        values = dict(zip(fields, await self._read(step.run_id, [*fields]), strict=True))
        return [
            (gather_results(sources, region, scope, number, some, values), any(values[field] for field in failing))
            for number, some, failing in zip(numbers, ends, errors, strict=True)
        ]


def _part(results: list[ItemResult], first: int) -> tuple[int, list[bytes]]:
    """Return the end of a part whose outputs may be brought at once, and references to those that are stored apart."""
    references: list[bytes] = []
    size, last = 0, first
    while last < len(results) and size < PART_BYTES:
        some = [reference.encode() for reference in results[last].stored.values()]
        size += sum(int(reference.rpartition(b":")[2]) for reference in some)
        references += some
        last += 1
    return last, references


def _whole(result: ItemResult, contents: Mapping[bytes, bytes]) -> ItemResult:
    """Put in the outputs that are stored apart, and the text of an error."""
    if not result.stored:
        return result if result.status != "f" else ItemResult("f", msgspec.Raw(open_error_json(bytes(result.value))))
    stored = {name: contents[reference.encode()] for name, reference in result.stored.items()}
    if "" in stored:
        return ItemResult(result.status, msgspec.Raw(stored[""]))
    outputs = msgspec.json.decode(result.value, type=dict[str, msgspec.Raw])
    outputs.update((name, msgspec.Raw(content)) for name, content in stored.items())
    return ItemResult(result.status, msgspec.Raw(msgspec.json.encode(outputs)))
