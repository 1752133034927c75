"""Named steps: a step as people name it, found in a plan. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from ...compiler.diagnostics import did_you_mean
from ..errors import StepNotFound
from .plan import Plan
from .scopes import read_scope, scope_key


def find_step(plan: Plan, step: str, scope: str) -> tuple[int, str]:
    """Return the number of a node and the scope key. scope: as people read it, or as the log has it.

    Raises StepNotFound.
    """
    workflow = plan.ir.workflow
    if step not in plan.node_ids or plan.ir.nodes[plan.node_ids.index(step)].is_gate:
        names = [node.id for node in plan.ir.nodes if not node.is_gate]
        hint = did_you_mean(step, names) or f"it has {_some(names)}"
        raise StepNotFound(f"{workflow!r} has no step {step!r:.200}", hint=hint)
    number = plan.node_ids.index(step)
    try:
        return number, scope_key(read_scope(plan.ir, number, scope))
    except ValueError as error:
        if not plan.ir.nodes[number].levels:
            raise StepNotFound(f"step {step!r} has no scope: it stands in no loop and no map") from error
        hint = "'courante status RUN' shows the scope beside each step, like items[4]/poll#2"
        told = f"step {step!r} has no scope {scope!r:.200}" if scope else f"which {step!r}? It exists once per scope"
        raise StepNotFound(told, hint=hint) from error


def _some(names: Sequence[str], limit: int = 8) -> str:
    rest = len(names) - limit
    return ", ".join(names[:limit]) + (f" and {rest} more" if rest > 0 else "")
