"""The texts that prove who somebody is: API keys and session tokens, and the digests that are kept of them.

A key reads ``crt_<id>_<secret>``: the id is public and finds the row, the secret is 256 random bits. Nobody can try
through so many, so one round of BLAKE2b protects what is stored as well as a slow hash of a password would; a slow one
would only let whoever sends wrong keys keep the server busy.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from ..ids import ALPHABET

PREFIX = "crt_"
ID_CHARS = 12
DIGEST_BYTES = 32
_KEY = re.compile(r"(crt_[0-9a-z]{12})_[0-9a-f]{64}")
_AS_A_KEY = re.compile(r"(crt_[0-9a-z]{12})_\w+")
_TOKEN = re.compile(r"[0-9a-f]{64}")
_PERSON = b"courante-access"


def new_key() -> tuple[str, str]:
    """Return the id of a new key and its whole text, which nobody can make again from what is stored."""
    id = PREFIX + "".join(secrets.choice(ALPHABET) for _ in range(ID_CHARS)).lower()
    return id, f"{id}_{secrets.token_hex(32)}"


def key_id(text: str) -> str | None:
    """Return the id of a key, None for what cannot be one."""
    found = _KEY.fullmatch(text)
    return found and found[1]


def id_in_secret(text: str) -> str | None:
    """Return the id at the beginning of what is, or may be meant as, a whole key; None of anything else."""
    found = _AS_A_KEY.fullmatch(text)
    return found and found[1]


def without_secrets(text: str) -> str:
    """Return the text with no more than the ids of the keys that stand in it."""
    return _AS_A_KEY.sub(r"\1_***", text)


def new_token() -> str:
    """Return the token of a session: 256 random bits, as hex."""
    return secrets.token_hex(32)


def is_token(text: str) -> bool:
    return _TOKEN.fullmatch(text) is not None


def digest(text: str) -> bytes:
    """Return what is kept of a key or token, 32 bytes."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES, person=_PERSON).digest()


def is_same(left: bytes, right: bytes) -> bool:
    """Compare in a time that does not tell where they differ."""
    return hmac.compare_digest(left, right)


def csrf_token(session_token: str) -> str:
    """Return what a page must say beside its cookie; only who knows the session's token can make it."""
    return hmac.new(session_token.encode(), b"csrf", hashlib.sha256).hexdigest()
