"""Make a document that breaks something small: take away what it breaks without.

Greedy: nodes, then edges, then fields of nodes, over and over until nothing more can go. A seeded oracle answers
by node and scope, so what is left of a run stays as it was while other parts disappear.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from .graph import Document, from_document
from .regions import refusal

Fields = dict[str, object]

OPTIONAL = ("when", "on_error", "loop", "join", "rules", "retry")


def shrink(document: Document, breaks: Callable[[Document], bool]) -> Document:
    """The smallest document found that ``refusal`` accepts and that breaks; the one passed in must break."""
    found = document
    while smaller := next((one for one in _smaller(found) if not _is_refused(one) and breaks(one)), None):
        found = smaller
    return found


def _is_refused(document: Document) -> bool:
    return bool(refusal(from_document(document)))


def _smaller(document: Document) -> Iterator[Document]:
    nodes = msgspec.convert(document["nodes"], list[Fields])
    edges = msgspec.convert(document.get("edges", []), list[Fields])
    for gone in nodes:
        left = [_without(node, str(gone["id"])) for node in nodes if node is not gone]
        around = [edge for edge in edges if gone["id"] not in (edge["from"], edge["to"])]
        if left:
            yield {**document, "nodes": left, "edges": around}
    for at in range(len(edges)):
        yield {**document, "edges": edges[:at] + edges[at + 1 :]}
    for at, node in enumerate(nodes):
        for less in _plainer(node):
            yield {**document, "nodes": [*nodes[:at], less, *nodes[at + 1 :]]}


def _without(node: Fields, gone: str) -> Fields:
    """The node with every mention of another one taken out, and with what means nothing any more."""
    less = {name: _drop(value, gone) for name, value in node.items()}
    if isinstance(loop := node.get("loop"), dict) and gone in loop.values():
        del less["loop"]
    if less.get("rules") == []:
        less = {name: value for name, value in less.items() if name not in {"rules", "default", "mode"}}
    return less


def _drop(value: object, gone: str) -> object:
    """A value without the id, in lists and in the lists of rules."""
    if isinstance(value, list):
        members = msgspec.convert(value, list[object])
        return [_drop(member, gone) for member in members if member != gone]
    if isinstance(value, dict):
        return {name: _drop(inner, gone) for name, inner in msgspec.convert(value, Fields).items()}
    return value


def _plainer(node: Fields) -> Iterator[Fields]:
    for name in OPTIONAL:
        if name in node:
            gone = {name, "default", "mode"} if name == "rules" else {name}
            yield {field: value for field, value in node.items() if field not in gone}
    if isinstance(sources := node.get("depends_on"), list):
        for source in msgspec.convert(sources, list[str]):
            yield {**node, "depends_on": [other for other in msgspec.convert(sources, list[str]) if other != source]}
