"""``courante validate``, ``graph`` and ``schema``: goldens, places, exit codes; no server anywhere."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from command_line import call
from courante.compiler.schema import workflow_json_schema

GOOD = """\
courante: 1
id: order
nodes:
  - {id: fetch, type: noop}
  - {id: decide, type: conditional, depends_on: fetch,
     config: {rules: [{when: "output.sum > 10", next: [big]}], default: [small]}}
  - {id: big, type: function, config: {handler: shop.big}, on_error: sorry}
  - {id: small, type: noop}
  - {id: sorry, type: noop}
  - {id: done, type: noop, depends_on: [big, small], join: any}
"""

BAD = """\
courante: 1
id: bad
nodes:
  - {id: a, type: ecko, config: {value: 1}}
  - id: b
    type: noop
    dependson: a
  - {id: c, type: noop, depends_on: d}
"""

VALID_TEXT = """\
✓ order is valid

Nodes: 6
  - fetch (no dependencies)
  - decide (depends on: fetch)
  - big (depends on: decide)
  - small (depends on: decide)
  - sorry (when it fails: big)
  - done (depends on: big, small)
Dependencies: 6
Execution phases: 4

next: courante run order.yaml
"""

INVALID_TEXT = """\
bad.yaml:4:19: error: there is no node type 'ecko' [unknown_type]
    hint: did you mean 'echo'?
bad.yaml:7:5: error: unknown field 'dependson' in nodes [unknown_field]
    hint: did you mean 'depends_on'?
bad.yaml:8:37: error: there is no node 'd' [unknown_node]

✗ bad.yaml: 3 errors
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory of the commands, with a good and a bad file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "order.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(BAD)
    return tmp_path


def test_a_valid_file_is_shown_with_its_dependencies(capsys: pytest.CaptureFixture[str]) -> None:
    """Every node with what it depends on, then the counts and the next command."""
    said = call(capsys, "validate", "order.yaml")
    assert (said.code, said.err) == (0, "")
    assert said.out == VALID_TEXT


def test_a_valid_file_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """One object with ok, diagnostics and the counts."""
    said = call(capsys, "validate", "order.yaml", "--json")
    assert said.code == 0
    assert json.loads(said.out) == {"ok": True, "diagnostics": [], "nodes": 6, "edges": 6, "phases": 4}


def test_every_error_of_a_file_is_shown_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    """``file:line:column``, in the order of the file, each with its hint."""
    said = call(capsys, "validate", "bad.yaml")
    assert said.code == 1
    assert said.out == INVALID_TEXT


def test_errors_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """A diagnostic has code, severity, message, line, column, path and hint."""
    said = call(capsys, "validate", "bad.yaml", "--json")
    assert said.code == 1
    found = json.loads(said.out)
    assert (found["ok"], found["nodes"], found["edges"], found["phases"]) == (False, 0, 0, 0)
    assert found["diagnostics"][0] == {
        "code": "unknown_type",
        "severity": "error",
        "message": "there is no node type 'ecko'",
        "line": 4,
        "column": 19,
        "path": ["nodes", 0, "type"],
        "hint": "did you mean 'echo'?",
    }
    assert len(found["diagnostics"]) == 3


def test_errors_of_the_graph_have_places_too(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """A cycle is found after reading, and still told with its line."""
    nodes = "nodes:\n  - {id: a, type: noop, depends_on: b}\n  - {id: b, type: noop, depends_on: a}\n"
    (folder / "cycle.yaml").write_text(f"courante: 1\nid: c\n{nodes}")
    said = call(capsys, "validate", "cycle.yaml", "--json")
    assert said.code == 1
    assert all(d["line"] for d in said.json["diagnostics"])


def test_a_warning_is_no_error(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Two parts that are not connected are told, and the file is valid."""
    (folder / "two.yaml").write_text("courante: 1\nid: two\nnodes:\n  - {id: a, type: noop}\n  - {id: b, type: noop}\n")
    said = call(capsys, "validate", "two.yaml")
    assert said.code == 0
    assert "warning: " in said.out
    assert "✓ two is valid" in said.out


def test_text_that_cannot_be_read_has_a_place(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Broken YAML is an invalid document, with the place where it breaks."""
    (folder / "broken.yaml").write_text("courante: 1\nid: [a\n")
    said = call(capsys, "validate", "broken.yaml")
    assert said.code == 1
    assert said.out.startswith("broken.yaml:")
    assert said.out.endswith("✗ broken.yaml: 1 error\n")


def test_a_file_that_is_not_there_exits_with_3(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """The message says what was looked for and where."""
    said = call(capsys, "validate", "nope.yaml")
    assert (said.code, said.out) == (3, "")
    assert said.err == f"error: there is no workflow file nope.yaml\nhint: the current directory is {folder}\n"
    assert call(capsys, "validate", ".", "--json").json["error"]["code"] == "file_not_readable"


def test_a_dash_reads_standard_input(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """``courante validate -`` checks what is piped in."""
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    assert call(capsys, "validate", "-", "--json").json["nodes"] == 6


def test_other_dialects_are_counted_by_edges(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """Five tasks with five dependencies, one of them on two others, are five edges."""
    task = "prompt: p, model: m, provider: openai"
    rows = ["{id: research", "{id: outline, depends_on: [research]", "{id: draft, depends_on: [outline]"]
    rows += ["{id: review, depends_on: [draft]", "{id: finalize, depends_on: [review, research]"]
    lines = "".join(f"  - {row}, name: n, {task}}}\n" for row in rows)
    (folder / "relay.yaml").write_text(f"name: demo\ntasks:\n{lines}")
    said = call(capsys, "validate", "relay.yaml", "--json")
    codes = {d["code"] for d in said.json["diagnostics"] if d["severity"] == "error"}
    assert codes == set()
    assert (said.json["nodes"], said.json["edges"]) == (5, 5)


def test_a_graph_in_mermaid(capsys: pytest.CaptureFixture[str]) -> None:
    """Nodes are numbered, rules stand on their edges, other kinds of edges are dashed."""
    said = call(capsys, "graph", "order.yaml")
    assert said.code == 0
    assert said.out.splitlines()[:3] == ["flowchart LR", '  n0["fetch<br/>noop"]', '  n1{"decide<br/>conditional"}']
    assert '  n1 -->|"output.sum #gt; 10"| n2' in said.out
    assert '  n1 -->|"otherwise"| n3' in said.out
    assert '  n2 -.->|"on error"| n4' in said.out


def test_a_graph_in_dot(capsys: pytest.CaptureFixture[str]) -> None:
    """The same graph for Graphviz; under ``--json`` it is one object."""
    said = call(capsys, "graph", "order.yaml", "--format", "dot", "--json")
    text = said.json["text"]
    assert said.json["format"] == "dot"
    assert text.startswith('digraph "order" {\n  rankdir=LR;')
    assert '  "decide" -> "big" [label="output.sum > 10"];' in text
    assert '  "big" -> "sorry" [label="on error", style=dashed];' in text
    assert text.endswith("}")


def test_a_loop_is_drawn_with_its_condition(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """A back edge is dashed and says when it is taken; quotes are kept from breaking the text."""
    loop = """{while: "output.status != 'ready' || output.text == \\"x\\"", back_to: a}"""
    nodes = f"  - {{id: a, type: noop}}\n  - id: b\n    type: noop\n    depends_on: a\n    loop: {loop}\n"
    (folder / "loop.yaml").write_text(f"courante: 1\nid: l\nnodes:\n{nodes}")
    said = call(capsys, "graph", "loop.yaml")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1].startswith("  n1 -.->|\"while output.status != 'ready' #124;#124; output.text")
    assert "#quot;x#quot;" in said.out


def test_a_milestone_is_drawn_as_such(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    """The way from a node that waits is dashed and says so."""
    nodes = "  - {id: w, type: wait, config: {for: 1s}}\n  - {id: b, type: noop, while_waiting: w}\n"
    (folder / "milestone.yaml").write_text(f"courante: 1\nid: m\nnodes:\n{nodes}")
    said = call(capsys, "graph", "milestone.yaml")
    assert said.code == 0, said.err
    assert said.out.splitlines()[-1] == '  n0 -.->|"while it waits"| n1'


def test_a_graph_of_an_invalid_file_exits_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    """The faults go to stderr, the object says the first of them."""
    said = call(capsys, "graph", "bad.yaml", "--json")
    assert said.code == 1
    assert said.json["error"] == {
        "code": "document_invalid",
        "message": "bad.yaml:4:19: there is no node type 'ecko'",
        "hint": "'courante validate bad.yaml' lists every fault",
    }
    assert said.err.count("error: ") == 3


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """For people over many lines, under ``--json`` on one."""
    plain = call(capsys, "schema")
    assert json.loads(plain.out) == workflow_json_schema()
    assert len(plain.out.splitlines()) > 100
    told = call(capsys, "schema", "--json")
    assert len(told.out.splitlines()) == 1
    assert told.json == workflow_json_schema()
