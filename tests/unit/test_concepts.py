"""The documents in the pages about concepts are right: they compile, and nothing is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source

PAGES = Path(__file__).resolve().parents[2] / "docs" / "concepts"
EXAMPLES = [
    pytest.param(text, id=f"{page.stem}-{at}")
    for page in sorted(PAGES.glob("*.md"))
    for at, text in enumerate(re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_compiles(text: str) -> None:
    """A reader can copy it."""
    read = read_document(load_source(text).value)
    assert read.workflow is not None, read.diagnostics
    ir, diagnostics = compile_workflow(read.workflow)
    assert ir is not None, diagnostics
    assert diagnostics == []


def test_every_page_is_listed() -> None:
    """The overview leads to each page."""
    listed = set(re.findall(r"\]\((\w[\w-]*\.md)\)", (PAGES / "README.md").read_text()))
    assert listed == {page.name for page in PAGES.glob("*.md")} - {"README.md"}
    assert len(EXAMPLES) >= 3
