"""From a normalized workflow to the IR: graph, regions, gates, frontiers, reads."""

from .build import compile_workflow

__all__ = ["compile_workflow"]
