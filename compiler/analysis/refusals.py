"""Refusals: what more than one part of the analysis says of nodes that cannot be inside of each other."""

from __future__ import annotations

from .graph import Findings

LEVELS_MAX = 16
"""Regions around one node."""


def refuse_depth(findings: Findings, node: int) -> None:
    findings.refuse("nested_too_deep", f"regions nest deeper than {LEVELS_MAX} at {findings.id(node)!r}", node)


def refuse_milestone(findings: Findings, waiting: int, node: int) -> None:
    findings.refuse(
        "milestone_scope",
        f"{findings.id(node)!r} runs while {findings.id(waiting)!r} waits, which is not in the same loop, map or "
        "'each' region",
        node,
        "while_waiting",
        hint="put both inside or both outside",
    )
