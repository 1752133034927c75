"""What is left of the terms of a restart when its run is forgotten."""

from __future__ import annotations

import pytest

from courante.sdk.base_terms import BaseTerms, decode_terms, empty_terms, encode_terms
from courante.sdk.sealing.key_ring import KeyRing
from courante.sdk.sealing.payload_terms import PAYLOAD_TERMS

TERMS = BaseTerms(way="rerun", steps=("a",), given={"b": b'"said"'}, change="copy")
BARE = BaseTerms(way="rerun", steps=("a",), change="copy")


def test_given_outputs_go_and_the_rest_stays() -> None:
    assert decode_terms(empty_terms(encode_terms(TERMS))) == BARE
    bare = encode_terms(BARE)
    assert empty_terms(bare) == bare
    assert empty_terms(None) is None


def test_nothing_is_left_of_what_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(PAYLOAD_TERMS, "codec", KeyRing({"old": b"o" * 64}))
        stored = encode_terms(TERMS)
    assert empty_terms(stored) is None
