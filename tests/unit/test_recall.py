"""Items are found again where they stand now; of payloads no more is kept than is needed at a time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.events import Facts, RecordedEvent
from courante.sdk.reenactment.kept_contents import KeptContents
from courante.sdk.reenactment.log_references import KEPT_BYTES_MAX, event_of, without_payload
from courante.sdk.reenactment.oracle import Memory, Oracle
from courante.sdk.reenactment.recall import Recall, Relisted, matched
from model.compiled import plan_of

LISTS = st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), max_size=8)
MAPPED = plan_of(
    {
        "courante": 1,
        "id": "w",
        "nodes": [
            {"id": "m", "type": "map", "config": {"items": "[1, 2, 3]"}},
            {"id": "n", "type": "map", "depends_on": ["m"], "config": {"items": "[1, 2, 3]"}},
            {"id": "a", "type": "noop", "depends_on": ["n"]},
            {"id": "ng", "type": "aggregate", "depends_on": ["a"]},
            {"id": "mg", "type": "aggregate", "depends_on": ["ng"]},
        ],
    }
)


@given(LISTS, LISTS)
def test_items_are_matched_by_value(before: list[bytes], now: list[bytes]) -> None:
    """As many as can be, each once, and nothing moves that can stay."""
    found = matched(before, now)
    known = [index for index in found if index is not None]
    assert len(known) == len(set(known)) == (Counter(before) & Counter(now)).total()
    assert all(index is None or before[index] == value for index, value in zip(found, now, strict=True))
    assert all(found[at] == at for at, pair in enumerate(zip(before, now, strict=False)) if pair[0] == pair[1])


@given(st.permutations([0, 1, 2, None]), st.permutations([0, 1, 2]))
def test_places_of_moved_items_are_told_both_ways(outer: list[int | None], inner: list[int]) -> None:
    """Also of a map in a map, whose lists are told by where the outer items stand now."""
    m, n, a = (MAPPED.numbers[name] for name in "mna")
    recall = Recall(MAPPED.ir, Oracle())
    recall.relisted[m, ()] = Relisted(3, outer)
    recall.relisted[n, (1,)] = Relisted(3, inner)
    for one in range(4):
        for two in range(3):
            before = recall.then((a, (one, two)))
            assert (before is None) == (outer[one] is None)
            if before is not None:
                assert before == (a, (outer[one], inner[two] if one == 1 else two))
                assert recall.now(before) == (a, (one, two))
    recall.relisted[m, ()] = Relisted(3, [2])
    assert recall.now((a, (1, 0))) is None


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60), st.booleans()), max_size=40))
def test_contents_are_kept_up_to_a_limit(puts: list[tuple[int, int, bool]]) -> None:
    """But for what was brought since the last time that they were let go."""
    kept, needed = KeptContents(100), dict[bytes, bytes]()
    for name, size, lets_go in puts:
        reference, content = str(name).encode(), b"x" * size
        kept.put(reference, content)
        needed[reference] = content
        assert all(kept.get(each) == value for each, value in needed.items())
        if lets_go:
            kept.let_go()
            needed.clear()
            assert kept.kept_bytes <= 100


def test_a_memory_of_references_is_small() -> None:
    """However much the steps of a run have given, what is known of them is where it stands."""
    nodes = [{"id": f"a{n}", "type": "noop"} for n in range(50)]
    plan = plan_of({"courante": 1, "id": "w", "nodes": nodes})
    memory = Memory(plan.ir)
    output = b'"' + b"x" * 8_000 + b'"'
    facts = [Facts(type="run.started"), *(Facts(type="step.succeeded", node=f"a{n}", attempt=1) for n in range(50))]
    for seq, one in enumerate(facts, start=1):
        event = RecordedEvent(run_id="run", seq=seq, at_ms=1, facts=one, payload=output)
        memory.add(without_payload(event))
    known = [answer.settled.output or b"" for answer in memory.oracle().answers.values()]
    assert (len(known), sum(map(len, known)) < 50 * KEPT_BYTES_MAX) == (50, True)
    assert [event_of(reference) for reference in known] == list(range(2, 52))
    assert event_of(b"@00112233445566778899aabbccddeeff:7") is None
