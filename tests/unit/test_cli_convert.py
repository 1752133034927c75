"""``courante convert``: each form of a workflow file prints as the others; no server anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from command_line import call
from courante.compiler.normalize import normalize
from courante.compiler.source import load_source

DOCUMENT = """\
courante: 1
id: order
nodes:
  - {id: fetch, type: echo, config: {value: ["no", "0o12", "1e3", "on", "2020-01-01", "~", null, 1.5]}}
  - {id: decide, type: conditional, depends_on: fetch,
     config: {rules: [{when: "size(output) > 1", next: [big]}], default: [small]}}
  - {id: big, type: noop}
  - {id: small, type: noop}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "order.yaml").write_text(DOCUMENT, encoding="utf-8")
    return tmp_path


def test_every_form_says_the_same(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """From YAML to Python, and from there to YAML and JSON."""
    meant, _ = normalize(load_source(DOCUMENT).value)
    said = call(capsys, "convert", "order.yaml")
    assert said.code == 0
    (folder / "order.py").write_text(said.out, encoding="utf-8")
    for form in ("yaml", "json"):
        text = call(capsys, "convert", "order.py", "--to", form, "--json").json["text"]
        assert normalize(load_source(text).value)[0] == meant
    assert call(capsys, "convert", "order.py", "--to", "python").out == said.out


def test_a_file_in_python_is_checked_like_any_other(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """With everything that is wrong."""
    build = "from courante import workflow\nflow = workflow('w')\nflow.node('a', 'nop')\n"
    (folder / "bad.py").write_text(build, encoding="utf-8")
    said = call(capsys, "validate", "bad.py", "--json")
    assert (said.code, [found["code"] for found in said.json["diagnostics"]]) == (1, ["unknown_type"])


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1 / 0", "flow_broken"),
        ("x = 1", "flow_unclear"),
        ("from courante import workflow\na = workflow('a')\nb = workflow('b')", "flow_unclear"),
    ],
)
def test_a_file_that_builds_no_workflow_is_told(
    capsys: pytest.CaptureFixture[str], folder: Path, text: str, code: str
) -> None:
    """Or more than one."""
    (folder / "x.py").write_text(text, encoding="utf-8")
    said = call(capsys, "validate", "x.py", "--json")
    assert (said.code, said.json["error"]["code"]) == (1, code)
    said = call(capsys, "convert", "nowhere.py", "--json")
    assert (said.code, said.json["error"]["code"]) == (3, "file_not_found")
