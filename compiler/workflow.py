"""The normalized workflow: the one form behind every dialect.

A front end turns a document into ``Workflow``; the analysis turns ``Workflow`` into the IR. Everything that a
document may leave out is filled in here, so that two documents that mean the same are equal as values.
Normalizing is idempotent: ``to_document(workflow)`` read again gives the same ``Workflow``.

Order matters: ``nodes`` keep the order of the document, ``edges`` the order in which they were named
(``depends_on`` of each node in turn, then routing targets, then ``edges:``, then those of the other kinds).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

Json = Any
"""A JSON value: None, bool, int, float, str, list, or dict with str keys."""


class EdgeKind(StrEnum):
    """What makes an edge live (token-rules, sections 4 and 8).

    MILESTONE: live when its source parks for the first time, dead when it settles without. Nothing else decides it.
    """

    NORMAL = "normal"
    ERROR = "error"
    EXHAUSTED = "exhausted"
    MILESTONE = "milestone"


class JoinPolicy(StrEnum):
    """When a node with several incoming edges runs (token-rules, section 3)."""

    ALL = "all"
    EVERY = "every"
    ANY = "any"
    AT_LEAST = "at_least"
    EACH = "each"


class OnFailure(StrEnum):
    FAIL_FAST = "fail_fast"
    CONTINUE = "continue"


class FailureClass(StrEnum):
    """The words of ``retry.on`` that are no HTTP status (``503``, ``5xx``) and no name of an exception type."""

    NETWORK = "network"
    TIMEOUT = "timeout"
    OUTPUT_INVALID = "output_invalid"
    ERROR = "error"


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """``n`` is 0 but for ``at_least``."""

    policy: JoinPolicy = JoinPolicy.ALL
    n: int = 0


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """``max_attempts`` counts every try, from 1. Times in ms. ``on``: which failures; empty: those by default."""

    max_attempts: int = 3
    base_ms: int = 1_000
    factor: float = 2.0
    max_ms: int = 60_000
    jitter: bool = True
    on: tuple[str, ...] = ()


class Cache(msgspec.Struct, frozen=True, kw_only=True):
    """The output of a step may be taken again where it gets the same input.

    ``scope``: global, or run_only: within one run. ``ttl_ms``: for how long; None: without limit.
    """

    scope: str = "global"
    ttl_ms: int | None = None


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """A person agrees before the node runs; a node of type ``approval`` does nothing else.

    ``form``: JSON Schema of the data that comes with the decision. ``expires_ms``: after that the node fails; None:
    never. ``escalate_to`` is told after ``escalate_ms``, which is None where nobody is; less than ``expires_ms``.
    ``separate_approver``: true where who has started the run may not decide; else it leaves no trace in the bytes.
    """

    form: dict[str, Json] | None = None
    expires_ms: int | None = None
    escalate_to: str = ""
    escalate_ms: int | None = None
    separate_approver: bool | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_separate(self) -> bool:
        return self.separate_approver is True


class Signal(msgspec.Struct, frozen=True, kw_only=True):
    """Which signals end a node of type ``signal``: the first of ``names``, each once, at least one.

    ``after_ms``: how long it waits, None: without limit. ``is_choice``: written as ``first_of``; the time then is one
    of the events, else its end fails the node.
    """

    names: tuple[str, ...]
    after_ms: int | None = None
    is_choice: bool = False


class Loop(msgspec.Struct, frozen=True, kw_only=True):
    """Decided after the node on its output: true goes back to ``back_to`` with the next iteration.

    ``max_iterations``: at least 1; counts the first pass. ``on_exhausted``: ids of the targets, may be empty.
    """

    condition: str
    back_to: str
    max_iterations: int = 1_000
    on_exhausted: tuple[str, ...] = ()
    delay_ms: int = 0


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    when: str
    next: tuple[str, ...]


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """Which outgoing edges are live, decided on the node's own output."""

    rules: tuple[Rule, ...]
    default: tuple[str, ...] = ()
    mode: str = "first"


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A concurrency key: of all runs' steps whose ``key`` (CEL) says the same, at most ``limit`` are at work at once.

    ``fair``: CEL; those that wait take turns by what it says.
    """

    key: str
    limit: int
    fair: str | None = None


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """A rate limit: a bucket of ``limit`` tokens, full again within ``per_ms``, for all that ``key`` (CEL) says."""

    key: str
    limit: int
    per_ms: int


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One vertex. ``config`` is what its type reads; templates in it are not expanded.

    ``input``: None (the default input), one CEL expression, or an expression per field.
    ``when``: a CEL expression; false makes the node SKIPPED.
    ``approval`` and ``signal`` hold the whole config of the types of these names; ``approval`` of any other type is its
    gate (``requires_approval``).
    Times in ms, None where there is no limit: ``queue_timeout_ms`` until an attempt begins, ``timeout_ms`` of an
    attempt, ``heartbeat_timeout_ms`` between two signs of life of its handler.
    """

    id: str
    type: str
    config: dict[str, Json] = {}
    name: str = ""
    input: str | dict[str, str] | None = None
    when: str | None = None
    join: Join | None = None
    retry: Retry = Retry()
    timeout_ms: int | None = None
    queue_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None
    cache: Cache | None = None
    queue: str = "default"
    priority: str = "normal"
    approval: Approval | None = None
    signal: Signal | None = None
    on_error: tuple[str, ...] = ()
    compensate: str | None = None
    mutex: str | None = None
    concurrency: Share | None = None
    rate_limit: Pace | None = None
    while_waiting: str | None = None
    cancels: tuple[str, ...] = ()
    loop: Loop | None = None
    routing: Routing | None = None
    metadata: dict[str, Json] = {}


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """A way from one node to another. One (source, target, kind) is one edge. Back edges of loops are not here."""

    source: str
    target: str
    kind: EdgeKind = EdgeKind.NORMAL
    when: str | None = None


class OnExhausted(StrEnum):
    """What becomes of a step whose call would go beyond the budget of its run."""

    FAIL = "fail"
    PARK = "park"


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the calls of models of a run may take together. ``cost``: in billionths of ``currency``. None: no limit."""

    tokens: int | None = None
    cost: int | None = None
    currency: str = ""
    on_exhausted: OnExhausted = OnExhausted.FAIL


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """``retry_budget``: retries of all nodes together, None: no limit but their own.

    ``stuck_ms``: a run in which nothing has happened for so long is stuck (None: what the supervisor is set to); that
    is told, and ends the run too where ``fails_when_stuck``. ``budget``: of one run,
    ``workflow_budget``: of all runs of the workflow; None: no limit.
    """

    on_failure: OnFailure = OnFailure.FAIL_FAST
    timeout_ms: int | None = None
    max_parallel: int | None = None
    retry_budget: int | None = None
    stuck_ms: int | None = None
    fails_when_stuck: bool = False
    budget: Budget | None = None
    workflow_budget: Budget | None = None


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """A whole document, normalized. ``input``: JSON Schema of the run's input. ``output``: a CEL expression.

    ``changes``: by the type of a change of the outside world, the steps that it makes out of date.
    """

    id: str
    name: str = ""
    description: str = ""
    input: dict[str, Json] | None = None
    output: str | None = None
    policy: Policy = Policy()
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    changes: dict[str, tuple[str, ...]] = {}
    metadata: dict[str, Json] = {}
