"""What is kept of an exception, and what is decided on it."""

from __future__ import annotations

import json
from importlib.resources import files

import msgspec
import pytest

from courante.compiler.workflow import FailureClass
from courante.sdk.events import ErrorInfo, Facts, decode_facts, encode_facts
from courante.sdk.outcomes.failures import CODES
from courante.sdk.outcomes.outcomes import MESSAGE_MAX, TRACEBACK_MAX, failed
from courante.sdk.outcomes.step_context import StepError
from courante.sdk.user_errors import HttpError


def raised(error: BaseException) -> BaseException:
    """The exception with a traceback."""
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - the tests raise all sorts
        return caught


def test_an_exception_is_kept_with_its_class_and_its_place() -> None:
    """Type, message, kind, class, node, attempt, worker, and where it was raised."""
    outcome = failed(raised(HttpError(503, "down", 9)), "charge", 2, "w1", retry_after_ms_max=5_000)
    error = outcome.error
    assert (error.type, error.message, error.kind, error.failure_class) == (
        "HttpError", "HTTP 503: down", "retryable", "503",
    )  # fmt: skip
    assert (error.node, error.attempt, error.worker) == ("charge", 2, "w1")
    assert "in raised" in error.traceback
    assert outcome.failure.retry_after_ms == 5_000


def test_a_code_of_the_engine_has_no_traceback() -> None:
    """It is about the document or the data, not about code."""
    error = failed(raised(StepError("NO_ROUTE", "no rule holds")), "pick", 1, "w1").error
    assert (error.type, error.kind, error.failure_class, error.traceback) == ("NO_ROUTE", "fatal", "error", "")


def test_texts_are_cut() -> None:
    """Long messages leave room for the frames, and the last ones stay."""
    error = failed(raised(ValueError("x" * 100_000)), "a", 1, "w").error
    assert len(error.message) == MESSAGE_MAX
    assert len(error.traceback) <= TRACEBACK_MAX
    assert "in raised" in error.traceback


def test_the_class_is_called_so_in_the_log() -> None:
    """``kind`` and ``class`` stand in the facts, and are left out where nothing failed by itself."""
    error = ErrorInfo(type="E", message="m", kind="fatal", failure_class="404")
    facts = Facts(type="step.failed", error=error)
    assert json.loads(encode_facts(facts))["error"] == {"type": "E", "message": "m", "kind": "fatal", "class": "404"}
    assert decode_facts(encode_facts(facts)) == facts
    assert msgspec.json.encode(ErrorInfo(type="E", message="m")) == b'{"type":"E","message":"m"}'


@pytest.mark.parametrize("more", ["", ',"kind":"retryable","class":"network","of_later":1'])
def test_logs_of_other_releases_are_read(more: str) -> None:
    """A log of before has neither field, one of later has more."""
    error = decode_facts(f'{{"type":"step.failed","error":{{"type":"E","message":"m"{more}}}}}'.encode()).error
    assert error is not None
    assert (error.kind, error.failure_class) == (("retryable", "network") if more else ("", ""))


def test_every_class_and_code_is_documented() -> None:
    """docs/reference/errors.md has them all."""
    text = (files("courante") / "docs" / "reference" / "errors.md").read_text("utf-8")
    assert [word for word in sorted({*CODES, *FailureClass}) if f"`{word}`" not in text] == []
