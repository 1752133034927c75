"""The shelf: all tools that a worker has, by name."""

from __future__ import annotations

from ...sdk.steps import Steps
from .offer import CallableTool
from .python_tool import PythonTool


class Shelf:
    """Finds tools. ``steps``: the registry whose tools and middleware are the worker's."""

    def __init__(self, steps: Steps) -> None:
        self._steps = steps

    def find(self, name: str) -> CallableTool | None:
        """Return a tool, None where this worker has none of this name: another may."""
        tool = self._steps.tools.get(name)
        return None if tool is None else PythonTool(tool, self._steps.around)
