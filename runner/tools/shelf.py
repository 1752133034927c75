"""The shelf: all tools that a worker has, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...sdk.authoring.declared_tools import DeclaredTools
from ...sdk.authoring.steps import Steps
from ...sdk.secrets.secrets import Secrets
from .http_tool import HttpTool
from .offer import CallableTool
from .python_tool import PythonTool

if TYPE_CHECKING:
    from ..http.calling import HttpTools
    from .mcp_servers import McpServers


class TwoTools(ValueError):
    """Two tools have the same name."""


def check_names(steps: Steps, declared: DeclaredTools) -> None:
    """Raise TwoTools where a tool in Python has the name of a declared one."""
    for name in steps.tools.names():
        if name in declared.http or name.partition(".")[0] in declared.servers:
            raise TwoTools(f"two tools are named {name!r}: one in Python, and one that is declared")


class Shelf:
    """Finds tools. ``steps``: the registry whose tools and middleware are the worker's. ``servers``: where any are.

    ``lent``: what the worker lends to calls.
    """

    def __init__(
        self, steps: Steps, declared: DeclaredTools, servers: McpServers | None, lent: HttpTools, secrets: Secrets
    ) -> None:
        self._steps = steps
        self._servers = servers
        self._lent = lent
        self._http = {name: HttpTool(each, lent, secrets) for name, each in declared.http.items()}

    def find(self, name: str) -> CallableTool | None:
        """Return a tool, None where this worker has none of this name: another may."""
        tool = self._steps.tools.get(name)
        if tool is not None:
            return PythonTool(tool, self._steps.around)
        server, dot, rest = name.partition(".")
        found = self._servers.get(server) if dot and self._servers is not None else None
        if found is not None:
            from .mcp_tool import McpTool

            return McpTool(found, rest, self._lent)
        return self._http.get(name)
