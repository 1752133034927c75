"""The catalog: registered workflows, ready to start. Keeps plans by IR, and puts IRs into Redis before their use."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from typing import NamedTuple

import msgspec

from ...compiler.diagnostics import Diagnostic, Severity
from ...compiler.document import to_document
from ...compiler.ir import Ir, IrHash, encode_ir, ir_hash
from ...compiler.subflows import subflows_of
from ...compiler.workflow import Workflow
from ..errors import InputInvalid, IrUnreadable, WorkflowNotFound
from ..floor.calling import Connection
from ..keys import Keys
from ..marking.plan import Plan
from ..schema_checks import SchemaChecks
from ..stores import workflows
from ..stores.connection import Connection as Database
from ..stores.connection import Pool
from ..stores.errors import UnknownWorkflow

CACHED_MAX = 1_000
"""Plans that are kept; the oldest go first."""


class Registered(NamedTuple):
    """``warnings``: workflows that it runs as steps, and that nobody has registered yet."""

    workflow: str
    version: int
    ir_hash: str
    is_new: bool
    warnings: tuple[Diagnostic, ...] = ()


class Resolved(NamedTuple):
    """A version that can be started. ``is_paused``: its runs are to stand still from their beginning."""

    workflow: str
    version: int
    plan: Plan
    is_paused: bool = False


class Catalog:
    """Reads and writes ``workflows`` of one environment."""

    def __init__(self, redis: Connection, pool: Pool, keys: Keys) -> None:
        self._redis = redis
        self._pool = pool
        self._keys = keys
        self._plans: dict[str, Plan] = {}
        self._known: dict[str, Plan] = {}
        self.schemas = SchemaChecks()

    async def register(self, workflow: Workflow, ir: Ir, source: str | None = None) -> Registered:
        """Keep a version; the same content is the same version. Postgres first, then Redis."""
        content = encode_ir(ir)
        address = ir_hash(content)
        document = msgspec.json.encode(to_document(workflow), order="deterministic")
        async with self._pool.acquire() as conn:
            before = {v.version for v in await workflows.list_versions(conn, self._keys.env, workflow.id)}
            version = await workflows.register(
                conn,
                self._keys.env,
                workflow.id,
                name=workflow.name,
                document=document,
                ir_hash=address,
                ir=content,
                source=source,
            )
            warnings = [found async for found in self._unknown_subflows(conn, workflow)]
        await self._redis.set(self._keys.ir(address), content)
        return Registered(workflow.id, version, address, version not in before, tuple(warnings))

    async def _unknown_subflows(self, conn: Database, workflow: Workflow) -> AsyncIterator[Diagnostic]:
        """Yield a warning for each; no error, because two workflows may run each other, and one comes first."""
        known: dict[tuple[str, int | None], bool] = {}
        for number, name, version in subflows_of(workflow.id, workflow.nodes):
            asked = (name, version)
            if asked not in known:
                try:
                    await workflows.get(conn, self._keys.env, name, version)
                    known[asked] = True
                except UnknownWorkflow:
                    known[asked] = False
            if not known[asked]:
                told = f"nobody has registered {name!r}{'' if version is None else f' version {version}'} yet"
                path = ("nodes", number, "config", "workflow" if version is None else "version")
                hint = f"step {workflow.nodes[number].id!r} fails until then: courante init FILE"
                yield Diagnostic(code="unknown_workflow", severity=Severity.WARNING, message=told, path=path, hint=hint)

    async def resolve(self, conn: Database, workflow: str, version: int | None) -> Resolved:
        """Return a version, the latest where none is asked for. Raises WorkflowNotFound, IrUnreadable."""
        try:
            row = await workflows.get(conn, self._keys.env, workflow, version)
        except UnknownWorkflow as error:
            raise WorkflowNotFound(str(error)) from error
        return Resolved(workflow, row.version, await self.plan(row.ir_hash, conn), row.is_paused)

    async def plan(self, address: str, conn: Database | None = None) -> Plan:
        """Return an IR ready for use, and see that Redis has it. Raises WorkflowNotFound, IrUnreadable."""
        plan = self._plans.get(address)
        if plan is not None:
            return plan
        if conn is None:
            async with self._pool.acquire() as own:
                return await self.plan(address, own)
        content = await self._read(address, conn)
        await self._redis.set(self._keys.ir(address), content)
        return _keep(self._plans, _decoded(address, content))

    async def known_plan(self, address: str, conn: Database) -> Plan:
        """Return an IR of a run that was started, whether or not Redis can be reached.

        Raises WorkflowNotFound, IrUnreadable.
        """
        plan = self._plans.get(address) or self._known.get(address)
        if plan is None:
            plan = _keep(self._known, _decoded(address, await self._read(address, conn)))
        return plan

    async def irs(self, addresses: Iterable[str]) -> dict[str, Ir]:
        """Return those that are known and can be read. Without any address nobody is asked."""
        found: dict[str, Ir] = {}
        wanted = set(addresses)
        if not wanted:
            return found
        async with self._pool.acquire() as conn:
            for address in wanted:
                with suppress(WorkflowNotFound, IrUnreadable):
                    found[address] = (await self.known_plan(address, conn)).ir
        return found

    async def _read(self, address: str, conn: Database) -> bytes:
        content = await workflows.get_ir(conn, self._keys.env, address)
        if content is None:
            raise WorkflowNotFound(f"there is no IR {address}")
        return content

    def check_input(self, plan: Plan, content: bytes) -> None:
        """Raise InputInvalid, with every problem and its place, where JSON bytes do not fit the workflow's schema."""
        schema = plan.ir.input_schema
        if schema is None:
            return
        problems = self.schemas.problems(plan.hash, schema, msgspec.json.decode(content), "input")
        if problems:
            raise InputInvalid(f"the input does not fit {plan.ir.workflow!r}: {problems[0]}", problems)


def _decoded(address: str, content: bytes) -> Plan:
    try:
        return Plan.load(IrHash(address), content)
    except msgspec.MsgspecError as error:
        raise IrUnreadable(address) from error


def _keep(plans: dict[str, Plan], plan: Plan) -> Plan:
    plans[plan.hash] = plan
    while len(plans) > CACHED_MAX:
        del plans[next(iter(plans))]
    return plan
