"""The journal: writes unsafe requests to the operator log before they are answered.

Requests that are answered at the same time share a commit. A request that has been carried out is answered as it is,
also where it could not be written down; the log of the process then has it.
"""

from __future__ import annotations

import anyio
import structlog

from ...sdk.client.operators import Operators
from ...sdk.errors import CouranteError
from ...sdk.stores.operator_log import Operation

PATIENCE_S = 10.0
log = structlog.get_logger()


class _Waiting:
    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.is_done = False


class Journal:
    def __init__(self, operators: Operators) -> None:
        self._operators = operators
        self._waiting: list[_Waiting] = []
        self._turn = anyio.Lock()

    async def note(self, operation: Operation) -> None:
        """Return when it is written, or cannot be."""
        mine = _Waiting(operation)
        self._waiting.append(mine)
        async with self._turn:
            if mine.is_done:
                return
            batch, self._waiting = self._waiting, []
            await self._write([each.operation for each in batch])
            for each in batch:
                each.is_done = True

    async def _write(self, operations: list[Operation]) -> None:
        try:
            with anyio.fail_after(PATIENCE_S):
                await self._operators.note(*operations)
        except (CouranteError, TimeoutError) as error:
            for each in operations:
                fields = {"by": each.by, "action": each.action, "result": each.result, "address": each.address}
                log.error("operation_not_recorded", error=str(error), **fields)
