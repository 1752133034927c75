"""``http``: calls a service. Output: ``status``, ``headers`` and ``body``. See docs/reference/http.md.

Connections are kept and shared by the nodes of a worker, and go to addresses within its reach only.
"""

from __future__ import annotations

import anyio

from ...sdk.marking.scopes import scope_key
from ...sdk.outcomes.outcomes import Outcome, Succeeded
from ...sdk.outcomes.step_context import encode_json
from ...sdk.secrets.secrets import NamedSecrets
from ...sdk.trace_context import HEADER, traceparent_of
from ..http.calling import UNLIMITED_S, Wanted, send_call
from ..http.request import make_call
from ..toolbox import Toolbox
from ..work import Work
from .function import idempotency_key


async def run_http(work: Work, tools: Toolbox) -> Outcome:
    call = make_call(work, idempotency_key(work), NamedSecrets(tools.secrets))
    if tools.traces:
        mine = traceparent_of(work.run_id, work.node.id, scope_key(work.scope), work.attempt)
        call.headers.setdefault(HEADER, mine.encode())
    with anyio.fail_after(UNLIMITED_S if work.node.timeout_ms is None else None):
        return Succeeded(encode_json(await send_call(call, Wanted.of(work.node.config), tools)))
