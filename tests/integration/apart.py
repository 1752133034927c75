"""Steps that run in processes of their own."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.lowlevel
import msgspec

from courante import Context, Deferred


class Order(msgspec.Struct):
    amount: float


class Refused(Exception):
    """Carried over to the worker as it is."""


class Unwritable(Exception):
    """Cannot be carried over."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__(f"{first} and {second}")


class Disguised(Exception):
    """Whoever reads it back gets something that is no exception."""

    def __reduce__(self) -> tuple[type[dict[str, str]], tuple[()]]:
        return dict, ()


def where(order: Order, context: Context) -> dict[str, object]:
    print("what a step prints does not disturb the pipe")
    facts = [context.run_id, context.node, context.attempt, context.idempotency_key]
    return {"pid": os.getpid(), "amount": order.amount, "context": facts}


async def asynchronous(given: int) -> int:
    await anyio.lowlevel.checkpoint()
    return given + 1


def busy(path: str) -> None:
    """Says who it is, and computes for ever without looking at anything."""
    Path(path).write_text(str(os.getpid()), encoding="utf-8")
    while True:
        pass


def raises(how: str) -> None:
    if how == "refused":
        raise Refused("no stock")
    if how == "unwritable":
        raise Unwritable(1, 2)
    if how == "disguised":
        raise Disguised("no parcel")
    if how == "exit":
        sys.exit(3)
    if how == "interrupt":
        raise KeyboardInterrupt
    os.kill(os.getpid(), 9)


def leaves_an_heir(path: str) -> None:
    """Dies, and what it has forked lives on, with all that was open."""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    Path(path).write_text(str(pid), encoding="utf-8")
    os.kill(os.getpid(), 9)


def confides(name: str, context: Context) -> None:
    """Has a secret, and says it aloud."""
    value = context.secret(name)
    context.logger.info("secret_told", value=value)
    raise Refused(f"{value} is not good enough")


def calls_plainly(url: str, context: Context) -> list[int]:
    return [anyio.from_thread.run(context.http.get, url).status_code for _ in range(2)]


def calls(url: str, context: Context) -> int:
    return anyio.run(context.http.get, url).status_code


def beats(path: str, context: Context) -> object:
    """Reports once and waits to be told to stop; the attempt after it returns what was reported."""
    if context.last_heartbeat is not None:
        return context.last_heartbeat
    context.heartbeat({"done": 5})
    Path(path).write_text("", encoding="utf-8")
    context.cancelled.wait(30)
    raise Refused(str(context.cancelled.reason))


def unwritten(_given: object) -> object:
    return {1, 2}


def defers(_given: object, context: Context) -> Deferred:
    return context.defer()
