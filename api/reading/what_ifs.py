"""What if: past runs and another version of their workflow, as the API and commands ask."""

from __future__ import annotations

import re

from ...compiler.ir import Ir, IrHash, encode_ir, ir_hash
from ...replay.what_if import WhatIf, what_if
from ...sdk.corrupt import Corrupt
from ...sdk.errors import CouranteError, IrNotFound, WorkflowNotFound
from ...sdk.marking.plan import Plan
from ...sdk.reenactment.log_references import event_of, without_payload
from ...sdk.reenactment.oracle import Memory
from ...sdk.stores.connection import Connection
from ...sdk.stores.errors import BadFilter
from ...sdk.stores.log import stream_events
from ...sdk.stores.payloads import event_payload, resolve
from ...sdk.stores.workflows import get_ir, list_versions
from .states import lineage_of

LATEST = "latest"
_HASH = re.compile(r"[0-9a-f]{6,32}")


def is_version(text: str) -> bool:
    """Return whether it is a number, the hash of an IR or the beginning of one, or ``latest``."""
    text = text.strip().lower()
    return text == LATEST or (text.isdecimal() and len(text) < 10) or _HASH.fullmatch(text) is not None


class OtherVersion:
    """What is asked for: a document, or for each workflow the version of that number, hash or ``latest``."""

    def __init__(self, wanted: str | Ir) -> None:
        """Raises BadFilter."""
        self._wanted = wanted if isinstance(wanted, str) else ""
        self._document = None if isinstance(wanted, str) else Plan(ir_hash(encode_ir(wanted)), wanted)
        self._plans: dict[str, Plan] = {}
        if isinstance(wanted, str) and not is_version(wanted):
            raise BadFilter("version", f"{wanted!r:.100}: no number, no hash of an IR, and not latest")

    async def of(self, conn: Connection, env: str, workflow: str) -> Plan:
        """Raises WorkflowNotFound, IrNotFound."""
        if self._document is not None:
            return self._document
        plan = self._plans.get(workflow)
        if plan is None:
            address = await self._address(conn, env, workflow)
            content = await get_ir(conn, env, address)
            if content is None:
                raise IrNotFound(f"of {workflow}: there is no IR {address}")
            plan = self._plans[workflow] = Plan.load(IrHash(address), content)
        return plan

    async def _address(self, conn: Connection, env: str, workflow: str) -> str:
        versions, text = await list_versions(conn, env, workflow), self._wanted.strip().lower()
        found = [row for row in versions if text == LATEST or str(row.version) == text]
        found = found or [row for row in versions if _HASH.fullmatch(text) and row.ir_hash.startswith(text)]
        if not found:
            hint = f"'courante workflows show {workflow}' lists its versions"
            raise WorkflowNotFound(f"{workflow!r} has no version {self._wanted}", hint=hint)
        return max(found, key=lambda row: row.version).ir_hash


async def ask_run(conn: Connection, env: str, run_id: str, other: OtherVersion) -> WhatIf:
    """Ask of one run. Reads its log as a stream, and again what decisions need of it; in memory is what they need last.

    Raises UnknownRun, IrNotFound, WorkflowNotFound, LogArchived, PayloadUnreadable.
    """
    lineage = await lineage_of(conn, env, run_id)
    before, version = lineage.last, lineage.stages[-1].version
    after = await other.of(conn, env, before.ir.workflow)
    memory = Memory(lineage.first.ir, lineage.irs)
    try:
        async for event in stream_events(conn, run_id):
            memory.add(without_payload(event))
    except (Corrupt, CouranteError) as error:
        told = f"the log contradicts the rules: {error}" if isinstance(error, Corrupt) else str(error)
        return WhatIf(run_id=run_id, version=version, verdict="unknown", error=told)
    oracle = memory.oracle()
    if not oracle.seq:
        return WhatIf(run_id=run_id, version=version, verdict="unknown", error="the run has not begun")

    async def bring(reference: bytes) -> bytes | None:
        seq = event_of(reference)
        return await (resolve(conn, env, reference) if seq is None else event_payload(conn, env, run_id, seq))

    return await what_if(before, after, oracle, bring, version=version)
