"""Child runs: both ends of every link, held against each other (O6; docs/decisions/sub-workflows.md).

A step asks by a ``step.waiting`` with the reason ``child``; the row of the link says which run stands for its attempt;
a command ``child_ended`` tells the step, once.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from chaos.oracles.finding import Finding
from chaos.oracles.log import FINAL, Event

OVER = frozenset({"settled", "refused", "dropped"})
SETTLING = frozenset({"step.succeeded", "step.failed", "step.retried", "token.forced"})
At = tuple[str, str, str, int]


@dataclass(frozen=True)
class Link:
    """A row of ``children``. ``seq``: of the parent's event that asks for it."""

    child: str
    parent: str
    node: str
    scope: str
    attempt: int
    seq: int
    is_detached: bool
    state: str

    @property
    def at(self) -> At:
        """Which attempt of which step it stands for."""
        return self.parent, self.node, self.scope, self.attempt


def check_children(log: Mapping[str, list[Event]], links: list[Link], *, is_unended: bool = False) -> Iterator[Finding]:
    """Yield what one end of a link says and the other does not. is_unended: links may still be open."""
    known = {link.at: link for link in links}
    asked = {at: event for run_id, events in log.items() for at, event in _asked(run_id, events)}
    for at, event in asked.items():
        if at not in known or known[at].seq != event.seq:
            yield Finding("O6", at[0], f"{at[1]} asks for a child run in event {event.seq}, and no link says so")
    for run_id, events in log.items():
        is_child = events[0].facts.get("data", {}).get("trigger") == "child"
        if is_child and run_id not in {link.child for link in links}:
            yield Finding("O6", run_id, "it was started for a step, and no link leads to it")
    for link in links:
        if link.at not in asked:
            yield Finding("O6", link.parent, f"{link.node} has the child run {link.child}, and has not asked for it")
            continue
        if link.state not in OVER and not is_unended:
            yield Finding("O8", link.child, f"the link is still {link.state}")
        yield from _check_start(link, log, asked[link.at])
        yield from _check_told(link, log)


def _asked(run_id: str, events: list[Event]) -> Iterator[tuple[At, Event]]:
    for event in events:
        if event.type == "step.waiting" and event.facts.get("reason") == "child":
            yield (run_id, event.node, event.scope, event.attempt), event


def _check_start(link: Link, log: Mapping[str, list[Event]], asked: Event) -> Iterator[Finding]:
    events = log.get(link.child)
    if events is None:
        if link.state in ("started", "settled"):
            yield Finding("O6", link.child, f"{link.node} of {link.parent} was given it, and it is not in the log")
        return
    if link.state in ("wanted", "refused", "dropped"):
        yield Finding("O6", link.child, f"it has started, and the link is {link.state}")
    if events[0].facts.get("data", {}).get("trigger") != "child":
        yield Finding("O6", link.child, "it was not started for a step")
    if _value(events[0].payload) != _value(asked.payload):
        yield Finding("O6", link.child, f"its input is another one than {link.node} of {link.parent} has asked with")


def _check_told(link: Link, log: Mapping[str, list[Event]]) -> Iterator[Finding]:
    """What the step was told is what has become of the child run, and what becomes of the step."""
    events = log[link.parent]
    here = [event for event in _of_attempt(events, link) if event.facts.get("data", {}).get("type") == "child_ended"]
    if len(here) > 1:
        yield Finding("O6", link.parent, f"{link.node} was told {len(here)} times of the end of {link.child}")
    for told in here[:1]:
        said: dict[str, Any] = _value(told.payload) or {}
        status = str(said.get("status"))
        if said.get("run_id") != link.child:
            yield Finding("O6", link.parent, f"{link.node} was told of {said.get('run_id')}, and has {link.child}")
        elif not _is_true(link, status, said.get("output"), log.get(link.child, [])):
            yield Finding("O6", link.parent, f"{link.node} was told that {link.child} is {status}, which is not so")
        elif events[told.seq].type != "command.ignored":
            yield from _check_outcome(link, status, said.get("output"), events[told.seq :])


def _of_attempt(events: list[Event], link: Link) -> Iterator[Event]:
    """What is about the step from its question on, up to the next one."""
    for event in events[link.seq :]:
        if (event.node, event.scope) == (link.node, link.scope):
            if event.type == "step.waiting":
                return
            yield event


def _is_true(link: Link, status: str, output: object, child: list[Event]) -> bool:
    if status == "STARTED":
        return link.is_detached and bool(child)
    if status == "REFUSED":
        return link.state in ("starting", "refused") and not child
    end = child[-1] if child else None
    if end is None or end.type not in FINAL or link.is_detached:
        return False
    has_output = status == "COMPLETED" and end.type == "run.completed"
    # One that completed may have an output that is too large for its step.
    is_so = end.type == f"run.{status.lower()}" or (status == "FAILED" and end.type == "run.completed")
    return is_so and (not has_output or output == _value(end.payload))


def _check_outcome(link: Link, status: str, output: object, after: list[Event]) -> Iterator[Finding]:
    here = (event for event in after if (event.node, event.scope) == (link.node, link.scope))
    outcome = next((event for event in here if event.type in SETTLING), None)
    if outcome is None or outcome.type == "token.forced":
        return
    if (outcome.type == "step.succeeded") != (status in ("COMPLETED", "STARTED")):
        yield Finding("O6", link.parent, f"{link.child} is {status}, and its step {link.node} says {outcome.type}")
    elif status == "COMPLETED" and _value(outcome.payload) != output:
        yield Finding("O6", link.parent, f"the output of {link.node} is another one than that of {link.child}")


def _value(payload: bytes | None) -> Any:
    return None if payload is None else json.loads(payload)
