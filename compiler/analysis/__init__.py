"""From a normalized workflow to the IR: graph, regions, gates, frontiers, reads."""

from .build import compile_workflow
from .compiled import compile_document

__all__ = ["compile_document", "compile_workflow"]
