"""Secrets are masked wherever they stand in a text, and nothing else is."""

from __future__ import annotations

import base64
import json
import os
import pty
import string
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from courante.cli.log_output import configure_logs
from courante.cli.main import run_cli
from courante.sdk.outcomes.outcomes import MESSAGE_MAX, TRACEBACK_MAX, failed
from courante.sdk.secrets.redaction import MASK, REDACTOR, TEXT_CHARS_MAX, VALUES_MAX, Redactor
from courante.sdk.secrets.secret_shapes import find_shapes

CANARY = "canary-5f1c9a-of-the-vault"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJlIQ"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\nq83vASNFZ4mrze8B\n-----END RSA PRIVATE KEY-----"


def knowing(*values: str) -> Redactor:
    made = Redactor({})
    made.register(*values)
    return made


SHAPES: list[tuple[str, str]] = [
    ("postgres://ann:hunter2@db/x is away", "postgres://ann:***@db/x is away"),
    ("redis://:p@ss/word@h:1/0, redis://h:1/0", "redis://:***@h:1/0, redis://h:1/0"),
    ("see http://localhost:8080/a?b=c", "see http://localhost:8080/a?b=c"),
    ("sent Authorization: Bearer abc to it", "sent Authorization: *** to it"),
    ("{'Authorization': 'Basic YW5uOmh1bnRlcg=='}", "{'Authorization': '***'}"),
    ("authorization=Token%20x", "authorization=***"),
    ("got Bearer abc.def-123456", "got Bearer ***"),
    ("bearer token missing; basic authentication failed", "bearer token missing; basic authentication failed"),
    ("password=hunter2&user=ann", "password=***&user=ann"),
    ("connect(password='two words', port=1)", "connect(password='***', port=1)"),
    ('{"api_key": "abc", "n": 1}', '{"api_key": "***", "n": 1}'),
    (r"{\"client_secret\": \"a b\"}", r'{\"client_secret\": \"***"}'),
    ("wrong password: try again", "wrong password: try again"),
    ("unexpected token: )", "unexpected token: )"),
    ("key sk-proj-abcdefghijklmnop1234, task-abcdefghijklmnopqrstuvw", "key ***, task-abcdefghijklmnopqrstuvw"),
    (r"'\nsk_live_abcdefghijklmnop'", r"'\n***'"),
    ("ghp_abcdefghijklmnopqrstuvwx0123", "***"),
    ("key crt_0123456789ab_" + "0f" * 32 + " of crt_0123456789ab", "key crt_0123456789ab_*** of crt_0123456789ab"),
    ("github_pat_11ABCDEFG0abcdefghijkl", "***"),
    ("xoxb-123456789012-abcdef", "***"),
    ("id AKIAIOSFODNN7EXAMPLE.", "id ***."),
    (f"[{JWT}]", "[***]"),
    (f"key: {PEM} after", "key: -----BEGIN RSA PRIVATE KEY-----***-----END RSA PRIVATE KEY----- after"),
    (PEM[:60], "-----BEGIN RSA PRIVATE KEY-----***"),
    ("ordinary words, 12:1.3, run_01JABCDEF, a@b.example", "ordinary words, 12:1.3, run_01JABCDEF, a@b.example"),
]


@pytest.mark.parametrize(("text", "expected"), SHAPES)
def test_what_looks_like_a_secret_is_masked(text: str, expected: str) -> None:
    """Passwords in URLs, headers, fields with such names, keys of known makers; the words around them stay."""
    assert Redactor({}).redact(text) == expected


SPELLINGS: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "json": lambda value: json.dumps(value)[1:-1],
    "json in unicode": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "repr": lambda value: repr(value)[1:-1],
    "repr beside quotes": lambda value: repr([f"'{value}\""])[4:-3],
    "url": lambda value: quote(value, safe=""),
    "form": quote_plus,
    "base64": lambda value: base64.b64encode(value.encode()).decode(),
    "base64 for urls": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
}


@pytest.mark.parametrize("secret", ["Ü\"'\\ \n+/&?=end of it", "ann's secret"])
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_known_secret_is_found_in_every_spelling(spelling: str, secret: str) -> None:
    """In JSON, in a repr, in a URL and in base64; inside of a word too."""
    shown = SPELLINGS[spelling](secret)
    masked = knowing(secret).redact(f"x{shown}y")
    assert shown not in masked
    assert masked.count(MASK) == 1


def test_secrets_are_found_in_the_environment() -> None:
    """By the names of variables, and as passwords of URLs; the values of other variables are no secrets."""
    environ = {
        "SHOP_KEY": "value-of-key",
        "SHOP_TOKEN": "value-of-token",
        "SHOP_SECRET": "value-of-secret",
        "PGPASSWORD": "value-of-password",
        "aws_secret_access_key_id": "value-of-access",
        "COURANTE_REDIS_URL": "redis://ann:value%2Dof-url@h/0",
        "SHORT_KEY": "true",
        "MONKEY": "value-of-monkey",
        "MAX_TOKENS": "value-of-limits",
        "WHERE": "https://h/path:to-a-place@x",
    }
    redactor = Redactor(environ)
    for value in ("key", "token", "secret", "password", "access", "url"):
        assert redactor.redact(f"<value-of-{value}>") == f"<{MASK}>"
    assert redactor.redact("value%2Dof-url") == MASK
    assert redactor.redact(base64.b64encode(b"ann:value-of-url").decode().rstrip("=")) == MASK
    for value in ("true", "value-of-monkey", "value-of-limits", "to-a-place"):
        assert redactor.redact(value) == value


def test_variables_that_come_later_are_found_too() -> None:
    """After a second, or at once when it is asked for; what goes away stays a secret."""
    now = 0.0
    environ: dict[str, str] = {}
    redactor = Redactor(environ, clock=lambda: now)
    assert redactor.redact(CANARY) == CANARY
    environ["SHOP_KEY"] = CANARY
    assert redactor.redact(CANARY) == CANARY
    now = 1.1
    assert redactor.redact(CANARY) == MASK
    environ.clear()
    redactor.reread()
    assert redactor.redact(CANARY) == MASK
    environ["SHOP_KEY"] = "another one"
    redactor.reread()
    assert redactor.redact("another one") == MASK


class Changing(dict[str, str]):
    """An environment out of which another thread takes a variable while it is read."""

    def items(self) -> Any:
        raise KeyError("SHOP_KEY")


def test_an_environment_that_changes_meanwhile_is_read_later() -> None:
    """What was known stays known, and nobody is disturbed."""
    redactor = Redactor(Changing())
    redactor.register(CANARY)
    assert redactor.redact(CANARY) == MASK


def test_long_secrets_and_their_lines_are_masked() -> None:
    """A value of 10,000 characters, and each line of a key, also where something stands between them."""
    long = "".join(f"{number:05}" for number in range(2_048))
    assert knowing(long).redact(f"<{long}>") == f"<{MASK}>"
    assert knowing(long + "ab").redact(f"<{long}ab> ab") == f"<{MASK}> ab"
    lines = "first line of it\nsecond line of it\n"
    assert knowing(lines).redact("  | first line of it\n  | second line of it") == f"  | {MASK}\n  | {MASK}"


def test_secrets_that_overlap_leave_nothing() -> None:
    """Of two that share characters no piece of either is left; one inside of another is no trouble."""
    assert knowing("abcdefgh", "efghijkl").redact("-abcdefghijkl-") == f"-{MASK}-"
    assert knowing("abcdef", "abcdefgh").redact("abcdefgh abcdef") == f"{MASK} {MASK}"
    assert knowing("cdefgh", "abcdefghijkl").redact("-abcdefghijkl-") == f"-{MASK}-"


def test_what_is_too_long_is_cut_without_leaving_half_a_secret() -> None:
    """The end of a cut text is masked as far as a secret could reach."""
    text = "x" * (TEXT_CHARS_MAX - 5) + CANARY + "y" * 100
    masked = knowing(CANARY).redact(text)
    assert masked.endswith(f"x{MASK}")
    assert "canary" not in masked
    assert "canar" not in Redactor({}).redact(text)


def test_the_number_of_secrets_is_bounded() -> None:
    """Too many are refused, and those that had room are masked."""
    redactor = Redactor({})
    with pytest.raises(ValueError, match="more than 10,000 secrets"):
        redactor.register(*(f"secret-{number:06}" for number in range(VALUES_MAX)))
    assert redactor.redact("secret-000000") == MASK
    assert redactor.size == VALUES_MAX


secrets = st.text(min_size=6, max_size=40).filter(lambda value: len(value.strip()) >= 6)


@given(secrets, st.text(max_size=50), st.text(max_size=50), st.sampled_from(sorted(SPELLINGS)))
def test_no_secret_is_left_anywhere(secret: str, before: str, after: str, spelling: str) -> None:
    """Whatever the secret, the text around it and the spelling, nothing of it comes out."""
    secret = secret.encode("utf-8", "replace").decode()
    shown = SPELLINGS[spelling](secret.strip())
    shown = shown.rstrip("=") if "base64" in spelling else shown
    masked = knowing(secret).redact(before + shown + after)
    assert shown not in masked.replace(MASK, "\x00" * 50)


@given(st.text(st.sampled_from(string.ascii_letters + string.digits + " .,;-\n*"), max_size=200))
def test_ordinary_text_stays_and_masked_text_too(text: str) -> None:
    """What holds no secret is returned as it is, and redacting again changes nothing."""
    redactor = knowing(CANARY)
    masked = redactor.redact(text)
    if not find_shapes(text.encode()):
        assert masked == text
    assert redactor.redact(masked) == masked


@given(st.text(max_size=300))
def test_any_text_can_be_redacted(text: str) -> None:
    """Half surrogates, control characters, anything: no error, and no change where there is nothing to mask."""
    spoiled = f"{text}\ud800\x00"
    masked = knowing(CANARY).redact(spoiled)
    assert masked == spoiled or MASK in masked


@pytest.mark.parametrize(
    "part", ["://a:", "a://b:c", "password=", "-----BEGIN PRIVATE KEY-----", "eyJaaaaaaa.", "Bearer ", "'\"", "a@"]
)
def test_time_is_linear_in_hostile_texts(part: str) -> None:
    """64 KiB made to be slow take less than a tenth of a second, where a square would take minutes."""
    redactor = knowing(CANARY)
    text = part * (TEXT_CHARS_MAX // len(part))
    redactor.redact("warm")
    best = min(_cpu_seconds(lambda: redactor.redact(text)) for _ in range(3))
    assert best < 0.1


def _cpu_seconds(call: Callable[[], object]) -> float:
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> str:
    """A secret of this process."""
    monkeypatch.setenv("SHOP_API_KEY", CANARY)
    REDACTOR.reread()
    return CANARY


def test_errors_of_steps_hold_no_secret(vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the message, the traceback, a note or a cause; not where the texts are cut; not in the frames."""
    causes = [
        ValueError(vault),
        ValueError("x" * (MESSAGE_MAX - 3) + vault),
        ValueError("x" * 978 + vault + "y" * 5_000),
        KeyError({"auth": f"\n{vault}", "n": 1}),
        ExceptionGroup(f"of {vault}", [ValueError(f"in {vault}")]),
    ]
    for cause in causes:
        try:
            try:
                raise cause
            except Exception as inner:
                inner.add_note(f"noted {vault}")
                raise RuntimeError(f"behind {vault}") from inner
        except RuntimeError as error:
            said = [failed(error, "a", 1, "w").error, failed(cause, "a", 1, "w").error]
        for info in said:
            assert vault[:8] not in info.message + info.traceback
            assert MASK in info.message + info.traceback
            assert len(info.traceback) <= TRACEBACK_MAX
    monkeypatch.setenv("OF_LATER_KEY", "another-canary")
    assert failed(ValueError("another-canary"), "a", 1, "w").error.message == MASK
    with pytest.raises(RecursionError) as caught:
        _dive(vault)
    assert "_dive" in failed(caught.value, "a", 1, "w").error.traceback


def _dive(value: str) -> None:
    _dive(value)


class Odd:
    """An object that is logged."""

    def __init__(self, shown: str) -> None:
        self.shown = shown

    def __repr__(self) -> str:
        if not self.shown:
            raise RuntimeError("no")
        return f"<Odd {self.shown}>"


def test_log_lines_hold_no_secret(vault: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not in a field, a list, an object, a field whose name says it, nor in a traceback."""
    configure_logs("info")
    log = structlog.get_logger()
    deep = {"a": [{"b": (vault, 1)}], "password": "short"}
    try:
        raise ValueError(f"it is {vault}")
    except ValueError:
        log.exception("it_failed", error=f"see {vault}", deep=deep, odd=Odd(vault), mute=Odd(""), raw=vault.encode())
    written = capsys.readouterr().err
    assert vault not in written
    line = json.loads(written)
    assert line["deep"] == {"a": [{"b": [MASK, 1]}], "password": MASK}
    assert (line["error"], line["odd"], line["raw"]) == ("see ***", "<Odd ***>", "b'***'")
    assert "RuntimeError" in line["mute"]
    assert "ValueError: it is ***" in line["exception"]


def test_coloured_log_lines_hold_no_secret(vault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal a traceback is plain: no values of variables."""
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        configure_logs("info")
        try:
            hidden = vault
            raise ValueError(f"it is {hidden}")
        except ValueError:
            structlog.get_logger().exception("it_failed", error=vault)
        terminal.flush()
        written = os.read(master, 100_000).decode()
    os.close(master)
    assert "it is ***" in written
    assert vault not in written
    assert "hidden =" not in written


def test_a_fault_of_ours_is_told_without_secrets(
    vault: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traceback and the message of an internal error are masked on their way out."""

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(f"by {vault}")

    monkeypatch.setattr("courante.cli.main.cli.main", broken)
    assert run_cli(["config"]) == 1
    written = capsys.readouterr()
    assert "by ***" in written.err
    assert vault not in written.out + written.err


@pytest.mark.parametrize(
    ("text", "fields", "holds"),
    [
        ("nothing here", {"n": 1, "s": "text", "none": None, "yes": True}, True),
        (f"see {CANARY}", {}, False),
        ("see", {"s": f"it is {CANARY}"}, False),
        ("see", {"password": "x"}, False),
        ("see", {"s": "Bearer abcdefghijklmnop1234"}, False),
        ("see", {"nested": {"a": 1}}, False),
        ("see", {"f": 1.5}, False),
        ("x" * (TEXT_CHARS_MAX + 1), {}, False),
    ],
)
def test_one_look_tells_that_a_line_holds_no_secret(text: str, fields: dict[str, object], holds: bool) -> None:
    """Where it tells so, nothing would be masked in the text and in any of the fields."""
    made = Redactor({})
    made.register(CANARY)
    assert made.finds_nothing(text, fields) is holds
    if holds:
        assert made.redact(text) == text
        assert all(made.redact_field(name, value) == value for name, value in fields.items())
