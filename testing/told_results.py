"""Told results: what a log says of the results of a map that Redis has not any more (sdk/floor/cold_payloads.py)."""

from __future__ import annotations

from collections.abc import Iterable

from ..sdk.events import RecordedEvent
from ..sdk.marking.scopes import scope_key
from ..sdk.outcomes.step_context import StepContext


def told_results(step: StepContext, events: Iterable[RecordedEvent]) -> dict[int, bytes]:
    """Return the results of the map of an aggregate's token, by chunk."""
    region = step.plan.ir.regions[step.node.map_region]
    nodes = [step.plan.ir.nodes[number].id for number in (region.node, region.collector)]
    found: dict[int, bytes] = {}
    for event in events:
        chunk = event.facts.data.get("chunk")
        is_its = event.facts.node in nodes and event.facts.scope == scope_key(step.scope)
        if is_its and isinstance(chunk, int) and event.payload is not None:
            found[chunk] = event.payload
    return found
