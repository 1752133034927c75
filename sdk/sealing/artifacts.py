"""Artifacts: results that are no JSON, kept by their content; the output of a step refers to them.

A reference is an object, ``{"$artifact": digest, "content_type": "image/png", "size_bytes": 1234}``. The content goes
where payloads beyond the inline limit go: to Redis before the step ends, and to Postgres before the log refers to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import msgspec

MARK = "$artifact"
CONTENT_TYPE = "application/octet-stream"
CONTENT_TYPE_CHARS_MAX = 200
_MARKED = b'"$artifact":"'
_DIGESTS = re.compile(rb'"\$artifact":"([0-9a-f]{32})"')
_TYPE = re.compile(r"[!-~]+/[ -~]+")


class Artifact(msgspec.Struct, frozen=True, rename={"digest": MARK}):
    """``digest``: BLAKE2b of the content, 16 bytes as hex. ``size_bytes``: of the content."""

    digest: str
    content_type: str
    size_bytes: int

    @property
    def reference(self) -> dict[str, Any]:
        """What stands in an output."""
        return {MARK: self.digest, "content_type": self.content_type, "size_bytes": self.size_bytes}


def check_content_type(text: str) -> str:
    """Return a content type as it is kept. Raises ValueError for what is none."""
    kept = text.strip()
    if len(kept) > CONTENT_TYPE_CHARS_MAX or not _TYPE.fullmatch(kept):
        raise ValueError(f"{text[:CONTENT_TYPE_CHARS_MAX]!r} is no content type")
    return kept


def refers(content: bytes) -> bool:
    """Whether JSON, as this project writes it, may refer to artifacts. Cheap: the recorder asks for every payload."""
    return content.find(_MARKED) >= 0  # "in" would try first whether it is given a number, by an exception


def digests_in(content: bytes) -> set[bytes]:
    """Return the digests of the artifacts that JSON refers to, 16 bytes each."""
    return {bytes.fromhex(found.decode()) for found in _DIGESTS.findall(content)} if refers(content) else set()


def artifacts_in(value: object) -> Iterator[Artifact]:
    """Return the references in a JSON value, in order, without recursion."""
    waiting: list[Any] = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if MARK in found:
                try:
                    yield msgspec.convert(found, Artifact)
                except msgspec.ValidationError:
                    pass
                else:
                    continue
            waiting += reversed(list(cast("dict[str, Any]", found).values()))
        elif isinstance(found, list):
            waiting += reversed(cast("list[Any]", found))
