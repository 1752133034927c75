"""Failures are told apart by type, status and code, whatever library they come from."""

from __future__ import annotations

import asyncio
import errno
import http.client
import re
import socket
import ssl
import subprocess
import sys
import urllib.error
from email.message import Message
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante import FatalError, HttpError, RetryableError
from courante.sdk.outcomes.failures import CODES, LEAVES_MAX, classify, of_code
from courante.sdk.outcomes.step_context import StepError

ROOT = Path(__file__).resolve().parents[2]
REQUEST = httpx.Request("GET", "http://localhost")


def answered(status: int, headers: dict[str, str] | None = None) -> httpx.HTTPStatusError:
    response = httpx.Response(status, headers=headers or {}, request=REQUEST)
    return httpx.HTTPStatusError("no", request=REQUEST, response=response)


def foreign(place: str, **fields: object) -> Exception:
    """An exception of a library that is not installed: all that is known of it is its dotted name."""
    module, _, name = place.rpartition(".")
    error: Exception = type(name, (Exception,), {"__module__": module, **fields})("no")
    return error


class OutOfStock(LookupError):
    pass


KINDS: list[tuple[BaseException, str, str]] = [
    (ConnectionRefusedError("no"), "retryable", "network"),
    (ConnectionResetError("no"), "retryable", "network"),
    (socket.gaierror(socket.EAI_NONAME, "no such host"), "retryable", "network"),
    (ssl.SSLError("no"), "retryable", "network"),
    (OSError(errno.EHOSTUNREACH, "no"), "retryable", "network"),
    (asyncio.IncompleteReadError(b"", 3), "retryable", "network"),
    (http.client.RemoteDisconnected("no"), "retryable", "network"),
    (http.client.IncompleteRead(b""), "retryable", "network"),
    (urllib.error.URLError("no"), "retryable", "network"),
    (httpx.ConnectError("no"), "retryable", "network"),
    (httpx.RemoteProtocolError("no"), "retryable", "network"),
    (foreign("requests.exceptions.ConnectionError"), "retryable", "network"),
    (foreign("aiohttp.client_exceptions.ClientConnectionError"), "retryable", "network"),
    (TimeoutError(), "retryable", "timeout"),
    (OSError(errno.ETIMEDOUT, "no"), "retryable", "timeout"),
    (httpx.ReadTimeout("no"), "retryable", "timeout"),
    (foreign("requests.exceptions.Timeout"), "retryable", "timeout"),
    (answered(500), "retryable", "500"),
    (answered(503), "retryable", "503"),
    (answered(429), "retryable", "429"),
    (HttpError(408), "retryable", "408"),
    (HttpError(504, "slow"), "retryable", "504"),
    (answered(400), "fatal", "400"),
    (answered(401), "fatal", "401"),
    (HttpError(403), "fatal", "403"),
    (HttpError(404), "fatal", "404"),
    (HttpError(422), "fatal", "422"),
    (HttpError(302), "retryable", "error"),
    (urllib.error.HTTPError("http://localhost", 404, "no", Message(), None), "fatal", "404"),
    (foreign("openai.APIStatusError", status_code=401), "fatal", "401"),
    (foreign("aiohttp.ClientResponseError", status=502), "retryable", "502"),
    (foreign("botocore.E", response={"ResponseMetadata": {"HTTPStatusCode": 400}}), "fatal", "400"),
    (foreign("shop.E", status=True, status_code="404", response=7), "retryable", "error"),
    (ValueError("no"), "retryable", "error"),
    (OutOfStock("no"), "retryable", "error"),
    (FileNotFoundError(errno.ENOENT, "no"), "retryable", "error"),
    (PermissionError(errno.EACCES, "no"), "retryable", "error"),
    (RetryableError("later"), "retryable", "error"),
    (SystemExit(3), "retryable", "error"),
    (FatalError("no"), "fatal", "error"),
    (StepError("OUTPUT_INVALID", "no"), "retryable", "output_invalid"),
    (StepError("TIMEOUT", "no"), "retryable", "timeout"),
    (StepError("HEARTBEAT_TIMEOUT", "no"), "retryable", "timeout"),
    (StepError("LEASE_LOST", "no"), "retryable", "error"),
    (StepError("QUEUE_TIMEOUT", "no"), "fatal", "error"),
    (StepError("INPUT_INVALID", "no"), "fatal", "error"),
    (StepError("POISONED", "no"), "fatal", "error"),
]


@pytest.mark.parametrize(("error", "kind", "name"), KINDS, ids=lambda value: str(type(value).__name__))
def test_each_failure_has_a_kind_and_a_class(error: BaseException, kind: str, name: str) -> None:
    """What passes by itself is retryable, what does not is fatal, and the class says why."""
    failure = classify(error)
    assert (failure.kind, failure.name) == (kind, name)


MEANT: list[tuple[BaseException, set[str], set[str]]] = [
    (httpx.ConnectTimeout("no"), {"network", "timeout", "httpx.TimeoutException"}, {"error", "5xx"}),
    (TimeoutError(), {"timeout", "TimeoutError", "OSError"}, {"network"}),
    (answered(503), {"503", "5xx", "httpx.HTTPStatusError", "HTTPError"}, {"500", "4xx", "network", "error"}),
    (answered(429), {"429", "4xx"}, {"5xx"}),
    (answered(404), {"404", "4xx"}, {"HTTPStatusError", "Exception", "error"}),
    (OutOfStock("no"), {"error", "OutOfStock", "LookupError", "Exception", f"{__name__}.OutOfStock"}, {"network"}),
    (StepError("TIMEOUT", "no"), {"TIMEOUT", "timeout"}, {"network", "StepError"}),
    (StepError("QUEUE_TIMEOUT", "no"), {"QUEUE_TIMEOUT"}, {"timeout", "error"}),
    (FatalError("no"), set(), {"error", "FatalError", "Exception"}),
    (StepError("NO_ROUTE", "no"), set(), {"error", "NO_ROUTE"}),
]


@pytest.mark.parametrize(("error", "yes", "no"), MEANT)
def test_a_failure_is_meant_by_class_status_type_and_code(error: BaseException, yes: set[str], no: set[str]) -> None:
    """Also by the name of a base class, short or dotted; a fatal one by its status or code alone."""
    failure = classify(error)
    assert {word for word in yes | no if failure.is_meant_by((word,))} == yes
    assert not failure.is_meant_by(())


def test_a_group_is_what_all_of_it_is() -> None:
    """One fatal exception in it is enough to be fatal; a word has to be there for each of them."""
    both = ExceptionGroup("", [httpx.ConnectError("no"), ExceptionGroup("", [TimeoutError()])])
    failure = classify(both)
    assert (failure.kind, failure.name) == ("retryable", "error")
    assert failure.is_meant_by({"network", "timeout"})
    assert failure.is_meant_by({"ExceptionGroup"})
    assert not failure.is_meant_by({"network"})
    assert classify(ExceptionGroup("", [httpx.ConnectError("no")])).name == "network"
    spoiled = classify(ExceptionGroup("", [httpx.ConnectError("no"), FatalError("no")]))
    assert (spoiled.kind, spoiled.is_final) == ("fatal", True)
    refused = classify(ExceptionGroup("", [TimeoutError(), HttpError(404)]))
    assert (refused.kind, refused.is_final, refused.is_meant_by({"Exception"})) == ("fatal", False, False)
    late = classify(ExceptionGroup("", [HttpError(429, retry_after=3), HttpError(429, retry_after=9)]))
    assert (late.name, late.retry_after_ms) == ("429", 9_000)
    assert len(classify(ExceptionGroup("", [ValueError("no")] * 10_000)).words) == LEAVES_MAX


class Hostile(Exception):
    """Whatever is asked of it raises."""

    @property
    def status(self) -> int:
        raise RuntimeError("not now")

    @property
    def retry_after(self) -> int:
        raise RuntimeError("not now")

    @property
    def response(self) -> Any:
        raise RuntimeError("not now")


def test_an_exception_that_cannot_be_read_is_still_a_failure() -> None:
    """Its properties are user code; what they raise goes nowhere."""
    assert (classify(Hostile()).kind, classify(Hostile()).name) == ("retryable", "error")


def test_every_code_of_the_engine_is_known() -> None:
    """No node fails with a code of which nobody has decided whether it is retried."""
    used: set[str] = set()
    for folder in ("sdk", "runner"):
        for file in (ROOT / folder).rglob("*.py"):
            used.update(re.findall(r'StepError\(\s*"([A-Z_]+)"', file.read_text("utf-8")))
    assert {"EXPRESSION_ERROR", "PAYLOAD_TOO_LARGE"} <= used
    assert used <= CODES
    assert of_code("A_CODE_OF_LATER").kind == "retryable"


def test_no_client_library_is_loaded() -> None:
    """Telling failures apart costs no import of what the user does not use."""
    code = (
        "import sys; from courante.sdk.outcomes.failures import classify; classify(ValueError()); "
        "print(sorted({'httpx', 'requests', 'aiohttp', 'ssl', 'redis', 'asyncpg'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd="/")
    assert done.stdout == "[]\n"


ASKED: list[tuple[BaseException, int | None]] = [
    (RetryableError("later", 2.5), 2_500),
    (RetryableError("later", retry_after_s=0), None),
    (HttpError(429, retry_after="7"), 7_000),
    (HttpError(503, retry_after="Sun, 06 Nov 1994 08:49:37 GMT"), 37_000),
    (answered(429, {"Retry-After": "1.5"}), 1_500),
    (answered(429, {"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}), 37_000),
    (
        answered(429, {"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT", "Date": "Sun, 06 Nov 1994 08:49:27 GMT"}),
        10_000,
    ),
    (foreign("discord.E", retry_after=0.0001), 1),
    (foreign("botocore.E", response={"ResponseMetadata": {"HTTPHeaders": {"retry-after": "4"}}}), 4_000),
    (foreign("aiohttp.E", headers={"Retry-After": "4"}), 4_000),
    (HttpError(429, retry_after="86400"), 3_600_000),
    (HttpError(429, retry_after=float("inf")), 3_600_000),
    (HttpError(429, retry_after="9" * 15), 3_600_000),
    (HttpError(429, retry_after=float("nan")), None),
    (HttpError(429, retry_after=-3), None),
    (HttpError(429, retry_after="soon"), None),
    (HttpError(429, retry_after="Sun, 99 Nov 1994 08:49:37 GMT"), None),
    (HttpError(429, retry_after="Sat, 05 Nov 1994 08:49:37 GMT"), None),
    (foreign("shop.E", retry_after=True), None),
    (foreign("shop.E", retry_after=object()), None),
    (answered(429), None),
    (ValueError("no"), None),
]


@pytest.mark.parametrize(("error", "expected"), ASKED)
def test_what_the_other_side_asked_for_is_read(error: BaseException, expected: int | None) -> None:
    """Seconds or a date, as an attribute or a header, at most an hour; the date of the answer is the clock."""
    assert classify(error, now_s=784_111_740.0).retry_after_ms == expected


def test_the_most_that_is_honoured_is_a_setting() -> None:
    """What is asked for beyond it counts as this."""
    assert classify(HttpError(429, retry_after=9), retry_after_ms_max=2_000).retry_after_ms == 2_000
    assert classify(HttpError(429, retry_after=9), retry_after_ms_max=0).retry_after_ms == 0


@given(st.text() | st.floats() | st.integers() | st.binary() | st.none() | st.lists(st.integers()))
def test_nothing_that_is_asked_for_breaks_the_reader(asked: object) -> None:
    """Whatever stands there, the wait is a number of ms from 1 to the most, or none."""
    found = classify(foreign("shop.E", retry_after=asked)).retry_after_ms
    assert found is None or 1 <= found <= 3_600_000
