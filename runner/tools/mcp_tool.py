"""A tool of an MCP server, called SERVER.TOOL: its arguments go as they are, its structured result comes back.

A server that gives no structured result gives text, pictures and the like: one text is a text, several things are a
list; what is no text is stored as an artifact.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Protocol

from ...sdk.authoring.context import Context
from ...sdk.outcomes.step_context import StepError, encode_json
from ...sdk.sealing.artifacts import CONTENT_TYPE, Artifact
from ...sdk.secrets.redaction import REDACTOR, mask_values
from .mcp_servers import McpServer
from .offer import CALL_S, ToolOffer, read_arguments

if TYPE_CHECKING:
    from mcp.types import CallToolResult

SHOWN_CHARS = 2_000


class Keeper(Protocol):
    """Where what is no JSON is kept."""

    async def keep_artifact(self, content: bytes, content_type: str) -> Artifact: ...


class McpTool:
    """One tool. ``tool``: its name at the server."""

    def __init__(self, server: McpServer, tool: str, keeper: Keeper) -> None:
        self._server = server
        self._tool = tool
        self._keeper = keeper

    @property
    def name(self) -> str:
        return f"{self._server.name}.{self._tool}"

    async def offer(self) -> ToolOffer:
        found = await self._server.find(self._tool)
        if found is None:
            raise StepError("CONFIG_INVALID", f"the MCP server {self._server.name!r} has no tool {self._tool!r}")
        return ToolOffer(name=self.name, description=found.description or "", schema=dict(found.input_schema))

    async def call(self, arguments: bytes, context: Context, limit_s: float | None = CALL_S) -> bytes:
        del context
        answer = await self._server.call(self._tool, read_arguments(arguments), limit_s)
        if answer.is_error:
            said = "\n".join(part.text for part in answer.content if part.type == "text")
            raise StepError(
                "TOOL_FAILED", REDACTOR.redact(said)[:SHOWN_CHARS] or f"{self.name!r} failed and does not say why"
            )
        output = encode_json(await self._result(answer))
        return mask_values(output, self._server.secrets.used)

    async def _result(self, answer: CallToolResult) -> Any:
        if answer.structured_content is not None:
            return answer.structured_content
        parts = [await self._part(part) for part in answer.content]
        return parts[0] if len(parts) == 1 else parts

    async def _part(self, part: Any) -> Any:
        if part.type == "text":
            return part.text
        if part.type in ("image", "audio"):
            return await self._kept(part.data, part.mime_type)
        if part.type == "resource" and hasattr(part.resource, "text"):
            return part.resource.text
        if part.type == "resource":
            return await self._kept(part.resource.blob, part.resource.mime_type)
        return part.model_dump(mode="json", by_alias=True, exclude_none=True)

    async def _kept(self, encoded: str, content_type: str | None) -> dict[str, Any]:
        try:
            content = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise StepError("OUTPUT_INVALID", f"{self.name!r} gives what is no base64: {error}") from error
        return (await self._keeper.keep_artifact(content, content_type or CONTENT_TYPE)).reference
