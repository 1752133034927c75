"""What is special about each dialect, and the faults that only it can have."""

from __future__ import annotations

import pytest

from courante.compiler.diagnostics import Diagnostic
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source
from courante.compiler.workflow import Edge, Loop, Routing, Rule

from .test_dialects import RELAY, RELAY_WORKFLOW


def _faults(text: str) -> list[tuple[str, str, int]]:
    """Code, severity and line of every finding."""
    source = load_source(text)
    found: list[Diagnostic] = source.locate(read_document(source.value).diagnostics)
    return [(each.code, each.severity.value, each.line) for each in found]


def test_relay_is_open_and_says_what_it_leaves_out() -> None:
    """Fields that the dialect does not know are warnings, on the root, the task and the shared config."""
    text = RELAY + "    colour: red\nowner: me\n"
    assert _faults(text) == [("ignored_field", "warning", 26), ("ignored_field", "warning", 25)]
    assert read_document(load_source(text).value).workflow == RELAY_WORKFLOW


def test_relay_asks_for_a_model_only_where_one_is_called() -> None:
    """Prompt, model and provider are required of a task without type, and may come from the shared config."""
    assert _faults("name: x\ntasks:\n  - id: a\n    model: m\n") == [("missing_field", "error", 3)] * 2
    assert _faults("name: x\nconfig: {model: m, provider: openai}\ntasks:\n  - {id: a, prompt: p}\n") == []
    assert _faults("name: x\ntasks:\n  - {id: a, type: noop}\n") == []
    other = "name: x\ntasks:\n  - {id: a, prompt: p, model: m, provider: mistral}\n"
    assert _faults(other) == [("unknown_provider", "warning", 3)]


def test_relay_parameters_are_taken_from_the_nearest_place() -> None:
    """The task goes before its config, and that before the config of the workflow."""
    text = """
name: x
config: {model: far, provider: openai, temperature: 0, max_tokens: 1}
tasks:
  - {id: a, prompt: p, temperature: 2, config: {temperature: 1, max_tokens: 2, top_p: 0.5}}
"""
    workflow = read_document(load_source(text).value).workflow
    assert workflow is not None
    assert workflow.nodes[0].config == {
        "provider": "openai",
        "model": "far",
        "prompt": "p",
        "temperature": 2,
        "max_tokens": 2,
        "top_p": 0.5,
    }


def test_relay_hands_further_fields_to_the_model() -> None:
    """Fields of a config that nobody defined are those of the request; what Courante makes itself is left out."""
    task = "{id: a, prompt: p, model: m, provider: openai, config: {seed: 7, top_p: 1, tools: [], extra: {user: u}}}"
    read = read_document(load_source(f"name: x\ntasks:\n  - {task}\n").value)
    assert read.workflow is not None
    config = read.workflow.nodes[0].config
    assert (config["extra"], config["top_p"], "tools" in config) == ({"seed": 7, "user": "u"}, 1, False)
    assert [(each.code, each.path[-1]) for each in read.diagnostics] == [("ignored_field", "tools")]


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ("{temperature: 2.1}", "out_of_range"),
        ("{temperature: hot}", "wrong_type"),
        ("{max_tokens: 0}", "out_of_range"),
        ("{json_output: 1}", "wrong_type"),
        ("{retry_policy: 3}", "wrong_type"),
        ("{retry_policy: {max_attempts: 0}}", "out_of_range"),
        ("[]", "wrong_type"),
    ],
)
def test_relay_parameters_are_checked(config: str, code: str) -> None:
    """Ranges are those of the dialect's own schema."""
    text = f"name: x\ntasks:\n  - id: a\n    prompt: p\n    model: m\n    provider: openai\n    config: {config}\n"
    assert [found[0] for found in _faults(text)] == [code]


def test_relay_tasks_extend_each_other() -> None:
    """``extends`` takes over fields and config of another task, through several; a circle is an error."""
    text = """
name: x
tasks:
  - {id: a, prompt: p, model: m, provider: openai, depends_on: [], config: {max_tokens: 5, temperature: 1}}
  - {id: b, extends: a, prompt: q, config: {temperature: 0}}
  - {id: c, extends: b, depends_on: a}
"""
    read = read_document(load_source(text).value)
    assert read.diagnostics == []
    assert read.workflow is not None
    assert read.workflow.nodes[2].config == {
        "provider": "openai",
        "model": "m",
        "prompt": "q",
        "temperature": 0,
        "max_tokens": 5,
    }
    assert read.workflow.edges == (Edge(source="a", target="c"),)
    circle = "name: x\ntasks:\n  - {id: a, extends: b, type: noop}\n  - {id: b, extends: a, type: noop}\n"
    assert _faults(circle) == [("bad_extends", "error", 3), ("bad_extends", "error", 4)]
    assert _faults("name: x\ntasks:\n  - {id: a, extends: z, type: noop}\n") == [("bad_extends", "error", 3)]


def test_relay_ids_that_begin_with_a_digit_are_renamed_everywhere() -> None:
    """The native form has no such ids; references and templates follow."""
    text = """
name: x
config: {model: m, provider: openai}
tasks:
  - {id: 1_ask, prompt: p}
  - {id: b, prompt: "{{ tasks.1_ask.output.x }}", depends_on: 1_ask, json_output: true}
"""
    assert _faults(text) == [("renamed_id", "warning", 5)]
    workflow = read_document(load_source(text).value).workflow
    assert workflow is not None
    assert workflow.edges == (Edge(source="_1_ask", target="b"),)
    assert workflow.nodes[1].config["prompt"] == "{{ tasks._1_ask.output.x }}"
    assert workflow.nodes[1].config["schema"] is True


def test_typed_steps_take_dependencies_from_the_root_too() -> None:
    """``dependencies`` by step id beside the steps means the same."""
    text = "name: x\ndependencies: {b: [a]}\nsteps:\n  - {id: a, skill: s}\n  - {stepId: b, skillId: s}\n"
    workflow = read_document(load_source(text).value).workflow
    assert workflow is not None
    assert workflow.edges == (Edge(source="a", target="b"),)
    assert _faults("name: x\ndependencies: {c: [a]}\nsteps:\n  - {id: a, skill: s}\n") == [("unknown_node", "error", 2)]


@pytest.mark.parametrize(
    ("step", "code"),
    [
        ("{id: a, dependencies: []}", "missing_field"),
        ("{id: a, skill: 1}", "wrong_type"),
        ("{id: a, skill: s, color: red}", "unknown_field"),
        ("{id: a, skill: s, dependencies: [b]}", "unknown_node"),
        ("{id: a, skill: s, retryPolicy: {maxAttempts: 0}}", "out_of_range"),
        ("{id: a, skill: s, retryPolicy: {backoffMs: soon}}", "bad_duration"),
        ("{id: a, skill: s, retryPolicy: {attempts: 1}}", "unknown_field"),
        ("{id: a, skill: s, cache: sometimes}", "unknown_value"),
        ("{id: a, skill: s, inputSelector: {a: [1]}}", "wrong_type"),
        ('{id: a, skill: s, inputSelector: "callable:"}', "wrong_type"),
        ('{id: a, type: noop, inputSelector: "callable:f"}', "conflicting_fields"),
        ("{id: a, skill: s, inputSelector: input.x, config: {input_selector: f}}", "conflicting_fields"),
        ("{id: a, skill: s, config: 1}", "wrong_type"),
    ],
)
def test_faults_of_typed_steps(step: str, code: str) -> None:
    """Every fault is reported once, on the line of the step."""
    assert _faults(f"name: x\nsteps:\n  - {step}\n") == [(code, "error", 3)]


def test_a_conditional_without_rules_takes_them_from_its_edges() -> None:
    """The first edge whose condition holds is taken; edges without condition are the default."""
    text = """
name: x
nodes:
  - {id: a, type: conditional}
  - {id: b, type: parallel}
  - {id: c, type: parallel}
edges:
  - {from: a, to: b, condition: output.ok}
  - {from: a, to: c}
"""
    workflow = read_document(load_source(text).value).workflow
    assert workflow is not None
    assert workflow.nodes[0].routing == Routing(rules=(Rule(when="output.ok", next=("b",)),), default=("c",))
    assert workflow.edges == (Edge(source="a", target="b"), Edge(source="a", target="c"))


def test_graph_nodes_may_carry_their_loop_and_branch() -> None:
    """The compiled form of the dialect, with ``loop`` and ``branch`` on the node, means the same."""
    text = """
name: x
nodes:
  - {id: a, type: function, config: {function: f}}
  - id: b
    type: function
    config: {name: g}
    loop: {loop_back_to: a, max_iterations: 3, break_path: [c]}
    branch: {rules: [{condition: {type: cel, expression: "output.x"}, next_nodes: c}]}
  - {id: c, type: parallel, config: {branches: [d, e]}}
  - {id: d, type: parallel}
  - {id: e, type: parallel}
edges:
  - {from: a, to: b}
"""
    read = read_document(load_source(text).value)
    assert read.diagnostics == []
    assert read.workflow is not None
    b = read.workflow.nodes[1]
    assert b.loop == Loop(condition="true", back_to="a", max_iterations=3)
    assert b.routing == Routing(rules=(Rule(when="output.x", next=("c",)),))
    assert [(edge.source, edge.target) for edge in read.workflow.edges] == [
        ("b", "c"),
        ("a", "b"),
        ("c", "d"),
        ("c", "e"),
    ]


@pytest.mark.parametrize(
    ("node", "code", "severity"),
    [
        ("{id: a, type: loop, config: {max_iterations: 3}}", "missing_field", "error"),
        ("{id: a, type: loop, config: {loop_back_to: a}}", "missing_field", "error"),
        ("{id: a, type: loop, config: {loop_back_to: b, max_iterations: 3}}", "unknown_node", "error"),
        ("{id: a, type: loop, config: {loop_back_to: a, max_iterations: 3, brake_path: a}}", "unknown_field", "error"),
        ("{id: a, type: parallel, wait_for_all: 1}", "wrong_type", "error"),
        ("{id: a, type: parallel, colour: red}", "unknown_field", "error"),
        ("{id: a, type: aggregate, config: {strategy: merge}}", "ignored_field", "warning"),
        ("{id: a, type: conditional, config: {rules: [{next: a}]}}", "missing_field", "error"),
        ("{id: a, type: conditional, config: {rules: [{condition: {type: js, expression: x}, next: a}]}}",
         "unknown_value", "error"),
        ("{id: a, type: function}", "missing_field", "error"),
        ("{id: a, type: paralel}", "unknown_type", "error"),
    ],
)  # fmt: skip
def test_faults_of_the_graph_dialect(node: str, code: str, severity: str) -> None:
    """Every fault is reported once, on the line of the node."""
    assert _faults(f"name: x\nedges: []\nnodes:\n  - {node}\n") == [(code, severity, 4)]


def test_faults_of_edges_are_shown_where_the_edge_was_drawn() -> None:
    """Edges that are dropped or added do not shift the places of the others."""
    text = """\
name: x
nodes:
  - {id: a, type: parallel, config: {branches: [y]}}
  - {id: l, type: loop, config: {loop_back_to: a, max_iterations: 2}}
edges:
  - {from: a, to: l}
  - {from: l, to: a}
  - {from: l, to: z}
  - {from: l}
"""
    assert _faults(text) == [("unknown_node", "error", 8), ("missing_field", "error", 9), ("unknown_node", "error", 3)]


@pytest.mark.parametrize(
    ("step", "code", "severity"),
    [
        ('{"id": "a", "type": "llm", "depends": []}', "unknown_field", "error"),
        ('{"id": "a", "type": "llm", "inputMapping": []}', "wrong_type", "error"),
        ('{"id": "a", "type": "llm", "inputMapping": {"x": {}}}', "wrong_type", "error"),
        ('{"id": "a", "type": "llm", "inputMapping": {"input": "input.x"}}', "reserved_variable", "warning"),
        ('{"id": "a", "type": "lllm"}', "unknown_type", "error"),
        ('{"type": "llm"}', "missing_field", "error"),
    ],
)
def test_faults_of_a_sequence(step: str, code: str, severity: str) -> None:
    """Every fault is reported once, on the line of the step."""
    assert _faults(f'{{"id": "x",\n"steps": [\n{step}]}}') == [(code, severity, 3)]
