"""The config of nodes of type ``tool``: which tool, and values of its arguments."""

from __future__ import annotations

import re
from typing import Any

from .diagnostics import Path
from .findings import Findings, quote
from .reading import missing_field, read_list, wrong_type
from .tool_names import TOOL_NAME_HINT, TOOL_NAME_PATTERN
from .workflow import Json

TOOL_FIELDS = ("tool", "allow")
"""Every other field is an argument."""
_NAME = re.compile(TOOL_NAME_PATTERN.removesuffix("$"))


def read_tool(config: dict[str, Json], path: Path, findings: Findings) -> dict[str, Any]:
    """Check a config; what it does not know is left as it is."""
    if "tool" not in config:
        missing_field("tool", path, findings, "the name of a tool")
        return config
    made: dict[str, Any] = {**config, "tool": _name(config["tool"], (*path, "tool"), findings)}
    if "allow" in config:
        made["allow"] = read_tool_names(config["allow"], (*path, "allow"), findings)
    return made


def read_tool_names(value: Json, path: Path, findings: Findings) -> list[str]:
    """A list of names of tools, each once."""
    names = [read_tool_name(each, (*path, at), findings) for at, each in enumerate(read_list(value, path, findings))]
    return list(dict.fromkeys(names))


def read_tool_name(value: Json, path: Path, findings: Findings) -> str:
    if not isinstance(value, str):
        wrong_type(findings, path, "the name of a tool", value)
    elif not _NAME.fullmatch(value):
        findings.error("bad_name", f"{quote(value)} is no name of a tool", path, TOOL_NAME_HINT)
    else:
        return value
    return ""


def _name(value: Json, path: Path, findings: Findings) -> Json:
    """A name, or a template that gives one."""
    return value if isinstance(value, str) and "{{" in value else read_tool_name(value, path, findings)
