"""Plans: the IRs that a worker has met, ready for use. Oldest out first."""

from __future__ import annotations

from collections import OrderedDict

import msgspec
import structlog

from ..compiler.ir import READABLE, IrHash
from ..sdk.floor.calling import Connection
from ..sdk.keys import Keys
from ..sdk.marking.plan import Plan
from ..sdk.outcomes.node_code import NodeCode, compile_node

PLANS_MAX = 1_000
log = structlog.get_logger()


class Plans:
    """Loads IRs by hash. Node code is compiled when a node first runs."""

    def __init__(self, redis: Connection, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._code: dict[tuple[str, int], NodeCode] = {}

    def known(self, ir_hash: str) -> Plan | None:
        return self._plans.get(ir_hash)

    async def load(self, ir_hash: str) -> Plan | None:
        """Return the plan, or None where Redis does not have the IR or this version cannot read it."""
        plan = self._plans.get(ir_hash)
        if plan is not None:
            return plan
        content = await self._redis.get(self._keys.ir(ir_hash))
        if content is None:
            log.warning("ir_missing", ir=ir_hash)
            return None
        try:
            plan = Plan.load(IrHash(ir_hash), content)
        except msgspec.MsgspecError as error:
            log.warning("ir_unreadable", ir=ir_hash, error=str(error))
            return None
        if plan.ir.ir_version not in READABLE:
            log.warning("ir_version_unknown", ir=ir_hash, version=plan.ir.ir_version)
            return None
        self._plans[ir_hash] = plan
        if len(self._plans) > PLANS_MAX:
            gone, _ = self._plans.popitem(last=False)
            self._code = {key: code for key, code in self._code.items() if key[0] != gone}
        return plan

    def code(self, plan: Plan, number: int) -> NodeCode:
        key = (plan.hash, number)
        code = self._code.get(key)
        if code is None:
            code = self._code[key] = compile_node(plan.ir, plan.ir.nodes[number])
        return code
