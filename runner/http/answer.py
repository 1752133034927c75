"""What came back: the body of an answer within a limit, and what a node makes of it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import cast

import httpx
import msgspec

from ...sdk.outcomes.step_context import StepError, decode_json
from ...sdk.secrets.redaction import mask_values
from ...sdk.secrets.secrets import NamedSecrets

UNKEPT_HEADERS = frozenset({"set-cookie", "set-cookie2", "authorization", "proxy-authenticate", "www-authenticate"})
"""Of an answer; sessions and challenges are nobody's output."""
_PACKED = {"": False, "identity": False, "gzip": True, "x-gzip": True, "deflate": True}
_ANY, _BARE = 47, -15
"""What zlib reads: gzip or deflate with its header; deflate without."""
_MEMBER = b"\x1f\x8b"
"""What a member of gzip begins with."""
PIECE_BYTES = 65_536


async def read_body(response: httpx.Response, limit: int, *, cuts: bool = False) -> bytes:
    """Return the body, unpacked. cuts: what is beyond the limit is left out, instead of PAYLOAD_TOO_LARGE.

    What is unpacked is counted piece by piece: a small body cannot become a large one in memory.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in _PACKED:
        raise StepError("OUTPUT_INVALID", f"the answer is packed as {encoding[:40]!r}, which was not asked for")
    unpacker = _Unpacker() if _PACKED[encoding] else None
    body = bytearray()
    parts: AsyncIterator[bytes] = aiter(cast("httpx.AsyncByteStream", response.stream))
    async for raw in parts:
        for piece in (raw,) if unpacker is None else unpacker.unpack(raw):
            body += piece
            if len(body) > limit:
                if cuts:
                    return bytes(body[:limit])
                raise StepError("PAYLOAD_TOO_LARGE", f"the answer has more than {limit:,} bytes")
    if unpacker is not None and not unpacker.is_complete:
        raise StepError("OUTPUT_INVALID", "the answer cannot be unpacked: it ends before what is packed in it does")
    return bytes(body)


class _Unpacker:
    """gzip, also of several members, or deflate with its header or, as many send it, without.

    What stands behind the end and is no other member is left out, as gzip itself does.
    """

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(_ANY)
        self._is_fresh = True
        self._has_begun = self._is_over = False
        self._behind: bytes = b""

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing of what was packed."""
        return self._inner.eof or not self._has_begun

    def unpack(self, raw: bytes) -> Iterator[bytes]:
        """Return what a piece brings. Raises StepError."""
        self._has_begun = self._has_begun or bool(raw)
        try:
            yield from self._pieces(raw)
        except zlib.error as error:
            if not self._is_fresh:
                raise StepError("OUTPUT_INVALID", f"the answer cannot be unpacked: {error}") from error
            self._is_fresh, self._inner = False, zlib.decompressobj(_BARE)
            yield from self.unpack(raw)

    def _pieces(self, raw: bytes) -> Iterator[bytes]:
        raw = self._behind + raw
        self._behind = b""
        while not self._is_over:
            if self._inner.eof:
                if len(raw) < len(_MEMBER):
                    self._behind = raw
                    return
                self._is_over = not raw.startswith(_MEMBER)
                self._inner = self._inner if self._is_over else zlib.decompressobj(_ANY)
                continue
            piece = self._inner.decompress(raw, PIECE_BYTES)
            raw = self._inner.unused_data or self._inner.unconsumed_tail
            if piece:
                self._is_fresh = False
                yield piece
            elif not raw:
                return


def kept_headers(response: httpx.Response, secrets: NamedSecrets) -> dict[str, str]:
    """Return the headers that the output has, in lower case, without secrets of the request."""
    return {
        name: mask_values(value.encode("utf-8", "replace"), secrets.used).decode()
        for name, value in response.headers.items()
        if name not in UNKEPT_HEADERS
    }


def is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def is_text(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    known = {"application/xml", "application/javascript", "application/x-www-form-urlencoded", "application/x-ndjson"}
    return kind.startswith("text/") or kind in known or kind.endswith("+xml")


def as_json(content: bytes, response: httpx.Response) -> object:
    """Raises StepError (OUTPUT_INVALID)."""
    try:
        return decode_json(as_text(content, response).encode())
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        raise StepError("OUTPUT_INVALID", f"the answer is no JSON: {error}") from error


def as_text(content: bytes, response: httpx.Response) -> str:
    """By the charset that the answer names, else UTF-8; what cannot be read becomes U+FFFD. No byte order mark."""
    try:
        text = content.decode(response.charset_encoding or "utf-8", "replace")
    except (LookupError, UnicodeError):  # no charset, or one like "idna" that replaces nothing
        text = content.decode("utf-8", "replace")
    return text.removeprefix("\ufeff")
