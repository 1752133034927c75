"""Base terms: how a run goes on from its base run. Part of its start command, so that it is durable before anything
is done, and whoever applies the command again makes the same of it.
"""

from __future__ import annotations

import hashlib
from typing import Literal, TypeAlias

import msgspec

from .errors import PayloadUnreadable
from .sealing.payload_terms import PAYLOAD_TERMS

DIGEST_BYTES = 16
Way: TypeAlias = Literal["retry", "reenact", "rerun", "rebuild", "fork"]


class BaseTerms(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``steps``: that are executed again, with all that follows from them. ``given``: outputs that stand in the place
    of steps, JSON bytes by the id of the step. ``has_input``: the command's own input takes the place of the base's.
    ``change``: the types of the change requests that it answers, with commas. ``version``: of the workflow, by which
    the rest of a retry is done, or all of it is enacted again.
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


def needs_salt(terms: BaseTerms | None) -> bool:
    """Whether the key is made of what nobody may guess: outputs or an input that were given."""
    return terms is not None and (terms.has_input or bool(terms.given))


def restart_key(run_id: str, seq: int, terms: BaseTerms | None = None, input: bytes = b"", salt: bytes = b"") -> str:
    """Return the idempotency key of a start that goes on from a run after its event ``seq``.

    The same wish has the same key, whatever key encrypts it. input: where it takes the place of the base's. salt: of
    the environment, where ``needs_salt``.
    """
    key = f"restart/{run_id}@{seq}"
    if terms is None:
        return key
    asked = b".".join((_encoder.encode(terms), input if terms.has_input else b""))
    return f"{key}/{hashlib.blake2b(asked, key=salt, digest_size=DIGEST_BYTES).hexdigest()}"


_encoder = msgspec.json.Encoder(order="sorted")
