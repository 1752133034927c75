"""Declared tools: services and MCP servers whose tools workers call, out of a file of the operator (setting ``tools``).

Never out of a workflow: what is started on a worker's machine, and where its secrets are sent, is not a document's
business. The file is YAML or JSON and is read once, when a worker begins; every fault is told with its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...compiler.cel import SECRET_ROOT, ExpressionError
from ...compiler.diagnostics import Diagnostic, has_errors
from ...compiler.diagnostics import Path as Place
from ...compiler.findings import Findings, quote
from ...compiler.http_config import HTTP_FIELDS, read_http
from ...compiler.json_schema import read_json_schema
from ...compiler.reading import missing_field, read_fields, read_list, read_object, read_text
from ...compiler.source import SourceError, load_source
from ...compiler.templates import compile_value
from ...compiler.tool_config import read_tool_name
from ...compiler.tool_names import SERVER_NAME_PATTERN
from ...compiler.workflow import Json
from .tools import handler_of, handler_of_server

SECRET_ROOTS = frozenset({SECRET_ROOT})
ROOTS = SECRET_ROOTS | {"arguments"}
"""What templates of an HTTP tool read; those of a server read secrets only."""
_SERVER_NAME = re.compile(SERVER_NAME_PATTERN.removesuffix("$"))


class ToolsFileError(ValueError):
    """A file of tools that cannot be used. ``problems``: a line each, with their places."""

    def __init__(self, path: Path, problems: list[str]) -> None:
        super().__init__(path, problems)
        self.path = path
        self.problems = problems

    def __str__(self) -> str:
        return "; ".join(f"{self.path}:{problem}" for problem in self.problems)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredHttpTool:
    """A call over HTTP. ``schema``: of its arguments. ``config``: as nodes of type ``http`` have it."""

    name: str
    description: str = ""
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "object"})
    config: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredServer:
    """An MCP server: a ``command`` to start, or a ``url`` to call. ``env``, ``headers``: with templates of secrets."""

    name: str
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    directory: str | None = None
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredTools:
    """All that a file declares, by name."""

    http: Mapping[str, DeclaredHttpTool] = field(default_factory=dict[str, DeclaredHttpTool])
    servers: Mapping[str, DeclaredServer] = field(default_factory=dict[str, DeclaredServer])

    def handlers(self) -> list[str]:
        """What a worker that has them announces; of a server that it has all of its tools."""
        return [*map(handler_of, self.http), *map(handler_of_server, self.servers)]


NOTHING_DECLARED = DeclaredTools()


def load_tools(path: Path | None) -> DeclaredTools:
    """Read a file; none declares nothing. Raises ToolsFileError."""
    if path is None:
        return NOTHING_DECLARED
    try:
        source = load_source(path.read_bytes())
    except OSError as cause:
        raise ToolsFileError(path, [f" the file cannot be read: {cause.strerror}"]) from cause
    except SourceError as cause:
        raise ToolsFileError(path, list(map(_told, cause.diagnostics))) from cause
    findings = Findings()
    made = _read(source.value, findings)
    found = list(findings)
    if has_errors(found):
        raise ToolsFileError(path, list(map(_told, source.locate(found))))
    return made


def _told(diagnostic: Diagnostic) -> str:
    hint = f" ({diagnostic.hint})" if diagnostic.hint else ""
    return f"{diagnostic.line}:{diagnostic.column}: {diagnostic.message}{hint}"


def _read(value: Json, findings: Findings) -> DeclaredTools:
    made = read_fields(value, (), findings, {"http": _http_tools, "mcp": _servers})
    tools = DeclaredTools(http=made.get("http", {}), servers=made.get("mcp", {}))
    for name in tools.http:
        if name.partition(".")[0] in tools.servers:
            told = f"{quote(name)} is a tool of the MCP server {name.partition('.')[0]!r} too"
            findings.error("conflicting_fields", told, ("http", name), "rename one of them")
    return tools


def _http_tools(value: Json, path: Place, findings: Findings) -> dict[str, DeclaredHttpTool]:
    fields = read_object(value, path, findings)
    for name in fields:
        read_tool_name(name, (*path, name), findings)
    return {name: _http_tool(name, below, (*path, name), findings) for name, below in fields.items()}


def _http_tool(name: str, value: Json, path: Place, findings: Findings) -> DeclaredHttpTool:
    fields = read_object(value, path, findings)
    own = {field: below for field, below in fields.items() if field not in HTTP_FIELDS}
    made = read_fields(own, path, findings, {"description": read_text, "schema": read_json_schema})
    if "url" not in fields and isinstance(value, dict):
        missing_field("url", path, findings)
    config = read_http({field: below for field, below in fields.items() if field in HTTP_FIELDS}, path, findings)
    for field_name, below in config.items():
        _check_templates(below, (*path, field_name), findings, ROOTS)
    return DeclaredHttpTool(name=name, config=config, **made)


def _servers(value: Json, path: Place, findings: Findings) -> dict[str, DeclaredServer]:
    fields = read_object(value, path, findings)
    for name in fields:
        if not _SERVER_NAME.fullmatch(name):
            told = f"{quote(name)} is no name of an MCP server"
            findings.error("bad_name", told, (*path, name), f"it must match {SERVER_NAME_PATTERN}")
    return {name: _server(name, below, (*path, name), findings) for name, below in fields.items()}


def _server(name: str, value: Json, path: Place, findings: Findings) -> DeclaredServer:
    readers = {"command": _command, "env": _texts, "directory": read_text, "url": _url, "headers": _texts}
    made = read_fields(value, path, findings, readers)
    if ("command" in made) == ("url" in made) and isinstance(value, dict):
        message = "a server has a 'command' that starts it, or the 'url' where it listens"
        findings.error("conflicting_fields", message, path, "say one of them")
    for other, belongs in (("env", "command"), ("directory", "command"), ("headers", "url")):
        if other in made and belongs not in made:
            findings.error("conflicting_fields", f"{other!r} belongs to a {belongs!r}", (*path, other), "leave it out")
    return DeclaredServer(name=name, **made)


def _command(value: Json, path: Place, findings: Findings) -> tuple[str, ...]:
    words = tuple(read_text(word, (*path, at), findings) for at, word in enumerate(read_list(value, path, findings)))
    if not words or not words[0]:
        findings.error("missing_field", "the command is empty", path, "a list: the program, then its arguments")
    return words


def _url(value: Json, path: Place, findings: Findings) -> str:
    text = read_text(value, path, findings)
    if not re.match(r"https?://[^/\s]+", text):
        findings.error("bad_url", f"url can not be {quote(text)}", path, "a URL begins with https:// or http://")
    return text


def _texts(value: Json, path: Place, findings: Findings) -> dict[str, str]:
    fields = read_object(value, path, findings)
    made = {name: read_text(below, (*path, name), findings) for name, below in fields.items()}
    _check_templates(dict(made), path, findings, SECRET_ROOTS)
    return made


def _check_templates(value: Json, path: Place, findings: Findings, roots: frozenset[str]) -> None:
    errors: list[ExpressionError] = []
    compile_value(value, roots=roots, errors=errors)
    for error in errors:
        findings.error(error.code, error.message, (*path, *error.path), error.hint)
