"""The public face as a user's type checker sees it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import assert_type

import courante
from courante import Client, Context, Diagnostic, FatalError, RunResult, Workflow, normalize, step


@step
def double(number: int) -> int:
    return number * 2


@step("shop.charge")
async def charge(amount: float, context: Context) -> dict[str, str]:
    if amount < 0:
        raise FatalError("nothing to charge")
    return {"key": context.idempotency_key}


async def use() -> None:
    async with Client.open(redis_url="redis://", database_url="postgresql://") as client:
        run_id = await client.submit("shop", {"amount": 3}, key="order-7")
        assert_type(run_id, str)
        assert_type(await client.wait(run_id, timeout_s=10), RunResult)


assert_type(double(2), int)
assert_type(normalize({}), tuple[Workflow | None, list[Diagnostic]])
assert_type(courante.__version__, str)
