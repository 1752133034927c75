"""Faults of native documents: a code, a path and a hint each, all at once, and bounded."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from courante.compiler.diagnostics import Diagnostic, Severity
from courante.compiler.findings import SUGGESTION_WORDS_MAX, Findings
from courante.compiler.normalize import normalize
from courante.compiler.source import load_source
from courante.compiler.workflow import Json

from .test_native import node, small


def faults(value: Json) -> list[Diagnostic]:
    workflow, diagnostics = normalize(value)
    assert (workflow is None) == any(found.severity is Severity.ERROR for found in diagnostics)
    return diagnostics


WRONG: list[tuple[str, Json, str, tuple[str | int, ...]]] = [
    ("no object", [1], "unknown_dialect", ()),
    ("no version", {"id": "w", "nodes": [node()]}, "missing_field", ()),
    ("other version", {**small(node()), "courante": 2}, "unknown_version", ("courante",)),
    ("version true", {**small(node()), "courante": True}, "unknown_version", ("courante",)),
    ("no id", {"courante": 1, "nodes": [node()]}, "missing_field", ()),
    ("no nodes", {"courante": 1, "id": "w"}, "missing_field", ()),
    ("empty nodes", small(), "no_nodes", ("nodes",)),
    ("nodes by name", {"courante": 1, "id": "w", "nodes": {"a": {}}}, "wrong_type", ("nodes",)),
    ("upper case id", small(node(), id="Shop"), "bad_id", ("id",)),
    ("id with a line end", small(node(), id="shop\n"), "bad_id", ("id",)),
    ("long id", small(node(), id="a" * 129), "bad_id", ("id",)),
    ("node id with a digit", small(node("1a")), "bad_id", ("nodes", 0, "id")),
    ("node id with a line end", small(node("a\n")), "bad_id", ("nodes", 0, "id")),
    ("node id with a look-alike", small(node("\u0430bc")), "bad_id", ("nodes", 0, "id")),
    ("node id of zero width", small(node("a\u200b")), "bad_id", ("nodes", 0, "id")),
    ("node id as a path", small(node("../a")), "bad_id", ("nodes", 0, "id")),
    ("node id with braces", small(node("a{b}")), "bad_id", ("nodes", 0, "id")),
    ("node id a number", small({"id": 1, "type": "noop"}), "wrong_type", ("nodes", 0, "id")),
    ("node without type", small({"id": "a"}), "missing_field", ("nodes", 0)),
    ("node is a string", small(node(), *["b"]), "wrong_type", ("nodes", 1)),  # type: ignore[arg-type]
    ("twice an id", small(node(), node()), "duplicate_id", ("nodes", 1, "id")),
    ("unknown type", small(node(type="functoin", config={"handler": "x"})), "unknown_type", ("nodes", 0, "type")),
    ("unknown field", small(node(), retries=3), "unknown_field", ("retries",)),
    ("unknown node field", small(node(), node("b", dependson="a")), "unknown_field", ("nodes", 1, "dependson")),
    ("unknown policy field", small(node(), policy={"onfailure": "continue"}), "unknown_field", ("policy", "onfailure")),
    ("unknown retry field", small(node(retry={"attempts": 1})), "unknown_field", ("nodes", 0, "retry", "attempts")),
    ("until in a loop", small(node(loop={"until": "x", "while": "x", "back_to": "a"})), "unknown_field",
     ("nodes", 0, "loop", "until")),
    ("config of noop", small(node(config={"a": 1})), "unknown_field", ("nodes", 0, "config", "a")),
    ("config a list", small(node(type="http", config=[])), "wrong_type", ("nodes", 0, "config")),
    ("unknown dependency", small(node("fetch"), node("b", depends_on=["fetsh"])), "unknown_node",
     ("nodes", 1, "depends_on")),
    ("unknown edge end", small(node(), edges=[{"from": "a", "to": "b"}]), "unknown_node", ("edges", 0, "to")),
    ("edge without end", small(node(), edges=[{"from": "a"}]), "missing_field", ("edges", 0)),
    ("edge a string", small(node(), edges=["a"]), "wrong_type", ("edges", 0)),
    ("edge twice", small(node(), node("b"), edges=[{"from": "a", "to": "b"}, {"from": "a", "to": "b", "when": "x"}]),
     "duplicate_edge", ("edges", 1)),
    ("unknown rule target", small(node(rules=[{"when": "true", "next": "b"}])), "unknown_node",
     ("nodes", 0, "rules", 0, "next")),
    ("unknown default", small(node(rules=[], default="b")), "unknown_node", ("nodes", 0, "default")),
    ("rule without target", small(node(rules=[{"when": "true", "next": []}])), "missing_field",
     ("nodes", 0, "rules", 0, "next")),
    ("rule without condition", small(node(), node("b", rules=[{"next": "a"}])), "missing_field",
     ("nodes", 1, "rules", 0)),
    ("mode alone", small(node(mode="all")), "missing_field", ("nodes", 0)),
    ("conditional without rules", small(node(type="conditional")), "missing_field", ("nodes", 0, "config")),
    ("routing twice", small(node(type="conditional", default="a", config={"default": "a"})), "conflicting_fields",
     ("nodes", 0, "default")),
    ("unknown back_to", small(node(loop={"while": "x", "back_to": "b"})), "unknown_node",
     ("nodes", 0, "loop", "back_to")),
    ("unknown on_exhausted", small(node(loop={"while": "x", "back_to": "a", "on_exhausted": ["b"]})), "unknown_node",
     ("nodes", 0, "loop", "on_exhausted")),
    ("loop of no pass", small(node(loop={"while": "x", "back_to": "a", "max_iterations": 0})), "out_of_range",
     ("nodes", 0, "loop", "max_iterations")),
    ("unknown on_error", small(node(on_error="b")), "unknown_node", ("nodes", 0, "on_error")),
    ("compensate a number", small(node(compensate=1)), "wrong_type", ("nodes", 0, "compensate")),
    ("empty reference", small(node(compensate="")), "unknown_node", ("nodes", 0, "compensate")),
    ("edge from nothing", small(node(), edges=[{"from": "", "to": "a"}]), "unknown_node", ("edges", 0, "from")),
    ("edge from a number", small(node(), edges=[{"from": 1, "to": "a"}]), "wrong_type", ("edges", 0, "from")),
    ("loop to nowhere", small(node(loop={"while": "x", "back_to": ""})), "unknown_node",
     ("nodes", 0, "loop", "back_to")),
    ("loop without head", small(node(loop={"while": "x"})), "missing_field", ("nodes", 0, "loop")),
    ("unknown compensate", small(node(compensate="b")), "unknown_node", ("nodes", 0, "compensate")),
    ("unknown while_waiting", small(node(while_waiting="b")), "unknown_node", ("nodes", 0, "while_waiting")),
    ("unknown cancels", small(node(cancels="b")), "unknown_node", ("nodes", 0, "cancels")),
    ("depends on a number", small(node(depends_on=1)), "wrong_type", ("nodes", 0, "depends_on")),
    ("depends on numbers", small(node(depends_on=[1])), "wrong_type", ("nodes", 0, "depends_on", 0)),
    ("join word", small(node(join="al")), "unknown_value", ("nodes", 0, "join")),
    ("join none", small(node(join={"at_least": 0})), "out_of_range", ("nodes", 0, "join", "at_least")),
    ("priority", small(node(priority="urgent")), "unknown_value", ("nodes", 0, "priority")),
    ("queue", small(node(queue="a:b")), "bad_name", ("nodes", 0, "queue")),
    ("retry of a bad name", small(node(retry={"on": ["a b"]})), "bad_name", ("nodes", 0, "retry", "on", 0)),
    ("retry of a long name", small(node(retry={"on": ["a" * 201]})), "bad_name", ("nodes", 0, "retry", "on", 0)),
    ("retry of no status", small(node(retry={"on": [429, 99]})), "wrong_type", ("nodes", 0, "retry", "on", 1)),
    ("approval as text", small(node(requires_approval="yes")), "wrong_type", ("nodes", 0, "requires_approval")),
    ("approval of two kinds", small(node(type="approval", requires_approval=True)), "conflicting_fields",
     ("nodes", 0, "requires_approval")),
    ("approval field", small(node(requires_approval={"expire": 1})), "unknown_field",
     ("nodes", 0, "requires_approval", "expire")),
    ("approval config field", small(node(type="approval", config={"timeout": 1})), "unknown_field",
     ("nodes", 0, "config", "timeout")),
    ("form no object", small(node(requires_approval={"form": True})), "wrong_type",
     ("nodes", 0, "requires_approval", "form")),
    ("form no schema", small(node(type="approval", config={"form": {"type": "objekt"}})), "bad_schema",
     ("nodes", 0, "config", "form", "type")),
    ("form refers outside", small(node(requires_approval={"form": {"$ref": "http://localhost:9/x"}})), "bad_schema",
     ("nodes", 0, "requires_approval", "form")),
    ("approval expires at once", small(node(requires_approval={"expires": 0})), "out_of_range",
     ("nodes", 0, "requires_approval", "expires")),
    ("approval expires some day", small(node(requires_approval={"expires": "soon"})), "bad_duration",
     ("nodes", 0, "requires_approval", "expires")),
    ("escalates to nobody", small(node(requires_approval={"escalate_after": 1})), "missing_field",
     ("nodes", 0, "requires_approval")),
    ("escalates to no name", small(node(requires_approval={"escalate_to": " ", "expires": 1})), "missing_field",
     ("nodes", 0, "requires_approval", "escalate_to")),
    ("escalates some day", small(node(requires_approval={"escalate_to": "lead"})), "missing_field",
     ("nodes", 0, "requires_approval")),
    ("escalates too late", small(node(requires_approval={"escalate_to": "lead", "escalate_after": 2, "expires": 2})),
     "conflicting_fields", ("nodes", 0, "requires_approval", "escalate_after")),
    ("separate approver perhaps", small(node(requires_approval={"separate_approver": "yes"})), "wrong_type",
     ("nodes", 0, "requires_approval", "separate_approver")),
    ("gate of the defaults", small(node(), defaults={"requires_approval": {"expires": -1}}), "bad_duration",
     ("defaults", "requires_approval", "expires")),
    ("signal of nothing", small(node(type="signal")), "missing_field", ("nodes", 0, "config")),
    ("signal name", small(node(type="signal", config={"name": "a b"})), "bad_name", ("nodes", 0, "config", "name")),
    ("signal name private", small(node(type="signal", config={"name": "!defer/1/1"})), "bad_name",
     ("nodes", 0, "config", "name")),
    ("signal name empty", small(node(type="signal", config={"name": ""})), "bad_name", ("nodes", 0, "config", "name")),
    ("signal name long", small(node(type="signal", config={"name": "a" * 129})), "bad_name",
     ("nodes", 0, "config", "name")),
    ("signal field", small(node(type="signal", config={"name": "a", "expire": 1})), "unknown_field",
     ("nodes", 0, "config", "expire")),
    ("signal of two kinds", small(node(type="signal", config={"name": "a", "first_of": [{"name": "b"}]})),
     "conflicting_fields", ("nodes", 0, "config", "name")),
    ("choice that expires", small(node(type="signal", config={"expires": 1, "first_of": [{"name": "b"}]})),
     "conflicting_fields", ("nodes", 0, "config", "expires")),
    ("choice of nothing", small(node(type="signal", config={"first_of": []})), "missing_field",
     ("nodes", 0, "config", "first_of")),
    ("choice of times", small(node(type="signal", config={"first_of": [{"after": 1}]})), "missing_field",
     ("nodes", 0, "config", "first_of")),
    ("choice no list", small(node(type="signal", config={"first_of": {"name": "a"}})), "wrong_type",
     ("nodes", 0, "config", "first_of")),
    ("choice of words", small(node(type="signal", config={"first_of": [{"name": "a"}, "b"]})), "wrong_type",
     ("nodes", 0, "config", "first_of", 1)),
    ("event of nothing", small(node(type="signal", config={"first_of": [{"name": "a"}, {}]})), "missing_field",
     ("nodes", 0, "config", "first_of", 1)),
    ("event of two", small(node(type="signal", config={"first_of": [{"name": "a", "after": 1}]})),
     "conflicting_fields", ("nodes", 0, "config", "first_of", 0, "after")),
    ("event field", small(node(type="signal", config={"first_of": [{"name": "a"}, {"signal": "b"}]})),
     "unknown_field", ("nodes", 0, "config", "first_of", 1, "signal")),
    ("event twice", small(node(type="signal", config={"first_of": [{"name": "a"}, {"name": "a"}]})),
     "duplicate_event", ("nodes", 0, "config", "first_of", 1, "name")),
    ("two times", small(node(type="signal", config={"first_of": [{"name": "a"}, {"after": 1}, {"after": 2}]})),
     "duplicate_event", ("nodes", 0, "config", "first_of", 2, "after")),
    ("33 events", small(node(type="signal", config={"first_of": [{"name": f"e{i}"} for i in range(33)]})),
     "out_of_range", ("nodes", 0, "config", "first_of")),
    ("queue timeout of nothing", small(node(queue_timeout=0)), "out_of_range", ("nodes", 0, "queue_timeout")),
    ("heartbeat timeout", small(node(heartbeat_timeout="5")), "bad_duration", ("nodes", 0, "heartbeat_timeout")),
    ("budget below 0", small(node(), policy={"retry_budget": -1}), "out_of_range", ("policy", "retry_budget")),
    ("budget of nothing", small(node(), policy={"budget": {}}), "missing_field", ("policy", "budget")),
    ("budget a number", small(node(), policy={"budget": 5}), "wrong_type", ("policy", "budget")),
    ("cost a text", small(node(), policy={"budget": {"cost": "5"}}), "wrong_type", ("policy", "budget", "cost")),
    ("cost below 0", small(node(), policy={"budget": {"cost": -0.1}}), "out_of_range", ("policy", "budget", "cost")),
    ("tokens a part", small(node(), policy={"budget": {"tokens": 1.5}}), "wrong_type", ("policy", "budget", "tokens")),
    ("currency", small(node(), policy={"budget": {"cost": 1, "currency": "usd"}}), "unknown_value",
     ("policy", "budget", "currency")),
    ("two currencies", small(node(), policy={"budget": {"cost": 1}, "workflow_budget": {"cost": 1, "currency": "EUR"}}),
     "conflicting_fields", ("policy", "workflow_budget", "currency")),
    ("exhausted", small(node(), policy={"budget": {"cost": 1, "on_exhausted": "wait"}}), "unknown_value",
     ("policy", "budget", "on_exhausted")),
    ("stuck a time", small(node(), policy={"stuck": "10m"}), "wrong_type", ("policy", "stuck")),
    ("stuck without time", small(node(), policy={"stuck": {"action": "fail"}}), "missing_field", ("policy", "stuck")),
    ("stuck at once", small(node(), policy={"stuck": {"after": 0}}), "out_of_range", ("policy", "stuck", "after")),
    ("stuck action", small(node(), policy={"stuck": {"after": 1, "action": "cancel"}}), "unknown_value",
     ("policy", "stuck", "action")),
    ("stuck field", small(node(), policy={"stuck": {"after": 1, "then": "fail"}}), "unknown_field",
     ("policy", "stuck", "then")),
    ("timeout without unit", small(node(timeout="30")), "bad_duration", ("nodes", 0, "timeout")),
    ("timeout of nothing", small(node(timeout=0)), "out_of_range", ("nodes", 0, "timeout")),
    ("attempts 0", small(node(retry={"max_attempts": 0})), "out_of_range", ("nodes", 0, "retry", "max_attempts")),
    ("attempts true", small(node(retry={"max_attempts": True})), "wrong_type", ("nodes", 0, "retry", "max_attempts")),
    ("attempts twice", small(node(retry={"max_attempts": 2}, max_retries=1)), "conflicting_fields",
     ("nodes", 0, "max_retries")),
    ("base above max", small(node(retry={"base": "2s", "max": "1s"})), "conflicting_fields", ("nodes", 0, "retry")),
    ("empty condition", small(node(when=" ")), "empty_expression", ("nodes", 0, "when")),
    ("null condition", small(node(when=None)), "wrong_type", ("nodes", 0, "when")),
    ("input a list", small(node(input=["a"])), "wrong_type", ("nodes", 0, "input")),
    ("input deep", small(node(input={"a": {"b": "c"}})), "wrong_type", ("nodes", 0, "input", "a")),
    ("defaults of ids", small(node(), defaults={"on_error": "a"}), "unknown_field", ("defaults", "on_error")),
    ("input no schema", small(node(), input={"type": "objekt"}), "bad_schema", ("input", "type")),
    ("input refers outside", small(node(), input={"$ref": "http://localhost:9/x"}), "bad_schema", ("input",)),
    ("function without handler", small(node(type="function")), "missing_field", ("nodes", 0, "config")),
    ("handler a number", small(node(type="function", config={"handler": 1})), "wrong_type",
     ("nodes", 0, "config", "handler")),
    ("echo of nothing", small(node(type="echo")), "missing_field", ("nodes", 0, "config")),
    ("sleep without end", small(node(type="sleep", config={"for": "soon"})), "bad_duration",
     ("nodes", 0, "config", "for")),
    ("wait of two", small(node(type="wait", config={"for": 1, "until": "x"})), "conflicting_fields",
     ("nodes", 0, "config", "until")),
    ("wait of none", small(node(type="wait")), "missing_field", ("nodes", 0, "config")),
    ("transform of two", small(node(type="transform", config={"mapping": {}, "expression": "x"})), "conflicting_fields",
     ("nodes", 0, "config", "expression")),
    ("filter of nothing", small(node(type="filter")), "missing_field", ("nodes", 0, "config")),
]  # fmt: skip


@pytest.mark.parametrize(("value", "code", "path"), [each[1:] for each in WRONG], ids=[each[0] for each in WRONG])
def test_each_fault_has_a_code_and_a_path(value: Json, code: str, path: tuple[str | int, ...]) -> None:
    """A document with one fault gives exactly that fault, at its place."""
    assert [(found.code, found.path) for found in faults(value)] == [(code, path)]


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (small(node(type="functoin", config={"handler": "x"})), "did you mean 'function'?"),
        (small(node(dependson="a")), "did you mean 'depends_on'?"),
        (small(node("fetch"), node("b", depends_on="fetsh")), "did you mean 'fetch'?"),
        (small(node(priority="hihg")), "did you mean 'high'?"),
        (small(node(requires_approval={"expire": 1})), "did you mean 'expires'?"),
        (small(node(type="signal", config={"nam": "a", "first_of": [{"name": "a"}]})), "did you mean 'name'?"),
        (small(node(timeout="30")), "write 250ms, 30s, 10m, 1h, 2d, or seconds as a number"),
    ],
)
def test_hints_say_what_was_probably_meant(value: Json, hint: str) -> None:
    """A misspelt word gets the nearest known one."""
    assert faults(value)[0].hint == hint


ODD = {"5XX": "did you mean '5xx'?", "timeouts": "did you mean 'timeout'?", "net-work": "did you mean 'network'?",
       "Network": "did you mean 'network'?", "200": "one of: network", "rate_limit": "one of: network"}  # fmt: skip


def test_words_of_retry_that_mean_no_failure_are_warned_about() -> None:
    """A slip would switch retries off in silence; names of exception types, codes and statuses are all right."""
    fine = ["network", "timeout", "output_invalid", "error", "4xx", "5xx", 429, "503", "ValueError", "herror", "_Own"]
    fine += ["shop.errors.OutOfStock", "OUTPUT_INVALID", "x" * 195 + "Error"]
    workflow, diagnostics = normalize(small(node(retry={"on": [*fine, *ODD]})))
    assert workflow is not None
    assert workflow.nodes[0].retry.on == tuple(map(str, [*fine, *ODD]))
    assert [(d.code, d.severity, d.path[-1]) for d in diagnostics] == [
        ("unknown_failure", "warning", len(fine) + number) for number in range(len(ODD))
    ]
    assert [diagnostic.hint.partition(",")[0] for diagnostic in diagnostics] == list(ODD.values())


def test_all_faults_come_at_once_with_their_lines() -> None:
    """Faults of different parts of a document are reported together, each with line and column."""
    source = load_source(
        "courante: 1\n"
        "id: w\n"
        "nodes:\n"
        "  - id: a\n"
        "    type: nope\n"
        "    tmeout: 3s\n"
        "  - id: b\n"
        "    type: noop\n"
        "    depends_on: [a, c]\n"
        "edges:\n"
        "  - {from: b, to: d}\n"
    )
    found = source.locate(faults(source.value))
    assert [(each.code, each.line, each.column) for each in found] == [
        ("unknown_type", 5, 11),
        ("unknown_field", 6, 5),
        ("unknown_node", 9, 17),
        ("unknown_node", 11, 19),
    ]


def test_a_document_full_of_faults_gives_a_bounded_report() -> None:
    """Ten thousand faults end in one line that counts the rest, without ten thousand searches for similar words."""
    nodes = [node(f"n{index}", depends_on=f"m{index}") for index in range(10_000)]
    found = faults(small(*nodes))
    assert len(found) == 501
    assert (found[-1].code, found[-1].message) == ("too_many_findings", "9500 more findings are not shown")


def test_suggestions_end_when_their_budget_is_spent() -> None:
    """The words compared are counted over the whole document."""
    findings = Findings()
    known = [f"word{index}" for index in range(SUGGESTION_WORDS_MAX // 2)]
    assert [bool(findings.suggest("wort7", known[:10])), bool(findings.suggest("word7", known))] == [True, True]
    assert findings.suggest("wort7", known) == ""


_CODE = re.compile(r"(?:error|warning|_error|_fail|SourceError\.of)\(\s*(?:event, )?\"([a-z0-9_]+)\"")


def test_every_code_is_in_the_reference() -> None:
    """A code that a front end can report has a row in the table of diagnostics."""
    root = Path(str(files("courante")))
    reference = (root / "docs" / "reference" / "diagnostics.md").read_text(encoding="utf-8")
    sources = [*(root / "compiler").glob("*.py"), *(root / "compiler" / "dialects").glob("*.py")]
    codes = {code for source in sources for code in _CODE.findall(source.read_text(encoding="utf-8"))}
    codes |= {each[2] for each in WRONG}
    assert len(codes) > 30
    assert sorted(code for code in codes if f"| `{code}` |" not in reference) == []
