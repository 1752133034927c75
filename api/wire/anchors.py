"""Anchors of what the log says, as they travel."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ...replay.audit.anchors import Anchored
from ...replay.audit.run_check import Bad

HEX_KEY = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class ToSign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``key``: the public key, Ed25519 in hex, whose private one is to sign."""

    key: HEX_KEY


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``line``: as it was drafted, with its signature."""

    line: Annotated[str, Meta(max_length=16_384)]


class AnchorDone(msgspec.Struct, frozen=True, kw_only=True):
    """``line``: for somebody else to keep; of a draft, to be signed.

    ``bad``: runs that are not in it, as their chains do not hold.
    """

    line: str
    bad: list[Bad]


def anchor_done(made: Anchored) -> AnchorDone:
    return AnchorDone(line=made.content.decode(), bad=made.bad)
