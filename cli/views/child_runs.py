"""The runs that are steps of a run, and the one whose step a run is, as people see them. Pure."""

from __future__ import annotations

from click import style

from ...api.wire.children import Child, Parent
from ...sdk.stores.children import ChildState
from ..output import status_text

_UNSTARTED = {
    ChildState.WANTED: "to be started",
    ChildState.STARTING: "to be started",
    ChildState.REFUSED: "refused",
    ChildState.DROPPED: "not needed any more",
}
SHOWN_MAX = 20


def parent_line(parent: Parent) -> str:
    place = f"{parent.step} {parent.scope}".rstrip()
    told = ", which does not wait for it" if parent.detached else ""
    return f"{parent.run_id}, step {place}{told}"


def child_lines(children: list[Child]) -> list[str]:
    """A line for each, the last ones where there are too many."""
    lines = [_line(child) for child in children[-SHOWN_MAX:]]
    left = len(children) - len(lines)
    return [style(f"  and {left:,} before", dim=True), *lines] if left else lines


def _line(child: Child) -> str:
    place = f"{child.step} {child.scope}".rstrip()
    status = _UNSTARTED.get(child.state, "accepted") if child.status is None else status_text(str(child.status))
    version = f" v{child.version}" if child.version is not None else ""
    taken = f", taken over from {child.taken_from}" if child.taken_from else ""
    return f"{style('child:', bold=True)} {child.run_id}  {status}  {child.workflow}{version}, step {place}{taken}"
