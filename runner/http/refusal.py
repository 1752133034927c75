"""Refusals: what a service says beside a status that nobody wants, and the error that it is."""

from __future__ import annotations

from collections.abc import Iterable

import httpx

from ...sdk.secrets.redaction import mask_values
from ...sdk.step_error import StepError
from ...sdk.user_errors import HttpError
from .answer import as_text, read_body

SHOWN_BYTES = 2_000
STATUS_MAX = 599
"""Beyond it there are no classes of statuses: what somebody means by 999 nobody knows."""


async def read_refusal(response: httpx.Response, secrets: Iterable[str]) -> str:
    """Return the beginning of what a service says, without secrets. The status was told, whatever becomes of this."""
    try:
        content = await read_body(response, SHOWN_BYTES, cuts=True)
    except (StepError, httpx.TransportError) as unread:  # cannot be unpacked, or broke off
        content = f"(what it says cannot be read: {unread})".encode()
    shown = mask_values(content, secrets, is_cut=len(content) == SHOWN_BYTES)
    return as_text(shown, response).strip()


def refused(response: httpx.Response, said: str) -> HttpError:
    """Return the error of a status from 400 to 599; its Retry-After counts."""
    error = HttpError(response.status_code, said)
    error.response = response
    return error
