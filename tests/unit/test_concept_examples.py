"""Every workflow shown in the concepts is one that is accepted, without a warning."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from courante.compiler.analysis import compile_workflow
from courante.compiler.normalize import normalize
from courante.compiler.source import load_source

PAGES = sorted(Path(str(files("courante"))).joinpath("docs", "concepts").glob("*.md"))
EXAMPLES = [
    pytest.param(text, id=f"{page.stem}-{number}")
    for page in PAGES
    for number, text in enumerate(
        re.findall(r"^```yaml\n(courante: 1\n.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_accepted(text: str) -> None:
    """It is read, compiled, and nothing is found."""
    workflow, found = normalize(load_source(text).value)
    assert workflow is not None, found
    assert found + compile_workflow(workflow)[1] == []


def test_there_are_examples() -> None:
    """The pages are found, and hold documents."""
    assert len(EXAMPLES) > 4
