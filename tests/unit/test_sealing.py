"""What is sealed among open fields: nothing where there is no key, texts alone where there is one."""

from __future__ import annotations

import msgspec
import pytest

from courante.cli.exits import explain
from courante.sdk.errors import PayloadUnreadable
from courante.sdk.events import ErrorInfo
from courante.sdk.sealing import sealing
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS, PayloadTerms
from courante.sdk.stores.command_bodies import Body, encode_body, open_body, seal_body

ERROR = ErrorInfo(
    type="ValueError", message="no #siv: in it", kind="retryable", node="a", attempt=2, traceback="  line"
)
BODY = Body(step="a", scope="1", name="go", data=None, output=[1.5, 2**60], reason="r", comment="c", is_asked=True)
RING = KeyRing({"old": b"o" * 64})


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", RING)


def test_without_a_key_ring_nothing_is_different() -> None:
    """Values are themselves, not only alike."""
    content = encode_body(BODY)
    assert sealing.seal_error(ERROR) is ERROR
    assert sealing.shown_error(ERROR) == ERROR
    assert seal_body(content) is content
    assert open_body(content) == BODY
    told = msgspec.json.encode(ERROR)
    assert sealing.open_error_json(told) == told
    assert sealing.seal_text("text") == sealing.shown_text("text") == "text"


def test_an_error_is_found_by_its_type_and_read_with_the_key(ring: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has no key sees why in the place of the message."""
    sealed = sealing.seal_error(ERROR)
    assert (sealed.type, sealed.kind, sealed.node, sealed.attempt) == ("ValueError", "retryable", "a", 2)
    assert "line" not in sealed.traceback
    assert sealing.open_error(sealed) == sealing.shown_error(sealed) == ERROR
    content = msgspec.json.encode(sealed)
    assert msgspec.json.decode(sealing.open_error_json(content), type=ErrorInfo) == ERROR
    assert sealing.read_error(content) == ERROR
    monkeypatch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"new": b"n" * 64}))
    shown = sealing.shown_error(sealed)
    assert (shown.type, shown.message, shown.traceback) == (
        "ValueError",
        "(unreadable: the key ring has no key 'old')",
        "",
    )
    with pytest.raises(PayloadUnreadable):
        sealing.open_error_json(content)


def test_a_command_says_openly_only_what_it_is_about(ring: None) -> None:
    """Step, scope and name; what it says comes back as it was, numbers too."""
    content = encode_body(BODY)
    stored = seal_body(content)
    found = msgspec.json.decode(stored)
    assert {name: found[name] for name in sorted(found) if name != "sealed"} == {
        "is_asked": True,
        "name": "go",
        "scope": "1",
        "step": "a",
    }
    assert open_body(stored) == BODY
    assert stored == seal_body(content)
    about = encode_body(Body(name="w"))
    assert seal_body(about) == about


def test_empty_texts_stay_empty(ring: None) -> None:
    """An error without a traceback has none afterwards; what a person has not said is not said."""
    assert sealing.seal_text("") == sealing.open_text("") == ""
    said = sealing.seal_sayings({"by": "bob", "reason": "no"})
    assert said["by"] == "bob"
    assert sealing.shown_sayings(said) == sealing.open_sayings(said) == {"by": "bob", "reason": "no"}


def test_only_what_is_sealed_as_a_whole_is_refused_without_a_key() -> None:
    """A content that begins alike is itself."""
    terms = PayloadTerms()
    with pytest.raises(PayloadUnreadable, match="no key ring"):
        terms.decode(RING.encode(b"{}"))
    for content in (b"#siv:", b"#siv:a:b", b"#siv:old: not so", RING.encode(b"{}") + b"\n"):
        assert terms.decode(content) == content


def test_who_lacks_the_key_is_told_where_it_comes_from() -> None:
    """The command line ends with a code and a hint, not with a traceback."""
    with pytest.raises(PayloadUnreadable) as caught:
        PayloadTerms().decode(RING.encode(b"{}"))
    told = explain(caught.value)
    assert told is not None
    assert told.code == "payload_unreadable"
    assert told.message == "it is encrypted, and this process has no key ring"
    assert "COURANTE_KEY_RING" in told.hint
