"""Names of tools: what they may be in documents, in Python and in the file of their operator."""

TOOL_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,127}$"
TOOL_NAME_HINT = "letters, digits, '_', '.' and '-', at most 128"
HANDLER_PREFIX = "tool:"
"""Before the name of a tool, where tools stand among the handlers of a worker."""

SERVER_NAME_PATTERN = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
"""Of MCP servers: their tools are called SERVER.TOOL."""
