"""The public face as a user's type checker sees it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, assert_type

import courante
from courante import (
    Client,
    Context,
    Deferred,
    Diagnostic,
    FatalError,
    HttpError,
    Overlap,
    RetryableError,
    RunResult,
    Schedule,
    StepCall,
    Workflow,
    lifespan,
    middleware,
    normalize,
    step,
    workflow,
)
from courante.sdk.authoring.building import Flow


@step
def double(number: int) -> int:
    return number * 2


@step("shop.charge")
async def charge(amount: float, context: Context) -> dict[str, str]:
    if amount < 0:
        raise FatalError("nothing to charge")
    return {"key": context.idempotency_key}


@step("shop.ship")
async def ship(parcels: list[str], context: Context) -> Deferred | None:
    done: int = context.last_heartbeat or 0
    for number, parcel in enumerate(parcels[done:], done):
        if context.is_cancelled:
            raise RetryableError("stopped", retry_after_s=5)
        if not parcel:
            raise HttpError(503, "no carrier", retry_after="120")
        context.heartbeat(number)
    assert_type(str(await context.cancelled), str)
    return context.defer() if context.attempt < context.max_attempts else None


@step("shop.pack")
def pack(context_free: int, context: Context) -> bool:
    return context.cancelled.wait(0.1)


@step(isolation="process")
def render(pages: list[str]) -> int:
    return len(pages)


@middleware
async def told(call: StepCall) -> Any:
    assert_type(call.context, Context)
    return await call()


@lifespan
async def shared() -> AsyncIterator[dict[str, int]]:
    yield {"answer": 42}


@step("shop.fetch")
async def fetch(url: str, context: Context) -> dict[str, Any]:
    answer = await context.http.get(url, headers={"authorization": context.secret("SHOP")})
    assert_type(answer.status_code, int)
    context.logger.info("fetched", count=context.resources["answer"])
    return await context.artifact(answer.content, "image/png")


def build() -> Flow:
    flow = workflow("shop", name="Shop")
    first = flow.step("render", render, timeout="30s")
    decide = flow.node("decide", "conditional", after=first)
    decide.when("output > 1", flow.node("many", "noop")).otherwise(flow.node("few", "noop"))
    assert_type(flow.workflow(), Workflow)
    return flow


async def use() -> None:
    async with Client.open(redis_url="redis://", database_url="postgresql://") as client:
        run_id = await client.submit("shop", {"amount": 3}, key="order-7")
        assert_type(run_id, str)
        assert_type(await client.wait(run_id, timeout_s=10), RunResult)
        nightly = Schedule(id="nightly", workflow="shop", cron="0 2 * * *", overlap=Overlap.ALLOW)
        assert_type((await client.schedules.create(nightly)).schedule, Schedule)


assert_type(double(2), int)
assert_type(render(["a"]), int)
assert_type(normalize({}), tuple[Workflow | None, list[Diagnostic]])
assert_type(courante.__version__, str)
