"""The operator log as it travels."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from ...sdk.moments import iso_text
from ...sdk.stores.operator_log import KeptOperation, OperationPage
from .commands import Word
from .moments import Moment


class OperatorsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``cursor``: the ``next`` of the page before. ``by``: only what this one did.

    ``since``: only since then; ``2h`` ago, or ISO 8601.
    """

    limit: Annotated[int, Meta(ge=1, le=1000)] = 50
    cursor: str | None = None
    by: str | None = None
    since: Word | None = None


class OperationShown(msgspec.Struct, frozen=True, kw_only=True):
    """``action``: method and path, with ``(dry run)`` where nothing was to be changed; or a word as ``key.created``.
    ``result``: status of the answer, or ``done``.
    """

    at: Moment
    by: str
    key_id: str | None
    action: str
    target: str
    result: str
    address: str


class OperationsShown(msgspec.Struct, frozen=True, kw_only=True):
    """The last operation first. ``next``: null on the last page."""

    operations: list[OperationShown]
    next: str | None


def operations_shown(page: OperationPage) -> OperationsShown:
    return OperationsShown(operations=[operation_shown(each) for each in page.operations], next=page.next)


def operation_shown(kept: KeptOperation) -> OperationShown:
    return OperationShown(
        at=iso_text(kept.at),
        by=kept.by,
        key_id=kept.key_id,
        action=kept.action,
        target=kept.target,
        result=kept.result,
        address=kept.address,
    )
