"""News: which events others may want to be told of, by webhooks. Pure."""

from __future__ import annotations

from datetime import datetime

from ...sdk.events import Facts
from ...sdk.fold.fold_ends import FINAL
from ...sdk.outcomes.gates import APPROVAL
from ...sdk.stores.webhooks import RunNews, WebhookKind

_FAILED = frozenset({"FAILED", "TIMED_OUT"})


def news_of(run_id: str, seq: int, at: datetime, facts: Facts) -> RunNews | None:
    """Return what an event is for others, None for nearly all. Of an error its type is told, not its text."""
    kind = facts.type
    if kind in FINAL:
        status = FINAL[kind]
        what = WebhookKind.RUN_FAILED if status in _FAILED else WebhookKind.RUN_ENDED
        step, error = ("", "") if facts.error is None else (_text(facts.error.node), _text(facts.error.type))
        return RunNews(run_id, seq, at, str(what), status, step, error)
    if kind == "step.waiting" and facts.reason == APPROVAL:
        return RunNews(run_id, seq, at, str(WebhookKind.APPROVAL_NEEDED), step=facts.node)
    return None


def _text(word: str) -> str:
    """Text of Postgres holds no U+0000."""
    return word.replace("\0", "\ufffd")
