"""Traces: what tools were asked and what they answered, by step and attempt, out of the log.

How long a call took and its error stand in the step's own row (``StepRow``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from ..events import decode_facts
from ..sealing.payload_terms import PAYLOAD_TERMS
from .connection import Connection
from .payloads import get_payloads, read_reference
from .queries import load_queries

TRACES_MAX = 200
"""The newest calls of a run that are told; a map may have made a million."""
_sql = load_queries("traces")


class Traced(NamedTuple):
    """One call. ``tool``: its name, where a template has given it. ``has_result``: whether it has ended well.

    Of what was emptied, and of what nobody has given, nothing is left but None.
    """

    tool: str = ""
    arguments: Any = None
    result: Any = None
    has_result: bool = False


async def list_traces(
    conn: Connection, env: str, run_id: str, nodes: Sequence[str], *, limit: int = TRACES_MAX
) -> dict[tuple[str, str, int], Traced]:
    """Return the newest calls of these nodes, by node, scope and attempt. Raises PayloadUnreadable."""
    if not nodes:
        return {}
    rows = await conn.fetch(_sql["list_traces"], run_id, list(nodes), 2 * limit)
    contents = await _contents(conn, env, [row["payload"] for row in rows])
    found: dict[tuple[str, str, int], Traced] = {}
    for row, content in zip(reversed(rows), reversed(contents), strict=True):
        key = row["node"], row["scope"], row["attempt"]
        known = found.get(key, Traced())
        value = None if content is None else msgspec.json.decode(content)
        if row["type"] == "step.input_kept":
            tool = decode_facts(row["facts"]).data.get("tool", "")
            found[key] = known._replace(arguments=value, tool=str(tool))
        else:
            found[key] = known._replace(result=value, has_result=True)
    return dict(list(found.items())[-limit:])


async def _contents(conn: Connection, env: str, payloads: Sequence[bytes | None]) -> list[bytes | None]:
    """Return what the payloads are, or refer to; None for what is gone."""
    references = [None if payload is None else read_reference(payload) for payload in payloads]
    stored = await get_payloads(conn, env, {each.digest for each in references if each is not None})
    found: list[bytes | None] = []
    for payload, reference in zip(payloads, references, strict=True):
        if reference is None:
            found.append(payload)
        else:
            content = stored.get(reference.digest)
            found.append(None if content is None else PAYLOAD_TERMS.decode(content))
    return found
