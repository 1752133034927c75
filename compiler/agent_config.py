"""The config of nodes of type ``agent``: that of ``llm``, the tools of the model, and how often it is asked."""

from __future__ import annotations

from typing import Any

from .diagnostics import Path
from .findings import Findings
from .llm_config import LLM_READERS
from .reading import read_choice, read_fields, read_integer
from .tool_config import read_tool_names
from .workflow import Json

TURNS_MAX = 1_000
TURNS_DEFAULT = 10
EXHAUSTED = ("fail", "answer")
"""What becomes of an agent that has not come to an end within its turns."""


def read_agent(config: dict[str, Json], path: Path, findings: Findings) -> dict[str, Any]:
    """Read a config. Without ``prompt`` and ``messages`` the node's input is the prompt."""
    return read_fields(config, path, findings, _READERS)


def _turns(value: Json, path: Path, findings: Findings) -> int:
    return read_integer(value, path, findings, low=1, high=TURNS_MAX)


def _exhausted(value: Json, path: Path, findings: Findings) -> str:
    return read_choice(value, path, findings, EXHAUSTED, EXHAUSTED[0])


_READERS = {**LLM_READERS, "tools": read_tool_names, "max_turns": _turns, "on_exhausted": _exhausted}
