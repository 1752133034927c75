"""Retry-After: how long the other side of a failed call asked to wait (RFC 9110, section 10.2.3).

Read from an exception: its ``retry_after_s`` or ``retry_after``, or the header of its ``response`` or ``headers``.
"""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import Any

from ..compiler.limits import DURATION_MS_MAX

RETRY_AFTER_MS_MAX = 3_600_000
"""What is honoured unless a setting says otherwise: an hour."""
_TEXT_MAX = 64
_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")


def read_retry_after(error: BaseException, now_s: float | None = None) -> int | None:
    """Return ms from now, more than 0 and at most ``DURATION_MS_MAX``, or None where nothing is asked. Never raises.

    A date counts from the ``Date`` of the same answer, else from ``now_s``.
    """
    for name in ("retry_after_s", "retry_after"):
        asked = read_attribute(error, name)
        if asked is not None:
            return parse_retry_after(asked, now_s)
    response = read_attribute(error, "response")
    for headers in (
        read_attribute(response, "headers"),
        read_attribute(error, "headers"),
        read_item(read_item(response, "ResponseMetadata"), "HTTPHeaders"),  # botocore
    ):
        asked = _header(headers, "Retry-After")
        if asked is not None:
            sent_s = _date_s(_header(headers, "Date"))
            return parse_retry_after(asked, now_s if sent_s is None else sent_s)
    return None


def parse_retry_after(asked: object, now_s: float | None = None) -> int | None:
    """Return ms from seconds (a number, or its text) or a date; None for anything else, and for no time at all."""
    if isinstance(asked, str):
        text = asked.strip()
        seconds = float(text) if len(text) <= _TEXT_MAX and _SECONDS.fullmatch(text) else _seconds_until(text, now_s)
    elif isinstance(asked, int | float) and not isinstance(asked, bool):
        seconds = asked
    else:
        return None
    if seconds is None or math.isnan(seconds) or seconds <= 0:
        return None
    return DURATION_MS_MAX if seconds * 1_000 >= DURATION_MS_MAX else math.ceil(seconds * 1_000)


def _seconds_until(text: str, now_s: float | None) -> float | None:
    at_s = _date_s(text)
    return None if at_s is None else at_s - (time.time() if now_s is None else now_s)


def _date_s(text: object) -> float | None:
    if not isinstance(text, str) or len(text) > _TEXT_MAX:
        return None
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _header(headers: object, name: str) -> object:
    """A header of a mapping, whether or not that tells upper case from lower."""
    value = read_item(headers, name)
    return read_item(headers, name.lower()) if value is None else value


def read_attribute(value: object, name: str) -> object:
    """Return an attribute of something of a user's, None where there is none or where it cannot be read."""
    try:
        return getattr(value, name, None)
    except Exception:  # noqa: BLE001 - a property is user code, and raises anything
        return None


def read_item(mapping: Any, name: str) -> object:
    """Return what a mapping of a user's has under a name, None where there is none or where it is no mapping."""
    try:
        return mapping.get(name)
    except Exception:  # noqa: BLE001 - its get is user code, and raises anything
        return None
