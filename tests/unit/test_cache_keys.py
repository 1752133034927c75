"""Keys of cached outputs: the same for the same value however it is written, another for any other value."""

from __future__ import annotations

import math
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.caching.cache_keys import CacheKey, cache_key, canonical, read_key

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


def key_of(effective: object, *, node_type: str = "function", config_hash: str = "c0ffee", run_id: str = "") -> str:
    return cache_key("w", "s", node_type=node_type, config_hash=config_hash, effective=effective, run_id=run_id)


def turned(value: Any) -> Any:
    """The same value with the names of every object in the opposite order."""
    if isinstance(value, dict):
        return {name: turned(inner) for name, inner in reversed(cast("dict[str, Any]", value).items())}
    return [turned(one) for one in cast("list[Any]", value)] if isinstance(value, list) else value


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same JSON: 1, 1.0 and true are three, and so are 0.0 and -0.0 two."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        inner = cast("dict[str, Any]", one)
        return inner.keys() == other.keys() and all(same(inner[name], other[name]) for name in inner)
    if isinstance(one, list):
        return len(cast("list[Any]", one)) == len(other) and all(map(same, cast("list[Any]", one), other))
    if isinstance(one, float):
        return one == other and math.copysign(1, one) == math.copysign(1, other)
    return bool(one == other)


@given(VALUES)
def test_the_order_of_names_does_not_count(value: Any) -> None:
    assert key_of(turned(value)) == key_of(value)


@given(VALUES)
def test_a_value_has_the_same_key_after_a_way_through_json(value: Any) -> None:
    """However it was written: compact or with spaces, and from the canonical form itself."""
    written = msgspec.json.encode(value)
    for content in (written, msgspec.json.format(written, indent=2), canonical(value)):
        assert key_of(msgspec.json.decode(content)) == key_of(value)


@given(VALUES, VALUES)
def test_other_values_have_other_keys(one: Any, other: Any) -> None:
    assert (key_of(one) == key_of(other)) == same(one, other)


@given(VALUES)
def test_everything_that_decides_what_a_step_does_counts(value: Any) -> None:
    keys = {
        key_of(value),
        key_of([value]),
        key_of(value, node_type="tool"),
        key_of(value, config_hash="c0ffef"),
        key_of(value, run_id="run_1"),
        key_of(value, run_id="run_2"),
    }
    assert len(keys) == 6


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": {"d": [], "c": {}}}, b'{"a":{"c":{},"d":[]},"b":1}'),
        ({"\uff5e": 1, "\U0001f600": 2, "z": 3, "\u00e9": 4}, '{"z":3,"\u00e9":4,"\uff5e":1,"\U0001f600":2}'.encode()),
        ([1, 1.0, -0.0, 1e21, 0.1, 18446744073709551615], b"[1,1.0,-0.0,1e21,0.1,18446744073709551615]"),
        ('/"\\\n\u0001\u007f', b'"/\\"\\\\\\n\\u0001\x7f"'),
    ],
)
def test_the_canonical_form(value: Any, written: bytes) -> None:
    assert canonical(value) == written


def test_keys_stay_what_they_were() -> None:
    """Of version 1: a change of any of these is a change of the form, and needs a version of its own."""
    assert key_of(None) == "w:s:809579ed9219b1b75c93bdeb92b336bb"
    deep = b'{"text": "gr\\u00fc\\u00df dich", "n": 1.5, "deep": [[{}]]}'
    assert key_of(msgspec.json.decode(deep)) == "w:s:21ddc76c47896e277cd1147092d2353e"
    own = key_of({"n": 1}, run_id="run_01JABCDEFGHJKMNPQRSTVWXYZ0")
    assert own == "w:s:b5a27acf8e3f294b542c3d74831b7213"


def test_a_key_tells_its_step() -> None:
    assert read_key("shop.orders:score:00ff") == CacheKey("shop.orders", "score", "00ff")
    for text in ("", "a", "a:b", "a:b:", "a:b:c:d", ":b:c"):
        assert read_key(text) is None
