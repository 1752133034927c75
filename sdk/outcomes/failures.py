"""Failures: what kind of failure an exception is, decided once, by its type, its HTTP status or its engine code.

No client library is imported: their exceptions are known by name, also through their base classes. Nothing that an
exception does to its reader (properties that raise, strange metaclasses) gets out of here.
What is retried, and which words ``retry.on`` may hold: docs/reference/errors.md.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

from ...compiler.workflow import FailureClass
from ..retry_after import RETRY_AFTER_MS_MAX, read_attribute, read_item, read_retry_after
from ..user_errors import FatalError
from .step_context import StepError

RETRYABLE = "retryable"
FATAL = "fatal"
LEAVES_MAX = 64
"""Exceptions of a group that are looked at."""

_RETRYABLE_STATUSES = frozenset({408, 425, 429, *range(500, 600)})
_CODES: dict[str, str] = {
    "OUTPUT_INVALID": FailureClass.OUTPUT_INVALID,
    "TIMEOUT": FailureClass.TIMEOUT,
    "HEARTBEAT_TIMEOUT": FailureClass.TIMEOUT,
    "LEASE_LOST": FailureClass.ERROR,
    "PAYLOAD_MISSING": FailureClass.ERROR,
    "FAILED_OUTSIDE": FailureClass.ERROR,
    "PROCESS_DIED": FailureClass.ERROR,
    "TOOL_FAILED": FailureClass.ERROR,
}
"""The engine's codes that another try may mend, and their classes."""
_FATAL_CODES = frozenset(
    {"QUEUE_TIMEOUT", "SUBFLOW_FAILED", "SUBFLOW_CANCELLED", "SUBFLOW_TIMED_OUT", "SUBFLOW_REFUSED"}
)
"""Not tried again unless ``retry.on`` names them: the next try would wait in the same queue, or is a whole run anew,
whose own steps have been tried again already.
"""
_FINAL_CODES = frozenset(
    """INPUT_INVALID OUTPUT_MISMATCH VALUE_INVALID EXPRESSION_ERROR CONFIG_INVALID NO_ROUTE LOOP_EXHAUSTED
    PAYLOAD_TOO_LARGE ITEMS_INVALID TOO_MANY_ITEMS ITEMS_FAILED RESULT_INVALID POISONED REJECTED
    APPROVAL_EXPIRED SIGNAL_EXPIRED AGENT_EXHAUSTED BUDGET_EXHAUSTED BUDGET_UNPRICED""".split()
)
CODES = frozenset({*_CODES, *_FATAL_CODES, *_FINAL_CODES})
"""Every code with which the engine itself fails a step."""

_NETWORK_ERRNOS = frozenset(
    {
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENETRESET,
        errno.ENOTCONN,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ETIMEDOUT,
    }
)
_NETWORK_TYPES = frozenset(
    """builtins.ConnectionError socket.gaierror socket.herror ssl.SSLError asyncio.exceptions.IncompleteReadError
    http.client.HTTPException urllib.error.URLError anyio.BrokenResourceError anyio.IncompleteRead
    httpx.TransportError httpx._exceptions.TransportError httpcore.NetworkError httpcore.TimeoutException
    httpcore._exceptions.NetworkError httpcore._exceptions.TimeoutException
    requests.exceptions.ConnectionError requests.exceptions.Timeout requests.exceptions.ChunkedEncodingError
    urllib3.exceptions.ProtocolError urllib3.exceptions.TimeoutError urllib3.exceptions.MaxRetryError
    aiohttp.client_exceptions.ClientConnectionError aiohttp.client_exceptions.ClientPayloadError
    redis.exceptions.ConnectionError redis.exceptions.TimeoutError
    asyncpg.exceptions.PostgresConnectionError asyncpg.exceptions.ConnectionDoesNotExistError
    botocore.exceptions.HTTPClientError websockets.exceptions.ConnectionClosed
    anthropic.APIConnectionError openai.APIConnectionError""".split()
)
_TIMEOUT_TYPES = frozenset(
    """builtins.TimeoutError httpx.TimeoutException httpx._exceptions.TimeoutException httpcore.TimeoutException
    httpcore._exceptions.TimeoutException requests.exceptions.Timeout urllib3.exceptions.TimeoutError
    redis.exceptions.TimeoutError anthropic.APITimeoutError openai.APITimeoutError""".split()
)


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """``kind``: whether it is retried where the document does not say. ``name``: its class, for people and the log.

    ``words``: per exception (several in a group), every word of ``retry.on`` that means it. One that is not retried
    by default is meant by its status or code only, not by the name of a type.
    ``is_final``: never retried, whatever the document says. ``retry_after_ms``: what the other side asked to wait.
    """

    kind: str
    name: str
    words: tuple[frozenset[str], ...] = ()
    is_final: bool = False
    retry_after_ms: int | None = None

    def is_meant_by(self, on: Collection[str]) -> bool:
        """Whether ``retry.on`` holds a word for it; for each of its exceptions, where it is a group."""
        return bool(self.words) and all(not words.isdisjoint(on) for words in self.words)


FINAL = Failure(kind=FATAL, name=FailureClass.ERROR, is_final=True)


def classify(
    error: BaseException, *, retry_after_ms_max: int = RETRY_AFTER_MS_MAX, now_s: float | None = None
) -> Failure:
    """Return what kind of failure an exception is. Never raises.

    retry_after_ms_max: what is asked for beyond it counts as this. now_s: for a Retry-After that is a date and comes
    without the date of the answer; seconds since the epoch, those of this machine where left out.
    """
    if not isinstance(error, BaseExceptionGroup):
        return _classify_one(error, retry_after_ms_max, now_s)
    group = cast("BaseExceptionGroup[Any]", error)
    own = _known(group).names
    found = [_classify_one(leaf, retry_after_ms_max, now_s) for leaf in _leaves(group)]
    names = {failure.name for failure in found}
    return Failure(
        kind=FATAL if any(failure.kind == FATAL for failure in found) else RETRYABLE,
        name=names.pop() if len(names) == 1 else FailureClass.ERROR,
        words=tuple(each.words[0] if each.kind == FATAL else each.words[0] | own for each in found if each.words),
        is_final=any(failure.is_final for failure in found),
        retry_after_ms=max((failure.retry_after_ms or 0 for failure in found), default=0) or None,
    )


def of_code(code: str) -> Failure:
    """Return the failure behind a code of the engine's own, like TIMEOUT; one that is not known is retried."""
    if code in _FINAL_CODES:
        return FINAL
    if code in _FATAL_CODES:
        return Failure(kind=FATAL, name=FailureClass.ERROR, words=(frozenset({code}),))
    name = _CODES.get(code, FailureClass.ERROR)
    return Failure(kind=RETRYABLE, name=name, words=(frozenset({code, name}),))


def _classify_one(error: BaseException, retry_after_ms_max: int, now_s: float | None) -> Failure:
    if isinstance(error, StepError):
        return of_code(error.type)
    if isinstance(error, FatalError):
        return FINAL
    known = _known(error)
    asked_ms = read_retry_after(error, now_s)
    if asked_ms is not None:
        asked_ms = min(asked_ms, retry_after_ms_max)
    status = _status(error)
    if status is not None:
        words = frozenset({str(status), f"{status // 100}xx"})
        if status not in _RETRYABLE_STATUSES:
            return Failure(kind=FATAL, name=str(status), words=(words,), retry_after_ms=asked_ms)
        return Failure(kind=RETRYABLE, name=str(status), words=(words | known.names,), retry_after_ms=asked_ms)
    classes: list[str] = [FailureClass.TIMEOUT] if known.is_timeout else []
    if known.is_network or (isinstance(error, OSError) and read_attribute(error, "errno") in _NETWORK_ERRNOS):
        classes.append(FailureClass.NETWORK)
    classes = classes or [FailureClass.ERROR]
    return Failure(kind=RETRYABLE, name=classes[0], words=(known.names | frozenset(classes),), retry_after_ms=asked_ms)


class _Known(NamedTuple):
    """``names``: of a type and its bases, short and dotted."""

    names: frozenset[str]
    is_network: bool
    is_timeout: bool


def _known(error: object) -> _Known:
    return _known_type(cast("Any", type(error)))


@lru_cache(maxsize=1_000)
def _known_type(kind: type[Any]) -> _Known:
    dotted = {f"{each.__module__}.{each.__qualname__}" for each in kind.__mro__ if each is not object}
    short = {name.rpartition(".")[2] for name in dotted}
    return _Known(
        names=frozenset({*dotted, *short}),
        is_network=not dotted.isdisjoint(_NETWORK_TYPES),
        is_timeout=not dotted.isdisjoint(_TIMEOUT_TYPES),
    )


def _leaves(group: BaseExceptionGroup[Any]) -> Iterator[BaseException]:
    """The exceptions of a group that are no groups, in order; the first ``LEAVES_MAX``."""
    waiting: list[BaseException] = [group]
    left = LEAVES_MAX
    while waiting and left:
        each = waiting.pop()
        if isinstance(each, BaseExceptionGroup):
            waiting += reversed(cast("BaseExceptionGroup[Any]", each).exceptions)
        else:
            left -= 1
            yield each


def _status(error: BaseException) -> int | None:
    """The status of an HTTP answer that an exception or its ``response`` carries, from 400 to 599."""
    response = read_attribute(error, "response")
    found = [read_attribute(each, name) for each in (error, response) for name in ("status", "status_code")]
    found.append(read_item(read_item(response, "ResponseMetadata"), "HTTPStatusCode"))  # botocore
    statuses = [int(each) for each in found if isinstance(each, int) and not isinstance(each, bool)]
    return next((each for each in statuses if 400 <= each <= 599), None)
