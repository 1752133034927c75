"""Verify looks through the gates again: an approval that nobody gave, or a signal that never came, is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from courante.sdk.embedded import Servers
from courante.sdk.events import RecordedEvent
from integration.cases import node, says, waits
from integration.floor import Command, Done, Floor, open_floor
from integration.test_replay_verify import Rewrite, change, seq_of, verify_rewritten

pytestmark = pytest.mark.anyio

DOCUMENT: dict[str, Any] = {
    "courante": 1,
    "id": "gated",
    "nodes": [
        waits("paid", name="payment"),
        node("ship", "paid", requires_approval=True, mutex="dock"),
        node("load", "paid", mutex="dock"),
        says("tell", "ship"),
    ],
}
ASKED = [
    Command("signal", {"name": "payment", "data": {"n": 1}, "by": "shop"}),
    Command("approve", {"step": "ship", "comment": "go", "by": "ada"}),
]


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    async with open_floor(embedded_servers) as made:
        yield made


@pytest.fixture
async def done(floor: Floor) -> Done:
    done = await floor.run(DOCUMENT, commands=ASKED)
    assert done.verification.ok, done.verification
    assert done.result.status == "COMPLETED"
    return done


def without(*kinds: str, of: str) -> Rewrite:
    """Leave out what the log says of the asking and of the answer, as who never asked would."""

    def rewrite(events: list[RecordedEvent]) -> list[RecordedEvent]:
        kept = [event for event in events if (event.facts.node, event.facts.type) not in {(of, kind) for kind in kinds}]
        return [msgspec.structs.replace(event, seq=seq) for seq, event in enumerate(kept, start=1)]

    return rewrite


async def test_a_command_that_nobody_gave_is_found(floor: Floor, done: Done) -> None:
    """The log says that somebody else asked: the table of commands knows who it was."""
    data = {"number": 3, "type": "approve", "by": "eve", "name": "!approval/1"}
    told = await verify_rewritten(floor, done, change("command.applied", "ship", data=data))
    assert (told.what, told.seq) == ("command", seq_of(done, "command.applied", "ship"))
    assert ('"by":"ada"' in told.expected, '"by":"eve"' in told.found) == (True, True)
    told = await verify_rewritten(floor, done, change("command.applied", "ship", payload=b'{"decision":"approve"}'))
    assert (told.what, told.found) == ("command", '{"decision":"approve"}')


async def test_a_forged_approval_is_found(floor: Floor, done: Done) -> None:
    """A step is approved, and by whom, only as a command says; and it does not run without."""
    forged = change("approval.granted", "ship", data={"by": "eve", "comment": "go"})
    told = await verify_rewritten(floor, done, forged)
    assert (told.what, told.expected, told.found) == (
        "approval",
        "approval.granted: by ada, comment go",
        "approval.granted: by eve, comment go",
    )
    told = await verify_rewritten(
        floor, done, without("step.waiting", "command.applied", "token.released", "mutex.granted", of="ship")
    )
    assert (told.what, told.expected) == ("approval", "no decision")
    told = await verify_rewritten(
        floor,
        done,
        without("step.waiting", "command.applied", "token.released", "mutex.granted", "approval.granted", of="ship"),
    )
    assert (told.what, told.expected, told.found) == ("gate", "waits for approval: !approval/1", "succeeded")


async def test_what_a_signal_brought_is_what_its_step_says(floor: Floor, done: Done) -> None:
    told = await verify_rewritten(floor, done, change("step.succeeded", "paid", payload=b'{"n":2}'))
    assert (told.what, told.expected, told.found) == ("gate", '{"n":1}', '{"n":2}')


async def test_a_rejection_that_did_not_fail_its_step_is_found(floor: Floor) -> None:
    document = {**DOCUMENT, "id": "refused", "nodes": [node("ship", requires_approval=True, on_error="no"), says("no")]}
    done = await floor.run(document, commands=[Command("reject", {"reason": "dear", "by": "ada"})])
    assert done.verification.ok, done.verification
    told = await verify_rewritten(floor, done, change("step.failed", "ship", type="step.succeeded", error=None))
    assert (told.what, told.expected, told.found) == ("gate", "failed, REJECTED", "succeeded")
    told = await verify_rewritten(floor, done, change("approval.rejected", "ship", type="approval.granted"))
    assert (told.what, told.expected) == ("approval", "approval.rejected: by ada, reason dear")


async def test_forced_and_withdrawn_steps_verify(floor: Floor) -> None:
    """What an operator has said of a step is how it ends, and another end is found."""
    nodes = [waits("a", name="x"), waits("b", name="x"), waits("c", name="x"), says("d", "a", "b", "c", join="any")]
    document = {**DOCUMENT, "id": "forced", "nodes": nodes}
    asked = [
        Command("force_skip", {"step": "b", "reason": "lost"}),
        Command("cancel_step", {"step": "a"}),
        Command("force_succeed", {"step": "c", "output": [1]}),
    ]
    done = await floor.run(document, commands=asked)
    assert done.verification.ok, done.verification
    told = await verify_rewritten(floor, done, change("step.succeeded", "c", payload=b"[2]"))
    assert (told.what, told.expected, told.found) == ("gate", "[1]", "[2]")
    told = await verify_rewritten(floor, done, change("step.skipped", "b", reason="condition_false"))
    assert (told.what, told.expected, told.found) == ("gate", "skipped, forced", "skipped, condition_false")
