"""``aggregate``: what comes of the results of a map's items, or of the outputs of several nodes."""

from ...sdk.outcomes.aggregates import aggregate_items, aggregate_predecessors
from ...sdk.outcomes.item_values import ItemResults
from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ..work import Work


def run_aggregate(work: Work) -> Outcome:
    if work.node.is_aggregate:
        return Succeeded(aggregate_items(work, work.results or ItemResults([])))
    return Succeeded(aggregate_predecessors(work))
