"""Payloads at rest: what a key ring makes of them, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.errors import PayloadUnreadable
from courante.sdk.sealing.key_ring import HEAD, KeyRing, new_line
from courante.sdk.sealing.payload_terms import PayloadTerms

OLD, NEW = b"o" * 64, b"n" * 64
RING = KeyRing({"new": NEW, "old": OLD})


@given(st.binary(max_size=2_000))
def test_what_is_stored_comes_back(content: bytes) -> None:
    """As ASCII that no JSON begins with, the same for the same content, and none of it readable."""
    stored = RING.encode(content)
    assert RING.decode(stored) == content
    assert stored == RING.encode(content)
    assert stored.isascii()
    assert stored.startswith(HEAD + b"new:")
    assert len(content) < 6 or content not in stored


def test_an_older_key_still_reads() -> None:
    """The first key encrypts; without the key nothing is read, and what was never encrypted is itself."""
    stored = KeyRing({"old": OLD}).encode(b"{}")
    assert RING.decode(stored) == b"{}"
    with pytest.raises(PayloadUnreadable, match="no key 'old'"):
        KeyRing({"new": NEW}).decode(stored)
    with pytest.raises(PayloadUnreadable, match="changed"):
        KeyRing({"old": NEW}).decode(stored)
    assert RING.decode(b'{"a": 1}') == b'{"a": 1}'


@pytest.mark.parametrize("at", [-1, -8, -20])
def test_what_was_changed_is_not_read(at: int) -> None:
    """Not a byte of it."""
    stored = bytearray(RING.encode(b"some content"))
    stored[at] = ord("A") if stored[at] != ord("A") else ord("B")
    with pytest.raises(PayloadUnreadable):
        RING.decode(bytes(stored))


def test_a_file_of_keys_is_read(tmp_path: Path) -> None:
    """Lines of id and key, with comments; a line that is none is named."""
    path = tmp_path / "keys"
    lines = [new_line("b"), "# a comment", "", new_line("a")]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert KeyRing.read(path).encode(b"x").startswith(HEAD + b"b:")
    for wrong in ("a", "a b", f"a {'x' * 88}", new_line("a")[:-4], f"{new_line('a')} more", "a/b " + new_line("a")[2:]):
        path.write_text(f"{lines[0]}\n{wrong}", encoding="utf-8")
        with pytest.raises(ValueError, match="line 2"):
            KeyRing.read(path)
    path.write_text("# nothing\n", encoding="utf-8")
    with pytest.raises(ValueError, match="at least one key"):
        KeyRing.read(path)
    with pytest.raises(ValueError, match="no id of a key"):
        new_line("a b")


def test_with_a_codec_nothing_travels_inline() -> None:
    """Without one, what is small does."""
    assert not PayloadTerms().keeps_apart(b"x" * 8_192)
    assert PayloadTerms().keeps_apart(b"x" * 8_193)
    assert PayloadTerms(codec=RING).keeps_apart(b"1")
