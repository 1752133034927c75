"""Scopes and token keys: where in loops, maps and ``each`` regions a token is, in its three forms.

``Scope`` is the tuple of indexes that rules count with; ``scope_key`` is its compact text (keys, codes, the log);
``scope_text`` is what people read: ``items[4]/poll#2``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from ...compiler.ir import COPY_ENTER, COPY_SLOT, Edge, Ir, RegionKind

Scope: TypeAlias = tuple[int, ...]
START_NODE = -1
"""The node of the token that starts a run later, or in more than one step."""
SWEEP_NODE = -2
"""The node of the token that withdraws what is parked when a run drains."""
CLOSING_NODE = -3
"""The node of the token that undoes what was done, when nothing else is left of a run that failed or was cancelled."""
WAKER_NODE = -4
"""The node of the token that queues again what a pause has put aside."""
NODE_NAMES = {START_NODE: "(start)", SWEEP_NODE: "", CLOSING_NODE: "(closing)", WAKER_NODE: "(waker)"}
"""What the log calls the nodes of the engine's own tokens."""


def scope_key(scope: Scope) -> str:
    return ".".join(map(str, scope)) if scope else ""


def parse_scope_key(text: str) -> Scope:
    return tuple(map(int, text.split("."))) if text else ()


def token_key(node: int, scope: Scope) -> str:
    """Return the token's name inside its run: ``12`` or ``12:1.3``."""
    return f"{node}:{scope_key(scope)}" if scope else str(node)


def parse_token_key(text: str) -> tuple[int, Scope]:
    node, _, scope = text.partition(":")
    return int(node), parse_scope_key(scope)


def scope_text(ir: Ir, node: int, scope: Scope) -> str:
    """Return the scope as people read it, outermost first: ``items[4]/poll#2/merge@1``."""
    if node < 0:
        return ""
    words: list[str] = []
    for number, index in zip(ir.nodes[node].levels, scope, strict=True):
        region = ir.regions[number]
        name = ir.nodes[region.node].id
        if region.kind is RegionKind.LOOP:
            words.append(f"{name}#{index}")
        else:
            words.append(f"{name}[{index}]" if region.kind is RegionKind.MAP else f"{name}@{index}")
    return "/".join(words)


def child_text(ir: Ir, node: int, scope: Scope) -> str:
    """Return the item of a map that the scope is in, as a child counted from 1: ``items#5``; empty outside of maps.

    Of maps in maps or in loops the way to it: ``batch#2/item#1``. Loops inside of the item are no part of it.
    """
    levels = ir.nodes[node].levels if node >= 0 else ()
    words: list[str] = []
    child = 0
    for number, index in zip(levels, scope, strict=True):
        region = ir.regions[number]
        is_map = region.kind is RegionKind.MAP
        words.append(f"{ir.nodes[region.node].id}{'@' if region.kind is RegionKind.EACH else '#'}{index + is_map}")
        child = len(words) if is_map else child
    return "/".join(words[:child])


_INDEX = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*(?:\[(\d{1,9})\]|[#@](\d{1,9}))", re.ASCII)
_KEY = re.compile(r"\d{1,9}(?:\.\d{1,9})*", re.ASCII)


def read_scope(ir: Ir, node: int, text: str) -> Scope:
    """Return the scope that people have written, as ``scope_text`` shows it or as the log has it. Raises ValueError."""
    if _KEY.fullmatch(text):
        scope = parse_scope_key(text)
    else:
        found = [_INDEX.fullmatch(word) for word in text.split("/")] if text else []
        scope = tuple(int(word[1] or word[2]) for word in found if word is not None)
        if len(scope) == len(ir.nodes[node].levels) and scope_text(ir, node, scope) != text:
            raise ValueError(text)
    if len(scope) != len(ir.nodes[node].levels):
        raise ValueError(text)
    return scope


def follow(edge: Edge, scope: Scope, item: int = 0) -> Scope:
    """Return the scope in which a token of the source's ``scope`` reaches the edge's target.

    item: where the edge enters the body of a map.
    """
    if not edge.scope:
        return ()
    return tuple(
        scope[copy] if copy >= 0 else 1 if copy == COPY_ENTER else edge.slot if copy == COPY_SLOT else item
        for copy in edge.scope
    )


def project(source: Sequence[int], scope: Scope, target: Sequence[int]) -> Scope:
    """Return ``scope`` of levels ``source`` as seen from levels ``target``: without those it lacks.

    A loop entered on a dead path starts at 1.
    """
    return tuple(scope[source.index(level)] if level in source else 1 for level in target)
