"""``Workflow`` -> native document. Reading the document again gives the same ``Workflow``.

Only what differs from the defaults is written. ``depends_on`` names the longest run of leading edges whose targets
follow the order of the nodes; ``edges:`` names the others, so that the order of edges survives (see ``wiring``).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import takewhile
from typing import Any

from .approvals import write_approval
from .budgets import write_budget
from .durations import format_duration
from .signals import write_signal
from .workflow import (
    Cache,
    Edge,
    EdgeKind,
    Join,
    JoinPolicy,
    Json,
    Loop,
    Node,
    OnFailure,
    Pace,
    Policy,
    Retry,
    Share,
    Workflow,
)

_NODE = Node(id="", type="")
_RETRY = Retry()
_POLICY = Policy()


def to_document(workflow: Workflow) -> dict[str, Json]:
    """The native form of a workflow that a front end has made. Shares values with it: copy before changing."""
    normal = [edge for edge in workflow.edges if edge.kind is EdgeKind.NORMAL]
    leading = _leading(workflow, normal)
    depends_on: dict[str, list[str]] = {}
    for edge in normal[:leading]:
        depends_on.setdefault(edge.target, []).append(edge.source)
    routed = {(node.id, target) for node in workflow.nodes if node.routing is not None for target in _targets(node)}
    document: dict[str, Json] = {"courante": 1, "id": workflow.id}
    _put_texts(document, name=workflow.name, description=workflow.description)
    if workflow.input is not None:
        document["input"] = workflow.input
    if workflow.output is not None:
        document["output"] = workflow.output
    if workflow.policy != _POLICY:
        document["policy"] = _policy(workflow.policy)
    document["nodes"] = [_node(node, depends_on.get(node.id, [])) for node in workflow.nodes]
    edges = [
        _edge(edge)
        for index, edge in enumerate(normal)
        if edge.when is not None or (index >= leading and (edge.source, edge.target) not in routed)
    ]
    if edges:
        document["edges"] = edges
    if workflow.changes:
        document["changes"] = {change: list(steps) for change, steps in workflow.changes.items()}
    if workflow.metadata:
        document["metadata"] = workflow.metadata
    return document


def _leading(workflow: Workflow, normal: list[Edge]) -> int:
    """How many edges ``depends_on`` can name without changing their order."""
    places = {node.id: place for place, node in enumerate(workflow.nodes)}
    furthest = 0

    def follows(edge: Edge) -> bool:
        nonlocal furthest
        before, furthest = furthest, max(furthest, places[edge.target])
        return places[edge.target] >= before

    return sum(1 for _ in takewhile(follows, normal))


def _targets(node: Node) -> set[str]:
    if node.routing is None:
        return set()
    return {target for rule in node.routing.rules for target in rule.next} | set(node.routing.default)


def _put_texts(document: dict[str, Json], **texts: str) -> None:
    document.update({name: text for name, text in texts.items() if text})


def _policy(policy: Policy) -> dict[str, Json]:
    written: dict[str, Json] = {}
    if policy.on_failure is not OnFailure.FAIL_FAST:
        written["on_failure"] = policy.on_failure.value
    if policy.timeout_ms is not None:
        written["timeout"] = format_duration(policy.timeout_ms)
    if policy.max_parallel is not None:
        written["max_parallel"] = policy.max_parallel
    if policy.retry_budget is not None:
        written["retry_budget"] = policy.retry_budget
    if policy.stuck_ms is not None:
        written["stuck"] = {"after": format_duration(policy.stuck_ms)}
        if policy.fails_when_stuck:
            written["stuck"]["action"] = "fail"
    if policy.budget is not None:
        written["budget"] = write_budget(policy.budget)
    if policy.workflow_budget is not None:
        written["workflow_budget"] = write_budget(policy.workflow_budget)
    return written


def _edge(edge: Edge) -> dict[str, Json]:
    written: dict[str, Json] = {"from": edge.source, "to": edge.target}
    if edge.when is not None:
        written["when"] = edge.when
    return written


def _node(node: Node, depends_on: list[str]) -> dict[str, Json]:
    written: dict[str, Json] = {"id": node.id, "type": node.type}
    if depends_on:
        written["depends_on"] = depends_on
    for field, write in _NODE_FIELDS.items():
        value = getattr(node, field)
        if value != getattr(_NODE, field):
            written[field.removesuffix("_ms")] = write(value)
    _put_waits(written, node)
    _put_routing(written, node)
    return written


def _put_waits(written: dict[str, Json], node: Node) -> None:
    """What a node of type approval or signal waits for stands in its config; a gate on the node itself."""
    if node.signal is not None:
        written["config"] = {**write_signal(node.signal), **node.config}
    if node.approval is None:
        return
    fields = write_approval(node.approval)
    if node.type != "approval":
        written["requires_approval"] = fields or True
    elif fields:
        written["config"] = {**fields, **node.config}


def _put_routing(written: dict[str, Json], node: Node) -> None:
    """Routing stands in the config of a conditional, on the node itself for every other type."""
    routing = node.routing
    if routing is None:
        return
    fields: dict[str, Json] = {}
    fields["rules"] = [{"when": rule.when, "next": list(rule.next)} for rule in routing.rules]
    if routing.default:
        fields["default"] = list(routing.default)
    if routing.mode != "first":
        fields["mode"] = routing.mode
    if node.type == "conditional":
        written["config"] = {**fields, **node.config}
    else:
        written.update(fields)


def _join(join: Join) -> Json:
    return {"at_least": join.n} if join.policy is JoinPolicy.AT_LEAST else join.policy.value


def _retry(retry: Retry) -> dict[str, Json]:
    written: dict[str, Any] = {}
    if retry.max_attempts != _RETRY.max_attempts:
        written["max_attempts"] = retry.max_attempts
    if retry.base_ms != _RETRY.base_ms:
        written["base"] = format_duration(retry.base_ms)
    if retry.factor != _RETRY.factor:
        written["factor"] = retry.factor
    if retry.max_ms != _RETRY.max_ms:
        written["max"] = format_duration(retry.max_ms)
    if retry.jitter != _RETRY.jitter:
        written["jitter"] = retry.jitter
    if retry.on:
        written["on"] = list(retry.on)
    return written


def _cache(cache: Cache) -> dict[str, Json]:
    written: dict[str, Json] = {"scope": cache.scope}
    if cache.ttl_ms is not None:
        written["ttl"] = format_duration(cache.ttl_ms)
    return written


def _share(share: Share) -> dict[str, Json]:
    written: dict[str, Json] = {"key": share.key, "limit": share.limit}
    if share.fair is not None:
        written["fair"] = share.fair
    return written


def _pace(pace: Pace) -> dict[str, Json]:
    return {"key": pace.key, "limit": pace.limit, "per": format_duration(pace.per_ms)}


def _loop(loop: Loop) -> dict[str, Json]:
    written: dict[str, Json] = {
        "while": loop.condition,
        "back_to": loop.back_to,
        "max_iterations": loop.max_iterations,
    }
    if loop.on_exhausted:
        written["on_exhausted"] = list(loop.on_exhausted)
    if loop.delay_ms:
        written["delay"] = format_duration(loop.delay_ms)
    return written


def _as_it_is(value: Json) -> Json:
    return value


_NODE_FIELDS: dict[str, Callable[[Any], Json]] = {
    "name": _as_it_is,
    "config": _as_it_is,
    "input": _as_it_is,
    "when": _as_it_is,
    "join": _join,
    "retry": _retry,
    "timeout_ms": format_duration,
    "queue_timeout_ms": format_duration,
    "heartbeat_timeout_ms": format_duration,
    "cache": _cache,
    "queue": _as_it_is,
    "priority": _as_it_is,
    "on_error": list,
    "compensate": _as_it_is,
    "mutex": _as_it_is,
    "concurrency": _share,
    "rate_limit": _pace,
    "while_waiting": _as_it_is,
    "cancels": list,
    "loop": _loop,
    "metadata": _as_it_is,
}
"""How each field is written; routing, edges and what a node waits for are written apart."""
