"""Gathering: the results of a map, read for its aggregate and chunk by chunk for its collector.

Nothing here changes anything; what is read is bounded by the size of one payload.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from .item_values import ItemResult, ItemResults, decode_results, encode_results, gather_results, result_fields
from .map_plans import read_ends
from .maps import Counts
from .payloads import PAYLOAD_BYTES_MAX, PayloadTooLarge
from .scopes import scope_key
from .sealing import open_error_json
from .step_context import StepContext

PAGE = 200
"""Fields that one call reads."""
Read = Callable[[str, list[str]], Awaitable[list[bytes | None]]]
Resolve = Callable[[bytes], Awaitable[bytes]]


class Gatherer:
    """``read``: fields of a run; ``resolve``: the value that may be a reference."""

    def __init__(self, read: Read, resolve: Resolve) -> None:
        self._read = read
        self._resolve = resolve

    async def results(self, step: StepContext) -> ItemResults:
        """Return the results for an aggregate's token, in the order of the items.

        Raises PayloadTooLarge, PayloadUnreadable.
        """
        region = step.plan.ir.regions[step.node.map_region]
        counts = Counts.read(step.live)
        if counts.is_closed or not counts.items:
            return ItemResults([])
        room = PAYLOAD_BYTES_MAX
        if counts.items <= region.chunk:
            content, room = await self._whole_chunk(await self.chunk(step, 0), room)
            return ItemResults([content])
        chunks: list[bytes] = []
        count = -(-counts.items // region.chunk)
        fields = [f"r{region.node}:{scope_key((*step.scope, number))}" for number in range(count)]
        for kept in await self._fields(step.run_id, fields):
            if kept is not None:
                content, room = await self._whole_chunk(decode_results(await self._resolve(kept)), room)
                chunks.append(content)
        return ItemResults(chunks)

    async def _whole_chunk(self, found: list[ItemResult], room: int) -> tuple[bytes, int]:
        """Return a chunk with the outputs that are stored apart, and how many bytes are left.

        Raises PayloadTooLarge, PayloadUnreadable.
        """
        for at, result in enumerate(found):
            found[at] = await self._whole(result)
            room -= len(bytes(found[at].value))
            if room < 0:
                raise PayloadTooLarge(PAYLOAD_BYTES_MAX - room, PAYLOAD_BYTES_MAX)
        return encode_results(found), room

    async def chunk(self, step: StepContext, number: int) -> list[ItemResult]:
        """Return the results of one chunk; those that are stored apart stay references."""
        plan = step.plan
        region = plan.ir.regions[step.node.map_region]
        sources = plan.maps.sources(plan.ir.nodes[region.aggregate])
        (text,) = await self._read(step.run_id, [f"q{region.node}:{scope_key((*step.scope, number))}"])
        ends = read_ends(text.decode()) if text else []
        fields = result_fields(sources, region, step.scope, number, ends)
        values = dict(zip(fields, await self._fields(step.run_id, fields), strict=True))
        return gather_results(sources, region, step.scope, number, ends, values)

    async def _fields(self, run_id: str, fields: Sequence[str]) -> list[bytes | None]:
        found: list[bytes | None] = []
        for at in range(0, len(fields), PAGE):
            found += await self._read(run_id, list(fields[at : at + PAGE]))
        return found

    async def _whole(self, result: ItemResult) -> ItemResult:
        """Bring the outputs that are stored apart, and the text of an error. Raises PayloadUnreadable."""
        if not result.stored:
            return (
                result if result.status != "f" else ItemResult("f", msgspec.Raw(open_error_json(bytes(result.value))))
            )
        stored = {name: await self._resolve(reference.encode()) for name, reference in result.stored.items()}
        if "" in stored:
            return ItemResult(result.status, msgspec.Raw(stored[""]))
        outputs = msgspec.json.decode(result.value, type=dict[str, msgspec.Raw])
        outputs.update((name, msgspec.Raw(content)) for name, content in stored.items())
        return ItemResult(result.status, msgspec.Raw(msgspec.json.encode(outputs)))
