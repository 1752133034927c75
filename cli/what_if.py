"""``courante replay --what-if``: how past runs would be routed by another version of their workflow."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from click import style

from ..compiler.ir import IrHash, encode_ir, ir_hash
from ..sdk.corrupt import Corrupt
from ..sdk.errors import CouranteError
from ..sdk.lineage import Lineage
from ..sdk.plan import Plan
from ..sdk.stores.connection import Connection
from ..sdk.stores.log import stream_events
from ..sdk.stores.payloads import resolve
from ..sdk.stores.runs import list_runs
from ..sdk.stores.workflows import get_ir, list_versions
from .call import Call
from .exits import CliError, ExitCode
from .output import Output
from .texts import count_text, list_text

if TYPE_CHECKING:
    from ..replay.what_if import Place, WhatIf

LATEST = "latest"
FILES = frozenset({".yaml", ".yml", ".json", ".py"})
GLYPHS = {"same": "ok", "differs": "warning", "unknown": "idle"}
_HASH = re.compile(r"[0-9a-f]{6,32}")


class OtherVersion:
    """What is asked for: a document, or for each workflow the version of that number, hash or ``latest``."""

    def __init__(self, call: Call, wanted: str) -> None:
        """Raises CliError for a document that has errors."""
        self.wanted = wanted
        self._document: Plan | None = None
        self._plans: dict[str, Plan] = {}
        if wanted == "-" or Path(wanted).suffix in FILES or Path(wanted).is_file():
            from .documents import compile_file

            _, ir = compile_file(wanted).require(call.out)
            self._document = Plan(ir_hash(encode_ir(ir)), ir)

    async def of(self, conn: Connection, env: str, workflow: str) -> Plan:
        """Raises CliError."""
        if self._document is not None:
            return self._document
        plan = self._plans.get(workflow)
        if plan is None:
            address = await self._address(conn, env, workflow)
            content = await get_ir(conn, env, address)
            if content is None:
                raise CliError(ExitCode.NOT_FOUND, "ir_not_found", f"of {workflow}: there is no IR {address}")
            plan = self._plans[workflow] = Plan.load(IrHash(address), content)
        return plan

    async def _address(self, conn: Connection, env: str, workflow: str) -> str:
        versions, text = await list_versions(conn, env, workflow), self.wanted.strip().lower()
        if not (text == LATEST or (text.isdecimal() and len(text) < 10) or _HASH.fullmatch(text)):
            hint = "a number, the hash of its IR, 'latest', or the name of a workflow file"
            raise CliError(
                ExitCode.USAGE, "bad_version", f"--what-if {self.wanted!r:.100}: no version and no file", hint
            )
        found = [row for row in versions if text == LATEST or str(row.version) == text]
        found = found or [row for row in versions if _HASH.fullmatch(text) and row.ir_hash.startswith(text)]
        if not found:
            hint = f"'courante workflows show {workflow}' lists its versions"
            raise CliError(ExitCode.NOT_FOUND, "workflow_not_found", f"{workflow!r} has no version {self.wanted}", hint)
        return max(found, key=lambda row: row.version).ir_hash


async def chosen(
    conn: Connection,
    env: str,
    run_ids: Sequence[str],
    since: datetime | None,
    limit: int,
    filters: Mapping[str, str | None],
) -> AsyncGenerator[str]:
    """The runs that were named, else the newest that the filters let through."""
    if run_ids:
        for run_id in dict.fromkeys(run_ids):
            yield run_id
        return
    page = await list_runs(
        conn, env, since=since, limit=limit, workflow=filters.get("workflow"), status=filters.get("status")
    )
    for run in page.runs:
        yield run.run_id


async def ask_run(conn: Connection, env: str, run_id: str, lineage: Lineage, other: OtherVersion) -> WhatIf:
    """Ask of one run. Reads its log as a stream. Raises CliError, PayloadUnreadable."""
    from ..replay.what_if import WhatIf, what_if
    from ..sdk.oracle import Memory

    before, version = lineage.last, lineage.stages[-1].version
    after = await other.of(conn, env, before.ir.workflow)
    memory, has_input = Memory(lineage.first.ir, lineage.irs), True
    try:
        async for event in stream_events(conn, run_id):
            has_input = has_input and (event.seq > 1 or event.payload is not None)
            memory.add(event)
    except (Corrupt, CouranteError) as error:
        told = f"the log contradicts the rules: {error}" if isinstance(error, Corrupt) else str(error)
        return WhatIf(run_id=run_id, version=version, verdict="unknown", error=told)
    oracle = memory.oracle()
    if not oracle.seq:
        return WhatIf(run_id=run_id, version=version, verdict="unknown", error="the run has not begun")
    return await what_if(
        before, after, oracle, lambda value: resolve(conn, env, value), version=version, has_input=has_input
    )


def show(out: Output, answers: Sequence[WhatIf], wanted: str) -> None:
    """Tell everything, for people and as JSON."""
    counts = {verdict: sum(one.verdict == verdict for one in answers) for verdict in GLYPHS}
    out.json({"what_if": wanted, "runs": [_json(one) for one in answers], **counts})
    for one in answers:
        out.text(f"{out.glyph(GLYPHS[one.verdict])} {one.run_id} v{one.version}: {style(one.verdict, bold=True)}")
        if one.error:
            out.text(f"    {one.error}")
        for decision in one.decisions:
            place = f"{decision.step} {decision.scope}".strip()
            out.text(f"    {place}: {style(decision.before, fg='red')} -> {style(decision.after, fg='green')}")
        for word, places in (
            ("would be executed, and nothing is known of it", one.executed),
            ("would not be reached", one.not_reached),
            ("depends on what is not known", one.open),
            ("cannot be decided, as payloads are not stored any more", one.unchecked),
        ):
            if places:
                out.text(f"    {word}: {list_text([_text(place) for place in places])}")
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    out.text(f"{count_text(len(answers), 'run')}: {told}")


def _text(place: Place) -> str:
    return f"{place.step} {place.scope}".strip()


def _json(one: WhatIf) -> dict[str, Any]:
    return {name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(one).items()}
