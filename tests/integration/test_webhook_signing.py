"""Who receives a webhook can tell that it is from here, whole, and new: also by what the page about it says."""

from __future__ import annotations

import re
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from courante.sdk.webhook_signing import sign, verify
from integration.http_site import Answer, open_site
from integration.stage import Stage


@given(st.binary(), st.text(), st.integers(0, 2**40), st.binary())
def test_what_was_changed_does_not_verify(secret: bytes, event_id: str, at_s: int, body: bytes) -> None:
    """Neither another body, id, time or secret, nor what is too old."""
    made = sign(secret, event_id, at_s, body)
    assert verify(secret, event_id, at_s, body, made, now_s=at_s + 299)
    assert not verify(secret, event_id, at_s, body, made, now_s=at_s + 301)
    assert not verify(secret, event_id, at_s, body + b"x", made, now_s=at_s)
    assert not verify(secret, event_id + "x", at_s, body, made, now_s=at_s)
    assert not verify(secret, event_id, at_s + 1, body, made, now_s=at_s)
    assert not verify(secret + b"x", event_id, at_s, body, made, now_s=at_s)


@pytest.mark.anyio
async def test_who_receives_can_tell_by_the_page(stage: Stage) -> None:
    """By the few lines of docs/how-to/webhooks.md alone: what was sent is believed, and nothing else is."""
    page = (files("courante") / "docs" / "how-to" / "webhooks.md").read_text("utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert "courante." not in snippet
    lines: dict[str, Any] = {}
    exec(compile(snippet, "webhooks.md", "exec"), lines)  # noqa: S102 - the lines are ours
    is_ours = lines["is_from_courante"]
    stage.supervisor(http_allow="127.0.0.1")
    async with open_site(lambda _: Answer()) as site:
        _, secret = await stage.client.webhooks.add("h", site.url, ["alert"])
        assert (await stage.client.webhooks.test("h")).state == "sent"
    (asked,) = site.asked
    headers, body = dict(asked.headers), asked.body
    assert is_ours(secret, headers, body)
    assert not is_ours(secret, headers, body + b" ")
    assert not is_ours(f"{secret}0", headers, body)
    sent_at = int(headers["courante-timestamp"])
    for changed in (
        {"courante-id": "test:then"},
        {"courante-timestamp": str(sent_at + 1)},
        {"courante-timestamp": "soon"},
        {"courante-signature": "v1=\u00e9"},
    ):
        assert not is_ours(secret, headers | changed, body), changed
    for name in ("courante-id", "courante-timestamp", "courante-signature"):
        assert not is_ours(secret, {key: value for key, value in headers.items() if key != name}, body), name
    lines["time"] = SimpleNamespace(time=lambda: sent_at + 301)
    assert not is_ours(secret, headers, body), "it was kept, and is sent again"
