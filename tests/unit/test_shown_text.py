"""What is shown of an answer while it is told is what its whole would show, and never a secret, however it is cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from courante.runner.shown_text import WINDOW_CHARS, WORD_CHARS_MAX, ShownText
from courante.sdk.secrets.redaction import Redactor

PHRASE = "correct horse battery staple"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj\nAgEAAoIBAQC7\n-----END PRIVATE KEY-----"
SECRETS = (PHRASE, "wall-street-1987", "sk-abcdefghijklmnop1234", "password='open sesame now'", KEY)
HIDDEN = ("correct horse", "battery staple", "street-1987", "abcdefghijklmnop", "sesame", "w0BAQEF")


def redactor() -> Redactor:
    made = Redactor({})
    made.register(PHRASE, "wall-street-1987")
    return made


def shown(pieces: list[str]) -> list[str]:
    text = ShownText(redactor())
    found: list[str] = []
    for piece in pieces:
        text.add(piece)
        found.append(text.take())
    return [*found, text.take(is_last=True)]


words = st.one_of(st.sampled_from(SECRETS), st.text("ab cor\n", max_size=12))
texts = st.lists(words, max_size=8).map(" ".join)


def cut(text: str, places: list[int]) -> list[str]:
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in places)})
    return [text[start:end] for start, end in pairwise(places)]


@given(texts, st.lists(st.integers(0, 10_000), max_size=12))
@example("a " + PHRASE + " b", list(range(40)))
@example("x\n" + KEY + "\ny", list(range(0, 120, 3)))
def test_pieces_show_no_secret(text: str, places: list[int]) -> None:
    """In whatever pieces it comes."""
    told = "".join(shown(cut(text, places)))
    assert not any(word in told for word in HIDDEN)
    if not any(secret in text for secret in SECRETS):
        assert told == text


def test_complete_words_are_shown_at_once() -> None:
    """The word that may go on waits, and so does the beginning of a secret of several words."""
    told = shown(["one tw", "o three ", "correct hor", "se race", " on"])
    assert told == ["one ", "two three ", "", "", "correct horse race ", "on"]


def test_text_without_spaces_is_shown_too() -> None:
    """But for its end, where half of a secret may stand."""
    text = ShownText(redactor())
    text.add("x" * 5_000)
    assert len(text.take()) == 5_000 - WORD_CHARS_MAX
    assert len(text.take(is_last=True)) == WORD_CHARS_MAX


def test_long_texts_are_shown_whole() -> None:
    """Longer than the window, in one piece and in many, with no more kept than a window needs."""
    text = "".join(f"line {number} of a long answer\n" for number in range(10_000))
    assert "".join(shown([text])) == text
    assert "".join(shown([text[at : at + 1_000] for at in range(0, len(text), 1_000)])) == text
    made = ShownText(redactor())
    made.add(text)
    made.take()
    assert len(vars(made)["_window"]) <= 3 * WINDOW_CHARS
