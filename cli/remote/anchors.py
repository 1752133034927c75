"""Anchors over an API. They are signed here: whoever serves the API may write to the database, and has no key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...api.wire.anchors import AnchorDone, Signed, ToSign
from ...replay.audit.anchor_lines import AnchorLine, read_anchor, write_anchor
from ...replay.audit.anchors import AnchorChecked, Anchored, AnchorsChecked, check_lines
from .connection import LONG_ANSWER_S, Connection
from .paths import at

if TYPE_CHECKING:
    from ...replay.audit.signing import Signer


async def make_anchor(api: Connection, signer: Signer | None) -> Anchored:
    """See ``replay.audit.anchors.make_anchor``. Raises CliError."""
    if signer is None:
        made = await api.post(at("audit", "anchors"), {}, AnchorDone, answer_s=LONG_ANSWER_S)
        return _anchored(made, made.line)
    wanted = ToSign(key=signer.public)
    draft = await api.post(at("audit", "anchors", "draft"), wanted, AnchorDone, may_repeat=True, answer_s=LONG_ANSWER_S)
    line = write_anchor(read_anchor(draft.line.encode()), signer).decode()
    signed = Signed(line=line)
    await api.post(at("audit", "anchors", "sign"), signed, AnchorDone, may_repeat=True, answer_s=LONG_ANSWER_S)
    return _anchored(draft, line)


async def check_anchors(
    api: Connection, lines: Sequence[bytes], *, key: str | None, with_chains: bool
) -> AnchorsChecked:
    """See ``replay.audit.anchors.check_anchors``. Raises CliError."""

    async def against_log(line: AnchorLine) -> AnchorChecked:
        query = {"number": line.number, "heads": line.heads, "root": line.root, "chains": with_chains}
        return await api.get(at("audit", "anchors", "check"), AnchorChecked, query, answer_s=LONG_ANSWER_S)

    return await check_lines(await api.served_env(), lines, against_log, key=key)


def _anchored(done: AnchorDone, line: str) -> Anchored:
    content = line.encode()
    return Anchored(read_anchor(content), content, done.bad)
