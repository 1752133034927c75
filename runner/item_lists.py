"""Item lists: the lists of maps, split once and kept, so that each item is cut out of them without reading the whole.

What is kept is bounded; the list that was used longest ago goes first.
"""

from __future__ import annotations

from collections import OrderedDict

from ..sdk.floor.payloads import is_reference
from ..sdk.outcomes.item_values import cut_item, split_list
from .work import Work

KEPT_BYTES_MAX = 64 * 1024 * 1024
ITEMS_INLINE_BYTES_MAX = 1_024
"""Each item's token brings the list that it is in, or a reference to it."""
ITEM_BYTES = 50
"""About what a split item costs beside its bytes."""


class ItemLists:
    """By the reference of the list; lists that came inline are split each time."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, tuple[list[bytes], int]] = OrderedDict()
        self.size_bytes = 0
        """About what the lists that are kept take."""

    def cut(self, work: Work) -> bool:
        """Put the token's items in the place of the lists they are in; False where a list must be brought first.

        Once: an item may be a list, too.
        """
        if work.is_cut:
            return True
        if self.missing(work):
            return False
        work.is_cut = True
        node, plan = work.node, work.plan
        for at in plan.item_reads[work.number]:
            value = work.values[at]
            if value is not None:
                over = plan.ir.nodes[node.reads[at].node].map_region
                index = work.scope[node.levels.index(over)]
                work.values[at] = cut_item(self._values(value), index, plan.ir.regions[over].batch)
        return True

    def missing(self, work: Work) -> list[bytes]:
        """Return the references of the lists that must be brought."""
        if work.is_cut:
            return []
        values = (work.values[at] for at in work.plan.item_reads[work.number])
        return [value for value in values if value is not None and is_reference(value) and value not in self._kept]

    def keep(self, reference: bytes, content: bytes) -> None:
        """Keep a list that was brought; the second of those who have waited for it changes nothing."""
        if reference in self._kept:
            return
        values = split_list(content)
        size = len(content) + ITEM_BYTES * len(values)
        self._kept[reference] = values, size
        self.size_bytes += size
        while self.size_bytes > KEPT_BYTES_MAX and len(self._kept) > 1:
            _, (_, gone) = self._kept.popitem(last=False)
            self.size_bytes -= gone

    def _values(self, value: bytes) -> list[bytes]:
        if not is_reference(value):
            return split_list(value)
        self._kept.move_to_end(value)
        return self._kept[value][0]
