"""What is written into an event is read out of it again, and the chain covers all of it."""

from __future__ import annotations

import json
from importlib.resources import files

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.events import (
    GENESIS,
    ErrorInfo,
    Facts,
    chain_hash,
    decode_blob,
    decode_facts,
    digest,
    encode_blob,
    encode_facts,
    join_codes,
)
from courante.sdk.fold.fold_ends import FINAL
from courante.sdk.fold.migrated import Move, migrated_code
from courante.sdk.stores.cursors import entry_digest
from courante.sdk.stores.payloads import read_reference
from courante.supervisor.recording.entries import LogDiverged, quarantine, read_code, read_entry
from courante.supervisor.recording.projections import Projection

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
INT64 = st.integers(-(2**63), 2**63 - 1)
JSON = st.recursive(
    st.none() | st.booleans() | INT64 | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)
)
ERRORS = st.builds(
    ErrorInfo,
    type=TEXT,
    message=TEXT,
    kind=TEXT,
    failure_class=TEXT,
    node=TEXT,
    attempt=INT64,
    worker=TEXT,
    traceback=TEXT,
)
FACTS = st.builds(
    Facts,
    type=TEXT,
    node=TEXT,
    scope=TEXT,
    attempt=INT64,
    worker=TEXT,
    edges=TEXT,
    loop=TEXT,
    reason=TEXT,
    ms=INT64,
    due=INT64,
    error=st.none() | ERRORS,
    data=st.dictionaries(TEXT, JSON),
)
HASHES = st.binary(min_size=32, max_size=32)


@given(FACTS)
def test_facts_are_read_as_they_were_written(facts: Facts) -> None:
    """Encoding and decoding facts gives the same facts, and the same bytes again."""
    content = encode_facts(facts)
    assert decode_facts(content) == facts
    assert encode_facts(decode_facts(content)) == content


@given(FACTS)
def test_facts_are_canonical(facts: Facts) -> None:
    """The order in which data was put together does not show in the bytes."""
    turned = msgspec.structs.replace(facts, data=dict(reversed(facts.data.items())))
    assert encode_facts(turned) == encode_facts(facts)


def test_defaults_are_left_out() -> None:
    """Facts that say nothing but their type are nothing but their type."""
    assert encode_facts(Facts(type="gate.passed")) == b'{"type":"gate.passed"}'


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"type":1}', b'{"type":"x","attempt":"1"}', b"\xff", b'{"type":"x"']
)
def test_what_is_no_facts_is_refused(content: bytes) -> None:
    """Bytes that are not facts are an error, never half-read facts."""
    with pytest.raises(msgspec.MsgspecError):
        decode_facts(content)


@given(st.lists(st.tuples(st.binary(), st.none() | st.binary())))
def test_blobs_are_read_as_they_were_written(events: list[tuple[bytes, bytes | None]]) -> None:
    """A blob keeps any bytes, and tells an empty payload from none."""
    assert decode_blob(encode_blob(events)) == events


def test_no_blob_is_no_events() -> None:
    """A transition of codes alone has an empty blob."""
    assert decode_blob(b"") == []


@given(
    HASHES,
    TEXT,
    st.integers(1, 2**62),
    st.integers(0, 2**48),
    st.binary(),
    st.none() | st.binary(min_size=16, max_size=16),
)
def test_the_chain_covers_everything(
    previous: bytes, run_id: str, seq: int, at_ms: int, facts: bytes, found: bytes | None
) -> None:
    """Changing any part of a row changes its hash."""
    row = chain_hash(previous, run_id, seq, at_ms, facts, found)
    assert len(row) == 32
    others = {
        chain_hash(bytes(32 - 1) + b"\x01" if previous == GENESIS else GENESIS, run_id, seq, at_ms, facts, found),
        chain_hash(previous, run_id + "x", seq, at_ms, facts, found),
        chain_hash(previous, run_id, seq + 1, at_ms, facts, found),
        chain_hash(previous, run_id, seq, at_ms + 1, facts, found),
        chain_hash(previous, run_id, seq, at_ms, facts + b" ", found),
        chain_hash(previous, run_id, seq, at_ms, facts, digest(b"other")),
    }
    assert row not in others
    assert len(others) == 6


def test_the_hash_of_a_row_never_changes() -> None:
    """Logs that were written before must verify for ever: a known row has its known hash."""
    facts = encode_facts(Facts(type="step.succeeded", node="fetch", attempt=1))
    assert facts == b'{"type":"step.succeeded","node":"fetch","attempt":1}'
    row = chain_hash(GENESIS, "run_1", 2, 1_790_000_000_000, facts, digest(b"{}"))
    assert digest(b"{}").hex() == "2afb9b83f9314e5d029766197f539792"
    assert row.hex() == "20fbf62824205a988e1a44464bb329676016836cc2cd1764bcfc410efdc4437f"


CODES = [
    ("F1:1.3:*", Facts(type="join.fired", node="b", scope="1.3", data={"live": "*"})),
    ("F0::-1,2", Facts(type="join.fired", node="a", data={"live": "-1,2"})),
    ("F0::+0", Facts(type="join.fired", node="a", data={"live": "+0"})),
    ("D1:2:d", Facts(type="join.died", node="b", scope="2", reason="dead")),
    ("D1::f", Facts(type="join.died", node="b", reason="failed")),
    ("P1:2:1790000000000", Facts(type="timer.set", node="b", scope="2", due=1_790_000_000_000)),
    ("P-1::1790000000000", Facts(type="timer.set", node="(start)", due=1_790_000_000_000)),
    ("T1:2", Facts(type="timer.released", node="b", scope="2")),
    ("T-1:", Facts(type="timer.released", node="(start)")),
    ("W0:", Facts(type="token.withdrawn", node="a")),
    ("S", Facts(type="run.swept")),
    ("Z3", Facts(type="run.halted", reason="corrupt", data={"unfinished": 3})),
    (
        migrated_code(Move("0a", "0b", 3, "me; you|", "because, so")),
        Facts(
            type="run.migrated", reason="because, so", data={"from": "0a", "ir": "0b", "version": 3, "by": "me; you|"}
        ),
    ),
    (migrated_code(Move("0a", "0b", 3)), Facts(type="run.migrated", data={"from": "0a", "ir": "0b", "version": 3})),
]


@pytest.mark.parametrize(("code", "facts"), CODES)
def test_codes_become_facts(code: str, facts: Facts) -> None:
    """What a script says of itself is the same fact every time."""
    assert read_code(code, ["a", "b"]) == facts


@pytest.mark.parametrize(
    "code", ["", "X1:", "F2::*", "F-9::*", "D0::x", "Z", "Zx", "Fx::*", "P0::soon", "S1", "m0a", "ma,b,c,,"]
)
def test_what_is_no_code_is_refused(code: str) -> None:
    """An unknown letter, an unknown node and a missing number are errors."""
    with pytest.raises(ValueError, match=r".+"):
        read_code(code, ["a", "b"])


def test_codes_are_joined_as_they_are_split() -> None:
    """The separator occurs in no code."""
    codes = [code for code, _ in CODES]
    assert join_codes(codes).split(";") == codes


def test_an_entry_is_read_in_order() -> None:
    """A head, and one transition per field, in the order of the fields."""
    fields = {b"h": b"7 9 1790000000000", b"run_a|4|1|F0::*": b"blob", b"run_b|1|0|S;S": b""}
    entry = read_entry(3, b"5-1", fields)
    assert (entry.id, entry.epoch, entry.seq, entry.at_ms) == ("5-1", 7, 9, 1_790_000_000_000)
    said = [(t.run_id, t.first_seq, t.count, t.codes, t.blob) for t in entry.transitions]
    assert said == [("run_a", 4, 1, "F0::*", b"blob"), ("run_b", 1, 0, "S;S", b"")]


@pytest.mark.parametrize(
    "fields",
    [
        {b"run|1|0|": b""},
        {b"h": b"1 2"},
        {b"h": b"1 2 x"},
        {b"h": b"1 2 99999999999999999999"},
        {b"h": b"1 2 3", b"run": b""},
        {b"h": b"1 2 3", b"run|x|0|": b""},
        {b"h": b"1 2 3", b"\xff|1|0|": b""},
    ],
)
def test_an_entry_that_cannot_be_read_stops_everything(fields: dict[bytes, bytes]) -> None:
    """Who cannot tell what an entry continues must not go on behind it."""
    with pytest.raises(LogDiverged) as caught:
        read_entry(0, b"1-1", fields)
    assert caught.value.kind == "malformed"


PAIRS = st.dictionaries(st.binary(max_size=5), st.binary(max_size=5), max_size=4)


@given(PAIRS, PAIRS)
def test_entries_that_differ_have_other_digests(one: dict[bytes, bytes], two: dict[bytes, bytes]) -> None:
    """Neither a moved boundary nor another order goes unseen."""
    is_same = list(one.items()) == list(two.items())
    assert (entry_digest(one) == entry_digest(two)) == is_same


@given(st.text(max_size=5), st.binary(max_size=50), st.none() | st.binary(max_size=50))
def test_quarantined_bytes_can_be_had_again(reason: str, raw: bytes, payload: bytes | None) -> None:
    """Whatever came stands in the facts, and they can be stored as text."""
    facts = quarantine(reason.encode("utf-8", "replace").decode(), raw, payload)
    said = json.loads(encode_facts(facts))
    assert said["type"] == "event.quarantined"
    assert b"\\u0000" not in encode_facts(facts)
    assert msgspec.convert(said["data"]["raw"], bytes) == raw
    assert ("payload" in said["data"]) == (payload is not None)


def test_references_are_told_from_values() -> None:
    """Only an at sign, a digest and a size are a reference."""
    reference = read_reference(b"@" + b"ab" * 16 + b":12")
    assert reference is not None
    assert (reference.digest, reference.size_bytes) == (b"\xab" * 16, 12)
    for value in (b"", b'"@"', b"@", b"@" + b"ab" * 16, b"@" + b"AB" * 16 + b":1", b"@" + b"ab" * 16 + b":1 "):
        assert read_reference(value) is None


def test_every_event_type_is_documented() -> None:
    """What the fold, the projections and the codes know stands in the reference."""
    text = (files("courante") / "docs" / "reference" / "events.md").read_text("utf-8")
    known = {*FINAL, *Projection("e").types(), *(facts.type for _, facts in CODES), "event.quarantined"}
    assert [kind for kind in sorted(known) if f"`{kind}`" not in text] == []
