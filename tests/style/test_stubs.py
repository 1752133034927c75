"""The stubs of ``.dev/typings`` name only what the installed packages have."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

TYPINGS = Path(__file__).resolve().parents[2] / ".dev" / "typings"


def stub_classes() -> Iterator[tuple[str, ast.ClassDef]]:
    for path in sorted(TYPINGS.rglob("*.pyi")):
        module = ".".join(path.relative_to(TYPINGS).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.ClassDef):
                yield module, node


CLASSES = [pytest.param(module, node, id=f"{module}.{node.name}") for module, node in stub_classes()]


def real_classes(module: str, name: str) -> list[Any]:
    """What a class of a stub stands for; the private one holds the commands that both clients have."""
    names = ["Redis", "RedisCluster"] if name == "_Commands" else [name]
    place = "redis.asyncio.client" if name in {"Pipeline", "PubSub"} else module
    return [getattr(importlib.import_module(place), name) for name in names]


@pytest.mark.parametrize(("module", "node"), CLASSES)
def test_a_stub_names_what_is_there(module: str, node: ast.ClassDef) -> None:
    """Each class, method and named argument of a stub exists, and is where the stub says when given by position."""
    for real in real_classes(module, node.name):
        for method in node.body:
            if not isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef) or method.name.startswith("__"):
                continue
            found = getattr(real, method.name, None)
            assert found is not None, f"{real.__name__}.{method.name}"
            parameters = inspect.signature(found).parameters
            takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
            takes_more = any(p.kind is p.VAR_POSITIONAL for p in parameters.values())
            wanted = [argument.arg for argument in method.args.args if argument.arg not in {"self", "cls"}]
            known = [name for name in parameters if name not in {"self", "cls"}]
            for place, name in enumerate(wanted):
                assert name in known or takes_any or takes_more, f"{real.__name__}.{method.name}({name})"
                if name in known:
                    assert known.index(name) == place, f"{real.__name__}.{method.name}({name}) is not number {place}"
