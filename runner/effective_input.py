"""The effective input of a step: the value that decides, with its config, what its attempt would come to.

What a handler gets: of a function its input, of an HTTP call and of a model the request with its templates filled, of a
tool its name and arguments, of nodes that shape data the values that their expressions read. Of a secret only its name
is there, never its value. What differs from run to run, like the idempotency key, is not part of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..compiler.cel import SECRET_ROOT, EvaluationError
from ..compiler.ir import ReadKind
from ..sdk.outcomes.node_code import NodeCode
from ..sdk.outcomes.step_config import render_config
from ..sdk.outcomes.step_context import StepError, decode_json
from .toolbox import Toolbox
from .work import Work

_STANDING = frozenset({ReadKind.TOKEN, ReadKind.MAP})
"""What is read to find out whether a node may run, and is no value."""


class SecretNames(Mapping[str, str]):
    """Secrets as an expression would read them, each with its name in the place of its value."""

    def __getitem__(self, name: str) -> str:
        return f"secret {name}"

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def effective_input(work: Work, tools: Toolbox) -> object:
    """Return it as a JSON value. A selected input is in ``work.input_json`` already. Raises StepError."""
    match work.node.type:
        case "http":
            return _http(work)
        case "llm" | "agent":
            from .nodes.llm_request import make_request

            return msgspec.to_builtins(make_request(work, tools.models))
        case "tool":
            from .nodes.tool import asked_of

            name = asked_of(work)
            return [name, decode_json(work.input_bytes())]
        case "echo" | "sleep":
            config = render_config(work)
            return config if "value" in config else [config, decode_json(work.input_bytes())]
        case "transform" | "filter" | "validate":
            return [decode_json(work.input_bytes()), *_read(work)]
        case _:
            return decode_json(work.input_bytes())


def _http(work: Work) -> object:
    """A URL is filled in its own way, and without one the input is it: what it is made of stands for it."""
    assert work.code is not None
    from .http.request import ROOTS, fill_url

    context = work.context()
    context[SECRET_ROOT] = SecretNames()
    try:
        config: dict[str, Any] = dict(work.code.template.render(context))
    except EvaluationError as error:
        raise StepError("EXPRESSION_ERROR", str(error)) from error
    written = work.node.config.get("url")
    config["url"] = decode_json(work.input_bytes()) if written is None else fill_url(str(written), context, ROOTS)
    del context[SECRET_ROOT]
    return config


def _read(work: Work) -> list[object]:
    """The values that a node reads, each with where it is from, and what else its expressions may see."""
    nodes = work.plan.ir.nodes
    seen: list[object] = []
    for read, value in zip(work.node.reads, work.values, strict=False):
        if read.kind not in _STANDING:
            name = nodes[read.node].id if read.node >= 0 else ""
            shown = None if value is None else value.decode() if read.kind is ReadKind.STATUS else decode_json(value)
            seen.append([read.kind.name, name, shown])
    assert work.code is not None
    roots = _roots(work.code)
    context = work.context()
    named = ("run", "loop", "index", "inputs")
    return [seen, {root: context[root] for root in named if root in roots and _has(work, root)}]


def _has(work: Work, root: str) -> bool:
    """Outside of maps there is no index of an item: the one of a filter is its own."""
    try:
        work.context()[root]
    except KeyError:
        return False
    return True


def _roots(code: NodeCode) -> set[str]:
    found: set[str] = set()
    for part in code.config.values():
        for expression in part.values() if isinstance(part, dict) else (part,):
            found.update(reference.path[0] for reference in expression.references)
    return found
