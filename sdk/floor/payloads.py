"""Payloads that are too large to travel inline: content-addressed, written before the script that refers to them.

A reference is ``@<digest>:<size>``: JSON never begins with ``@``. What is stored may be encoded (``payload_terms``);
digest and size are of what is stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from redis.exceptions import ResponseError

from ..errors import PayloadUnreadable
from ..events import digest
from ..keys import Keys
from ..sealing.payload_terms import PAYLOAD_BYTES_MAX, PAYLOAD_TERMS, PayloadTooLarge
from .calling import Connection

if TYPE_CHECKING:
    from redis.asyncio import Redis


class PayloadMissing(Exception):
    """A payload is referred to and not stored, or its content is not what its address says."""


class PayloadGone(PayloadMissing):
    """It is not there, or damaged; elsewhere it may be."""


class ColdStore(Protocol):
    """Where payloads are that Redis has not any more."""

    async def get(self, digest: bytes) -> bytes | None:
        """Return what is stored under an address, None where nothing is. Raises OSError where it cannot be asked."""
        ...


class BulkStore(Protocol):
    """The same, asked for many at once."""

    async def get_some(self, digests: Sequence[bytes]) -> Mapping[bytes, bytes]:
        """Return by address what is stored under these. Raises OSError where it cannot be asked."""
        ...


def is_reference(value: bytes) -> bool:
    return value.startswith(b"@")


async def store_payload(redis: Connection, keys: Keys, content: bytes, limit: int = PAYLOAD_BYTES_MAX) -> bytes:
    """Store the content under its address and return the reference. Idempotent. Raises PayloadTooLarge."""
    if len(content) > limit:
        raise PayloadTooLarge(len(content), limit)
    stored = PAYLOAD_TERMS.encode(content)
    address = digest(stored).hex()
    await redis.set(keys.blob(address), stored)
    return f"@{address}:{len(stored)}".encode()


async def load_payload(redis: Connection, keys: Keys, reference: bytes, cold: ColdStore | None = None) -> bytes:
    """Return the content, checked against its address. Raises PayloadMissing, and what the clients raise.

    What Redis has lost or damaged is brought back from the cold store, where there is one.
    """
    address = reference[1:].split(b":")[0].decode()
    content = await _text_at(redis, keys.blob(address))
    if (content is None or digest(content).hex() != address) and cold is not None:
        content = await cold.get(bytes.fromhex(address))
        if content is not None and digest(content).hex() == address:
            await redis.set(keys.blob(address), content)
    return _checked(address, content)


async def load_payloads(
    redis: Redis, keys: Keys, references: Sequence[bytes], cold: BulkStore | None = None
) -> dict[bytes, bytes]:
    """Return contents by reference, as ``load_payload`` does; what the cold store alone has does not come back."""
    addresses = {reference: reference[1:].split(b":")[0].decode() for reference in references}
    wanted = list(dict.fromkeys(addresses.values()))
    pipe = redis.pipeline(transaction=False)
    for address in wanted:
        pipe.get(keys.blob(address))  # pyright: ignore[reportUnusedCoroutine]
    contents = [_text_of(answer) for answer in await pipe.execute(raise_on_error=False)]
    hot = zip(wanted, contents, strict=True)
    found = {address: content for address, content in hot if content is not None and digest(content).hex() == address}
    missing = [bytes.fromhex(address) for address in wanted if address not in found]
    if missing and cold is not None:
        found |= {address.hex(): content for address, content in (await cold.get_some(missing)).items()}
    return {reference: _checked(address, found.get(address)) for reference, address in addresses.items()}


async def _text_at(redis: Connection, key: str) -> bytes | None:
    """Return what stands at a key, None where nothing does, or no text."""
    try:
        return _text_of(await redis.get(key))
    except ResponseError as error:
        return _text_of(error)


def _text_of(answer: object) -> bytes | None:
    """Raises what the server answers, but for a key that holds something else."""
    if isinstance(answer, Exception) and not str(answer).startswith("WRONGTYPE"):
        raise answer
    return answer if isinstance(answer, bytes) else None


def _checked(address: str, content: bytes | None) -> bytes:
    """Raises PayloadMissing."""
    if content is None or digest(content).hex() != address:
        raise PayloadGone(f"the payload {address} is gone or damaged")
    try:
        return PAYLOAD_TERMS.decode(bytes(content))
    except PayloadUnreadable as error:
        raise PayloadMissing(f"the payload {address} cannot be read: {error}") from error
