"""Base terms: how a run goes on from its base run. Part of its start command, so that it is durable before anything
is done, and whoever applies the command again makes the same of it.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from .errors import PayloadUnreadable
from .events import digest
from .payload_terms import PAYLOAD_TERMS

Way: TypeAlias = Literal["retry", "rerun", "rebuild", "fork"]


class BaseTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``steps``: that are executed again, with all that follows from them. ``given``: outputs that stand in the place
    of steps, JSON bytes by the id of the step. ``has_input``: the command's own input takes the place of the base's.
    ``change``: the types of the change requests that it answers, with commas. ``version``: of the workflow, by which
    the rest of a retry is done.
    """

    way: Way
    steps: tuple[str, ...] = ()
    given: dict[str, bytes] = {}
    has_input: bool = False
    change: str = ""
    version: int = 0


def encode_terms(terms: BaseTerms | None) -> bytes | None:
    """Return what is stored of them: encrypted, where payloads are."""
    return None if terms is None else PAYLOAD_TERMS.encode(_encoder.encode(terms))


def decode_terms(stored: bytes | None) -> BaseTerms | None:
    """Raises PayloadUnreadable, msgspec.MsgspecError."""
    return None if stored is None else msgspec.json.decode(PAYLOAD_TERMS.decode(stored), type=BaseTerms)


def empty_terms(stored: bytes | None) -> bytes | None:
    """Return what is left of stored terms without the outputs that were given; nothing of what cannot be read."""
    try:
        terms = decode_terms(stored)
    except PayloadUnreadable:
        return None
    return stored if terms is None or not terms.given else encode_terms(msgspec.structs.replace(terms, given={}))


def restart_key(run_id: str, seq: int, terms: BaseTerms | None = None, input: bytes = b"") -> str:
    """Return the idempotency key of a start that goes on from a run after its event ``seq``.

    The same wish has the same key. input: where it takes the place of the base's.
    """
    key = f"restart/{run_id}@{seq}"
    if terms is None:
        return key
    asked = [encode_terms(terms) or b"", PAYLOAD_TERMS.encode(input) if terms.has_input else b""]
    return f"{key}/{digest(bytes.join(b'.', asked)).hex()}"


_encoder = msgspec.json.Encoder(order="sorted")
