"""Bundles: what was exported holds together without a server, and whatever is changed in it is found and placed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from courante.replay.audit.lines import (
    EventLine,
    HeadLine,
    Line,
    RunLine,
    SignatureLine,
    TrailerLine,
    read_line,
    write_line,
)
from courante.replay.audit.signing import Signer, make_keys
from courante.sdk.authoring.steps import FatalError, Steps
from courante.sdk.embedded import Servers
from courante.sdk.events import GENESIS, chain_hash, decode_facts, digest, encode_facts
from courante.sdk.stores.errors import UnknownRun
from integration.bundles import exported, of_runs, verified
from integration.cases import node, waits
from integration.floor import Command, Floor, open_floor
from integration.test_replay_verify import DOCUMENT

pytestmark = pytest.mark.anyio

Lines = list[bytes]
GATED: dict[str, Any] = {
    "courante": 1,
    "id": "gated",
    "nodes": [waits("paid", name="payment"), node("ship", "paid", requires_approval=True), node("big", "ship")],
}
ASKED = [
    Command("signal", {"name": "payment", "data": {"n": 1}, "by": "shop"}),
    Command("approve", {"step": "ship", "comment": "go", "by": "ada"}),
]


NUMBERS = st.integers(0, 999_999)
"""Which one of a list, modulo its length. All is drawn before a test begins: when hypothesis drops an example in the
middle of a coroutine, the task ends that anyio runs all tests and fixtures of the module in.
"""
CHANGES = st.integers(1, 255)


def one_of(places: list[int], number: int) -> int:
    return places[number % len(places)]


def altered(line: bytes, number: int, by: int) -> bytes:
    """The line with another byte at one place."""
    at = number % len(line)
    return line[:at] + bytes([(line[at] + by) % 256]) + line[at + 1 :]


def calls(id: str, handler: str) -> dict[str, Any]:
    return node(id, type="function", config={"handler": handler})


def boom() -> None:
    raise FatalError("as it should")


@pytest.fixture(scope="module")
async def floor(embedded_servers: Servers) -> AsyncIterator[Floor]:
    steps = Steps()
    steps.add(boom, "boom")
    steps.add(lambda: {"text": "x" * 20_000}, "large")
    async with open_floor(embedded_servers, steps) as made:
        yield made


@pytest.fixture(scope="module")
async def runs(floor: Floor) -> list[str]:
    """Two that routed, one with commands, one with a payload that stands apart, one that failed."""
    large = [calls("a", "large"), node("b", "a", when="size(steps.a.output.text) > 3")]
    done = [
        await floor.run(DOCUMENT, {"n": 2}),
        await floor.run(GATED, commands=ASKED),
        await floor.run(DOCUMENT, {"n": 12}),
        await floor.run({"courante": 1, "id": "large", "nodes": large}),
        await floor.run({"courante": 1, "id": "fails", "nodes": [calls("a", "boom")]}),
    ]
    assert all(one.verification.ok for one in done)
    return [one.result.run_id for one in done]


@pytest.fixture(scope="module")
async def lines(floor: Floor, runs: list[str]) -> Lines:
    async with floor.client.pool.acquire() as conn:
        return await exported(conn, floor.env, runs)


def of_events(lines: Lines) -> list[int]:
    return [at for at, line in enumerate(lines) if line.startswith(b'{"line":"event"')]


def place(lines: Lines, at: int) -> tuple[str, int]:
    """The run and the number of the event on a line."""
    run = next(read_line(line[:-1]) for line in reversed(lines[:at]) if line.startswith(b'{"line":"run"'))
    event = read_line(lines[at][:-1])
    assert isinstance(run, RunLine)
    assert isinstance(event, EventLine)
    return run.run_id, event.seq


async def refused(lines: Lines, *, run_id: str | None = None, seq: int | None = None) -> str:
    """Verify lines in which something is wrong; return what is said to be."""
    found = await verified(lines)
    assert not found.ok
    if run_id is None:
        return found.bad[0].what
    (bad,) = of_runs(found)
    assert (bad.run_id, bad.seq) == (run_id, seq), found.bad
    return bad.what


async def test_a_bundle_verifies_without_a_server(lines: Lines, runs: list[str]) -> None:
    """Every decision is made again, from the IRs, payloads and commands that the bundle brings."""
    found = await verified(lines)
    assert (found.ok, found.bad, found.unchecked) == (True, [], 0)
    assert (found.runs, found.events) == (len(runs), len(of_events(lines)))
    assert found.decisions > 10
    assert sum(line.startswith(b'{"line":"command"') for line in lines) == len(ASKED)
    assert sum(line.startswith(b'{"line":"content"') for line in lines) == 2
    assert sum(line.startswith(b'{"line":"ir"') for line in lines) == 4


async def test_without_payloads_the_chain_holds(floor: Floor, runs: list[str]) -> None:
    """What would need a payload is counted as unchecked, and none of them is in the bundle."""
    async with floor.client.pool.acquire() as conn:
        bare = await exported(conn, floor.env, runs, has_payloads=False)
    found = await verified(bare)
    assert (found.ok, found.runs) == (True, len(runs))
    assert found.unchecked > 0
    assert not any(
        word in b"".join(bare) for word in (b'"payload"', b'"line":"content"', b'"line":"command"', b'payment\\"}')
    )


async def test_a_bundle_of_a_run_that_goes_on_and_of_one_that_has_not_begun(floor: Floor) -> None:
    run_id, _ = await floor.begin({**GATED, "id": "waiting"}, until="step.waiting")
    async with floor.client.pool.acquire() as conn:
        found = await verified(await exported(conn, floor.env, [run_id, run_id]))
    assert (found.ok, found.runs, found.bad) == (True, 1, [])


async def test_a_run_of_another_environment_is_in_no_bundle(floor: Floor, runs: list[str]) -> None:
    async with floor.client.pool.acquire() as conn:
        with pytest.raises(UnknownRun):
            await exported(conn, f"{floor.env}o", runs[:1])


@settings(max_examples=100)
@given(number=NUMBERS, offset=NUMBERS, by=CHANGES)
async def test_any_changed_byte_of_an_event_is_found_at_that_event(
    lines: Lines, number: int, offset: int, by: int
) -> None:
    at = one_of(of_events(lines), number)
    run_id, seq = place(lines, at)
    await refused([*lines[:at], altered(lines[at], offset, by), *lines[at + 1 :]], run_id=run_id, seq=seq)


@settings(max_examples=100)
@given(number=NUMBERS, other_number=NUMBERS, kind=st.sampled_from(["removed", "repeated", "swapped", "foreign"]))
async def test_a_removed_repeated_or_swapped_event_is_found(
    lines: Lines, number: int, other_number: int, kind: str
) -> None:
    at, other = one_of(of_events(lines), number), one_of(of_events(lines), other_number)
    run_id, seq = place(lines, at)
    if kind == "removed":
        await refused([*lines[:at], *lines[at + 1 :]], run_id=run_id, seq=seq)
    elif kind == "repeated":
        await refused([*lines[: at + 1], lines[at], *lines[at + 1 :]], run_id=run_id, seq=seq + 1)
    elif kind == "swapped" and at + 1 in of_events(lines):
        await refused([*lines[:at], lines[at + 1], lines[at], *lines[at + 2 :]], run_id=run_id, seq=seq)
    elif place(lines, other)[0] != run_id:  # a line of another run in its place
        await refused([*lines[:at], lines[other], *lines[at + 1 :]], run_id=run_id, seq=seq)


@settings(max_examples=50)
@given(number=NUMBERS, offset=NUMBERS, by=CHANGES)
async def test_any_changed_byte_of_a_bundle_is_found(lines: Lines, number: int, offset: int, by: int) -> None:
    """Header, IRs, rows, commands, contents, heads, trailer: whatever it is."""
    events = set(of_events(lines))
    at = one_of([at for at in range(len(lines)) if at not in events], number)
    await refused([*lines[:at], altered(lines[at], offset, by), *lines[at + 1 :]])


@settings(max_examples=50)
@given(number=NUMBERS)
async def test_a_bundle_that_was_cut_off_is_found(lines: Lines, number: int) -> None:
    content = b"".join(lines)
    await refused([content[: number % len(content)]])


async def test_what_is_wrong_is_named(lines: Lines, runs: list[str]) -> None:
    def first(kind: str) -> int:
        return next(at for at, line in enumerate(lines) if line.startswith(f'{{"line":"{kind}"'.encode()))

    def replaced(at: int, pattern: bytes, by: bytes) -> Lines:
        changed = re.sub(pattern, by, lines[at], count=1)
        assert changed != lines[at]
        return [*lines[:at], changed, *lines[at + 1 :]]

    command, content = first("command"), first("content")
    assert await refused(replaced(0, b'"version":1', b'"version":2')) == "header"
    assert await refused(replaced(first("ir"), b"max_iterations", b"max_iteratione")) == "ir"
    assert await refused(replaced(command, b'"by":"shop"', b'"by":"eve"')) == "command"
    assert await refused(replaced(content, b"xx", b"xy")) == "content"
    assert await refused(replaced(first("run"), b'"COMPLETED"', b'"FAILED"')) == "run.status"
    assert await refused(replaced(first("run"), b'"trigger":"initial"', b'"trigger":"schedule"')) == "run.trigger"
    assert await refused(replaced(first("run"), b'"created_at":"2', b'"created_at":"3')) == "run.created_at"
    assert await refused([*lines[:command], *lines[command + 1 :]]) == "command"
    assert await refused(lines[:-1]) == "trailer"
    assert await refused([*lines, lines[-1]]) == "line"
    assert await refused([b"no bundle\n"]) == "header"
    assert await refused([]) == "header"
    head = first("head")
    assert (
        await refused([*lines[:head], *lines[head + 1 :]], run_id=runs[0], seq=place(lines, head - 1)[1] + 1)
        == "missing"
    )


def forged(lines: Lines, change: Callable[[EventLine], EventLine], *, cut: int = 0) -> Lines:
    """What somebody makes who knows how everything is computed: the first run, with all its hashes and the trailer."""
    made: list[Line] = []
    run_id, head, seq, is_first = "", GENESIS, 0, True
    for content in lines[:-1]:
        line = read_line(content[:-1])
        if isinstance(line, RunLine):
            run_id, head, seq = line.run_id, GENESIS, 0
            if cut and is_first:
                line = msgspec.structs.replace(
                    line, last_seq=0, last_hash="", status="RUNNING", finished_at="", output_seq=0
                )
        elif isinstance(line, EventLine) and is_first:
            if cut and line.seq > cut:
                continue
            line = change(line)
            address = digest(line.payload.encode()) if line.payload else b""
            head = chain_hash(prev := head, run_id, line.seq, line.at, line.facts.encode(), address or None)
            line = msgspec.structs.replace(line, prev_hash=prev.hex(), hash=head.hex(), digest=address.hex())
            seq = line.seq
        elif isinstance(line, HeadLine):
            if is_first:
                line = msgspec.structs.replace(line, seq=seq, hash=head.hex())
                made = [_ended(one, seq, head) if isinstance(one, RunLine) and not cut else one for one in made]
            is_first = False
        made.append(line)
    written = [write_line(line) + b"\n" for line in made]
    sha = hashlib.sha256(b"".join(written)).hexdigest()
    runs, events = (sum(isinstance(line, kind) for line in made) for kind in (RunLine, EventLine))
    return [*written, write_line(TrailerLine(runs=runs, events=events, lines=len(made), sha256=sha)) + b"\n"]


def _ended(line: RunLine, seq: int, head: bytes) -> RunLine:
    return msgspec.structs.replace(line, last_seq=seq, last_hash=head.hex())


def as_it_was(line: EventLine) -> EventLine:
    return line


def by_somebody_else(line: EventLine) -> EventLine:
    """Another worker has done it: no rule says otherwise."""
    facts = decode_facts(line.facts.encode())
    if not facts.worker:
        return line
    return msgspec.structs.replace(line, facts=encode_facts(msgspec.structs.replace(facts, worker="eve")).decode())


def decided_otherwise(line: EventLine) -> EventLine:
    facts = decode_facts(line.facts.encode())
    if (facts.node, facts.type) != ("first", "step.succeeded"):
        return line
    assert '"big":false' in line.payload
    return msgspec.structs.replace(line, payload=line.payload.replace('"big":false', '"big":true'))


async def test_a_forged_decision_is_found_though_all_hashes_were_made_again(lines: Lines, runs: list[str]) -> None:
    """The rules say what must have come of it."""
    assert (await verified(forged(lines, as_it_was))).ok
    (bad,) = (await verified(forged(lines, decided_otherwise))).bad
    assert (bad.run_id, bad.what) == (runs[0], "when")


async def test_who_makes_all_hashes_again_is_refused_by_the_signature(
    floor: Floor, runs: list[str], tmp_path: Path
) -> None:
    """Where no rule is broken, only a key that the forger does not have can tell."""
    key = make_keys(tmp_path / "key.pem", tmp_path / "key.pub")
    other = make_keys(tmp_path / "other.pem", tmp_path / "other.pub")
    async with floor.client.pool.acquire() as conn:
        *lines, signature = await exported(conn, floor.env, runs[:1], signer=Signer.read(tmp_path / "key.pem"))
    assert (await verified([*lines, signature], key=key)).ok
    rewritten = forged(lines, by_somebody_else)
    assert (await verified(rewritten)).ok
    for made, what in (
        ([*rewritten, signature], "one that does not fit the trailer"),
        (rewritten, "none"),
        (resigned(rewritten, tmp_path / "other.pem"), f"one by {other}"),
    ):
        found = await verified(made, key=key)
        assert [(bad.what, bad.found) for bad in found.bad] == [("signature", what)]
    cut = forged(lines, as_it_was, cut=4)
    assert (await verified(cut)).ok  # a run that goes on, for all that the bundle says
    assert [bad.what for bad in (await verified([*cut, signature], key=key)).bad] == ["signature"]


def resigned(lines: Lines, key: Path) -> Lines:
    signer = Signer.read(key)
    line = SignatureLine(algorithm="ed25519", key=signer.public, signature=signer.sign(lines[-1][:-1]))
    return [*lines, write_line(line) + b"\n"]
