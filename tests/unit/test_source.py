"""Texts of documents: what comes out, what is refused, and where things stand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.compiler.diagnostics import Diagnostic
from courante.compiler.limits import ALIAS_NODES_MAX, DEPTH_MAX
from courante.compiler.source import SourceError, load_source, source_of
from courante.compiler.workflow import Json


def _faults(text: bytes | str) -> list[Diagnostic]:
    with pytest.raises(SourceError) as caught:
        load_source(text)
    return caught.value.diagnostics


HOSTILE: list[tuple[str, bytes, str, tuple[int, int]]] = [
    ("bad utf-8", b"a: \xff", "bad_utf8", (0, 0)),
    ("utf-16", "a: 1".encode("utf-16"), "bad_utf8", (0, 0)),
    ("utf-16 without mark", "a: 1\nb: 2".encode("utf-16-le"), "nul_character", (1, 2)),
    ("empty", b"", "empty_document", (1, 1)),
    ("comment only", b"# nothing\n", "empty_document", (1, 1)),
    ("two documents", b"a: 1\n---\nb: 2\n", "many_documents", (2, 1)),
    ("json, twice a key", b'{"a": 1,\n "b": {"c": 1, "c": 2}}', "duplicate_key", (2, 16)),
    ("yaml, twice a key", b"a: 1\nb:\n  c: 1\n  c: 2\n", "duplicate_key", (4, 3)),
    ("twice a key by escape", b'{"a": 1, "\\u0061": 2}', "duplicate_key", (1, 10)),
    ("json nan", b'{"a": NaN}', "number_not_finite", (1, 7)),
    ("json infinity", b'{"a": [1, -Infinity]}', "number_not_finite", (1, 11)),
    ("json 1e400", b'{"a": 1e400}', "number_not_finite", (1, 7)),
    ("yaml nan", b"a: .nan", "number_not_finite", (1, 4)),
    ("yaml infinity", b"a: -.inf", "number_not_finite", (1, 4)),
    ("yaml 1e400", b"a: 1e400", "number_not_finite", (1, 4)),
    ("json 65 bits", b'{"a": 9223372036854775808}', "number_too_large", (1, 7)),
    ("json -65 bits", b'{"a": -9223372036854775809}', "number_too_large", (1, 7)),
    ("json 5,000 digits", b'{"a": ' + b"9" * 5000 + b"}", "number_too_large", (1, 7)),
    ("yaml 65 bits", b"a: 9223372036854775808", "number_too_large", (1, 4)),
    ("yaml 65 bits, hex", b"a: 0x8000000000000000", "number_too_large", (1, 4)),
    ("yaml 5,000 digits", b"a: " + b"9" * 5000, "number_too_large", (1, 4)),
    ("json half a pair", b'{"a": "\\ud800"}', "lone_surrogate", (1, 7)),
    ("json half a pair as a key", b'{"\\udfff": 1}', "lone_surrogate", (1, 2)),
    ("yaml half a pair", b'a: "\\ud800"', "yaml_syntax", (1, 7)),
    ("raw nul", b"a: x\nb: x\0y", "nul_character", (2, 5)),
    ("json nul", b'{"a": "x\\u0000"}', "nul_character", (1, 7)),
    ("yaml nul", b'a: "\\0"', "nul_character", (1, 4)),
    ("yaml nul in a key", b'"\\x00": 1', "nul_character", (1, 1)),
    ("json deep", b"[" * 100_000, "too_deep", (1, 65)),
    ("json deep objects", b'{"a":' * 65 + b"1" + b"}" * 65, "too_deep", (1, 321)),
    ("yaml deep flow", b"a: " + b"[" * 100_000, "too_deep", (1, 67)),
    ("yaml deep block", b"- " * 100_000, "too_deep", (1, 129)),
    ("python tag", b"a: !!python/object/apply:os.system [id]", "yaml_tag", (1, 4)),
    ("own tag", b"a: !secret x", "yaml_tag", (1, 4)),
    ("timestamp tag", b"a: !!timestamp 2020-01-01", "yaml_tag", (1, 4)),
    ("tag that lies", b"a: !!int no", "yaml_tag", (1, 4)),
    ("tag on a key", b"!!int 1: a", "yaml_tag", (1, 1)),
    ("merge key", b"a: &a {b: 1}\nc:\n  <<: *a\n", "yaml_merge_key", (3, 3)),
    ("list as a key", b"? [a]\n: b", "yaml_key", (1, 3)),
    ("alias as a key", b"a: &a b\n*a : c", "yaml_key", (2, 1)),
    ("alias of nothing", b"a: *b", "yaml_alias", (1, 4)),
    ("alias of itself", b"a: &a [*a]", "yaml_alias", (1, 8)),
    ("yaml syntax", b"a: b: c", "yaml_syntax", (1, 5)),
    ("yaml control character", b"a: 1\nb: \x01", "yaml_syntax", (2, 4)),
    ("yaml tab", b"a:\n\tb: 1", "yaml_syntax", (2, 1)),
    ("json syntax", b'{"a": 1,\n "b" 2}', "json_syntax", (2, 6)),
    ("json, two values", b'{"a": 1} {"b": 2}', "json_syntax", (1, 10)),
]


@pytest.mark.parametrize(("text", "code", "place"), [each[1:] for each in HOSTILE], ids=[each[0] for each in HOSTILE])
def test_hostile_texts_are_refused_with_a_code_and_a_place(text: bytes, code: str, place: tuple[int, int]) -> None:
    """Every hostile text gives its own code and the place of the fault."""
    fault = _faults(text)[0]
    assert (fault.code, (fault.line, fault.column)) == (code, place)


@pytest.mark.parametrize("text", ["a:\n\tb: 1", "a:\n\t- b\n", "a:\n  b: 1\n \tc: 2\n"])
def test_a_tab_that_indents_is_named(text: str) -> None:
    """It cannot be seen, and what the parser says of it does not say that it is one."""
    assert "a tab" in _faults(text)[0].hint
    assert not _faults("a:\tb: c")[0].hint


def test_an_alias_bomb_ends_before_it_is_built() -> None:
    """Aliases count as what they stand for, so nine levels of ten are refused, not expanded."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    assert _faults("\n".join(levels))[-1].code == "yaml_alias"


def test_aliases_up_to_the_limit_stand_for_their_values() -> None:
    """An alias gives what was anchored; the sum of all values behind aliases is limited exactly."""
    assert load_source("a: &a {b: 1}\nc: [*a, *a]").value == {"a": {"b": 1}, "c": [{"b": 1}, {"b": 1}]}
    uses = ALIAS_NODES_MAX // 2
    assert len(load_source("a: &a [x]\nb:\n" + "- *a\n" * uses).value["b"]) == uses
    assert _faults("a: &a [x]\nb:\n" + "- *a\n" * (uses + 1))[0].code == "yaml_alias"


def test_depth_counts_through_aliases() -> None:
    """An alias may not carry a deep value below the limit."""
    half = DEPTH_MAX // 2
    deep = "[" * half + "]" * half
    assert load_source(f"a: &a {deep}\nb: {'[' * (half - 1)}*a{']' * (half - 1)}")
    assert _faults(f"a: &a {deep}\nb: {'[' * half}*a{']' * half}")[0].code == "too_deep"


@pytest.mark.parametrize("text", ["[" * DEPTH_MAX + "]" * DEPTH_MAX, '{"a":' * DEPTH_MAX + "1" + "}" * DEPTH_MAX])
def test_the_deepest_allowed_nesting_is_read(text: str) -> None:
    """The limit itself is allowed, in both formats; brackets in strings do not count."""
    assert load_source(text, format="json").value == load_source(text, format="yaml").value
    assert load_source('["' + "[" * 1000 + '", "\\"[[[["]').value[1] == '"[[[['


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"), ("on", "on"), ("yes", "yes"), ("off", "off"), ("12:30:45", "12:30:45"), ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"), ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"), ("1.0", 1.0), ("'1.0'", "1.0"),
        ("1.2.3", "1.2.3"), ("012", 12), ("0o17", 15), ("0x1F", 31), ("-7", -7), ("+7", 7), ("1e3", 1000.0),
        (".5", 0.5), ("5.", 5.0), ("~", None), ("", None), ("null", None), ("Null", None), ("nULL", "nULL"),
        ("true", True), ("FALSE", False), ("tRue", "tRue"), ("=", "="), (".", "."), ("1e", "1e"),
        ("!!str 5", "5"), ("! 5", "5"), ("!!int 5", 5), ("!!null ''", None), ("0b11", "0b11"),
        ("9223372036854775807", 2**63 - 1),
    ],
)  # fmt: skip
def test_plain_scalars_follow_the_core_schema(written: str, value: Json) -> None:
    """Plain YAML scalars mean what YAML 1.2 says, not what YAML 1.1 said."""
    got = load_source(f"a: {written}\n").value["a"]
    assert got == value
    assert type(got) is type(value)


def test_keys_are_strings_as_written() -> None:
    """A YAML key is the text of the key, whatever it would be as a value."""
    assert load_source("200: a\non: b\ntrue: c\n~: d\n1.0: e").value == {
        "200": "a",
        "on": "b",
        "true": "c",
        "~": "d",
        "1.0": "e",
    }


def test_all_faults_of_a_text_are_reported() -> None:
    """Faults that do not end the reading are reported together, in order of the text for YAML."""
    yaml_codes = [fault.code for fault in _faults("a: 1\na: .inf\nb: !x 1\n<<: 2")]
    assert yaml_codes == ["duplicate_key", "number_not_finite", "yaml_tag", "yaml_merge_key"]
    json_codes = {fault.code for fault in _faults('{"a": 1, "a": [NaN, "\\ud800", 99999999999999999999]}')}
    assert json_codes == {"duplicate_key", "number_not_finite", "lone_surrogate", "number_too_large"}


def test_the_format_is_found() -> None:
    """A text that begins like JSON is JSON; if it is not, YAML in flow style; the byte order mark is no content."""
    assert load_source(b'\xef\xbb\xbf{"a": "\\ud83d\\ude00"}').value == {"a": "\U0001f600"}
    assert load_source("{a: 1,}").value == {"a": 1}
    assert load_source("\ufeffa: 1").value == {"a": 1}
    assert _faults('{"a": 1,]')[0].code == "json_syntax"


def test_the_size_is_limited_in_bytes() -> None:
    """The limit counts bytes and comes before parsing."""
    text = "a: " + "é" * 10
    assert load_source(text, bytes_max=23)
    for each in (text, text.encode()):
        with pytest.raises(SourceError) as caught:
            load_source(each, bytes_max=22)
        assert caught.value.diagnostics[0].code == "too_large"


DOCUMENT = """\
a: 1
list:
  - x
  - {k: v, "q": [1, 2]}
deep:
  # a comment
  "er":
    key: >
      folded
"""


@pytest.mark.parametrize(
    ("path", "value_at", "key_at"),
    [
        ((), (1, 1), (1, 1)),
        (("a",), (1, 4), (1, 1)),
        (("list",), (3, 3), (2, 1)),
        (("list", 0), (3, 5), (3, 5)),
        (("list", 1, "q", 1), (4, 21), (4, 21)),
        (("list", 1, "q"), (4, 17), (4, 12)),
        (("deep", "er", "key"), (8, 10), (8, 5)),
        (("deep", "er", "none"), (8, 5), (8, 5)),
        (("list", 7, "x"), (3, 3), (3, 3)),
    ],
)
def test_every_path_has_a_place(
    path: tuple[str | int, ...], value_at: tuple[int, int], key_at: tuple[int, int]
) -> None:
    """Keys and values have their own places; what is missing has the place of its nearest ancestor."""
    source = load_source(DOCUMENT)
    assert source.position(path) == value_at
    assert source.position(path, of_key=True) == key_at


def test_an_alias_has_its_own_place_and_its_members_those_of_the_anchor() -> None:
    """A fault inside a repeated value is shown where the value was written."""
    source = load_source("a: &a\n  k: 1\nb: *a\n")
    assert (source.position(("b",)), source.position(("b", "k"))) == ((3, 4), (2, 6))


_texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
_scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | _texts
_values = st.recursive(
    _scalars | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(_texts, below, max_size=4),
    max_leaves=12,
)


@given(_values, st.sampled_from([None, 1]))
def test_json_round_trips_and_every_value_stands_at_its_place(value: Json, indent: int | None) -> None:
    """What JSON says comes out again; at the place of a path the text of that value begins."""
    text = json.dumps(value, indent=indent, ensure_ascii=indent is None)
    source = load_source(text, format="json")
    assert source.value == value
    lines = text.split("\n")
    open_values: list[tuple[tuple[str | int, ...], Json]] = [((), value)]
    while open_values:
        path, here = open_values.pop()
        line, column = source.position(path)
        begins = json.dumps(here, ensure_ascii=indent is None)[:1]
        assert lines[line - 1][column - 1] == begins
        if isinstance(here, dict):
            open_values += [((*path, key), below) for key, below in cast("dict[str, Json]", here).items()]
        elif isinstance(here, list):
            open_values += [((*path, index), below) for index, below in enumerate(cast("Sequence[Json]", here))]


@given(st.text(max_size=60) | st.binary(max_size=60) | st.text("[]{}:,-&*!\"'\\n\n a1", max_size=40))
def test_no_text_makes_anything_but_a_value_or_a_source_error(text: str | bytes) -> None:
    """Whatever the text is, reading it gives plain values or coded faults."""
    try:
        source = load_source(text)
    except SourceError:
        return
    assert source_of(source.value).value == source.value
    source.position(("a", 0))


@pytest.mark.parametrize(
    ("value", "code", "path"),
    [
        ({"a": [float("nan")]}, "number_not_finite", ("a", 0)),
        ({"a": 2**63}, "number_too_large", ("a",)),
        ({1: 2}, "not_json", ()),
        ({"a": (1, 2)}, "not_json", ("a",)),
        ({"a": {"b": {1, 2}}}, "not_json", ("a", "b")),
        ({"a": "\0"}, "nul_character", ("a",)),
        ({"\ud800": 1}, "lone_surrogate", ()),
    ],
)
def test_python_values_are_held_to_the_same_rules(value: object, code: str, path: tuple[str | int, ...]) -> None:
    """A document given as Python values may hold plain JSON only, and no cycle."""
    with pytest.raises(SourceError) as caught:
        source_of(value)
    assert [(fault.code, fault.path) for fault in caught.value.diagnostics] == [(code, path)]


def test_a_value_that_holds_itself_is_too_deep() -> None:
    """The limit is exact for Python values too, and ends a cycle."""
    value: object = 1
    for _ in range(DEPTH_MAX):
        value = [value]
    assert source_of(value).value == value
    with pytest.raises(SourceError, match="64 objects and lists"):
        source_of([value])
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(SourceError, match="64 objects and lists"):
        source_of(loop)
    assert source_of({"a": [1, None, 1.5, "x", True]}).position(("a",)) == (0, 0)
