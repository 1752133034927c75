"""The steps of the scenarios' workflows. Every execution leaves a line in the journal before it does anything.

What a step returns is ``{"v": ..., "nonce": ...}``: ``v`` follows from its input alone, ``nonce`` says which execution
it was.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from typing import Any, cast

import anyio

from chaos.journal import count_executions_of, is_mended, note_execution, note_slot
from chaos.nonces import NONCE, without_nonces
from courante import Context, FatalError, step


def _enter(context: Context) -> str:
    return note_execution(
        context.run_id, context.node, context.scope, context.attempt, context.idempotency_key, context.worker
    )


def _result(given: Any, nonce: str) -> dict[str, Any]:
    plain = json.dumps(without_nonces(given), sort_keys=True, separators=(",", ":"))
    return {"v": zlib.crc32(plain.encode()), NONCE: nonce}


@step("chaos.work")
async def work(given: Any, context: Context) -> dict[str, Any]:
    """Take a few milliseconds on the loop."""
    nonce = _enter(context)
    await anyio.sleep(_ms(given) / 1000)
    return _result(given, nonce)


@step("chaos.thread")
def thread(given: Any, context: Context) -> dict[str, Any]:
    """Take a few milliseconds in a thread."""
    nonce = _enter(context)
    time.sleep(_ms(given) / 1000)
    return _result(given, nonce)


@step("chaos.block")
async def block(given: Any, context: Context) -> dict[str, Any]:
    """Hold up the whole event loop of the worker."""
    nonce = _enter(context)
    time.sleep(_ms(given) / 1000)  # noqa: ASYNC251 - that is what it is for
    return _result(given, nonce)


@step("chaos.slotted")
async def slotted(given: Any, context: Context) -> dict[str, Any]:
    """Say when it begins and ends, for whoever counts how many are at it at once. ``group``: of its input; the run."""
    nonce, group = _enter(context), str(given.get("group", "")) or context.run_id
    note_slot(group, context.idempotency_key, is_taken=True)
    await anyio.sleep(_ms(given) / 1000)
    note_slot(group, context.idempotency_key, is_taken=False)
    return _result(given, nonce)


@step("chaos.flaky")
async def flaky(given: Any, context: Context) -> dict[str, Any]:
    """Fail as often as ``fails`` says, then succeed."""
    nonce = _enter(context)
    if context.attempt <= int(given.get("fails", 0)):
        raise ConnectionError(f"attempt {context.attempt} fails")
    return _result(given, nonce)


@step("chaos.fatal")
async def fatal(given: Any, context: Context) -> dict[str, Any]:
    """Fail for good."""
    del given
    _enter(context)
    raise FatalError("as always")


@step("chaos.broken")
async def broken(given: Any, context: Context) -> dict[str, Any]:
    """Fail for good until somebody has mended it."""
    nonce = _enter(context)
    if not is_mended():
        raise FatalError("the shop is closed")
    return _result(given, nonce)


@step("chaos.poison")
async def poison(given: Any, context: Context) -> dict[str, Any]:
    """End the worker's process. ``times``: in how many executions; left out: in each."""
    nonce = _enter(context)
    before = count_executions_of(context.idempotency_key)
    if before <= int(given.get("times", 1_000_000)):
        os._exit(70)
    return _result(given, nonce)


@step("chaos.garbage")
async def garbage(given: Any, context: Context) -> Any:
    """Return what is no JSON."""
    _enter(context)
    return {"nan": float("nan"), "set": {1, 2}, "bytes": b"\xff", "huge": "x" * (17 << 20)}[given["kind"]]


def _ms(given: Any) -> float:
    """How long a step takes, in ms: ``ms`` of its input, if it has one."""
    return float(cast("dict[str, Any]", given).get("ms", 5)) if isinstance(given, dict) else 5.0
