"""The four dialects: a golden document each, and what is special about them."""

from __future__ import annotations

import copy

import pytest

from courante.compiler.diagnostics import Diagnostic
from courante.compiler.dialects import Dialect, detect
from courante.compiler.dialects.paths import dotted_to_cel, rewrite_templates, with_variables
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source
from courante.compiler.workflow import (
    Cache,
    Edge,
    EdgeKind,
    Join,
    JoinPolicy,
    Json,
    Loop,
    Node,
    Retry,
    Routing,
    Rule,
    Workflow,
)

RELAY = """
name: Research Pipeline
config: {temperature: 0.2}
tasks:
  - id: research
    name: Research
    prompt: "Find {{ input.topic }}"
    model: claude
    provider: anthropic
  - id: write
    name: Write
    prompt: "Use {{ tasks.research.output.summary }}"
    model: gpt
    provider: openai
    depends_on: research
    requires_approval: true
    config:
      max_tokens: 500
      json_output: {type: object}
      retry_policy: {max_attempts: 5, backoff_ms: 2000}
  - id: review
    type: approval
    depends_on: [write]
    config: {expires: 2d}
"""
RELAY_WORKFLOW = Workflow(
    id="research-pipeline",
    name="Research Pipeline",
    nodes=(
        Node(
            id="research",
            type="llm",
            name="Research",
            config={"provider": "anthropic", "model": "claude", "prompt": "Find {{ input.topic }}", "temperature": 0.2},
        ),
        Node(
            id="write",
            type="llm",
            name="Write",
            requires_approval=True,
            retry=Retry(max_attempts=5, base_ms=2_000),
            config={
                "provider": "openai",
                "model": "gpt",
                "prompt": "Use {{ tasks.research.output.summary }}",
                "temperature": 0.2,
                "max_tokens": 500,
                "schema": {"type": "object"},
            },
        ),
        Node(id="review", type="approval", config={"expires": "2d"}),
    ),
    edges=(Edge(source="research", target="write"), Edge(source="write", target="review")),
)

TYPED = """
name: campaign.build.v1
steps:
  - id: brief
    skill: brief.make
    retryPolicy: {maxAttempts: 2, backoffMs: 500}
    cache: {scope: run_only}
  - id: copy-text
    skill: copy.write
    dependencies: [brief]
    inputSelector: {brief: steps.brief.output, size: 3}
    timeoutMs: 1500
  - id: pick
    skill: pick
    dependencies: [copy-text]
    inputSelector: steps.copy-text.output.texts
    cache: global
  - id: send
    skill: send
    dependencies: [pick]
    inputSelector: "callable:pick_best"
    cachePolicy: {enabled: false}
"""
TYPED_WORKFLOW = Workflow(
    id="campaign.build.v1",
    name="campaign.build.v1",
    nodes=(
        Node(
            id="brief",
            type="function",
            config={"handler": "brief.make"},
            retry=Retry(max_attempts=2, base_ms=500),
            cache=Cache(scope="run_only"),
        ),
        Node(
            id="copy-text",
            type="function",
            config={"handler": "copy.write"},
            input={"brief": "steps.brief.output", "size": "3"},
            timeout_ms=1_500,
        ),
        Node(
            id="pick",
            type="function",
            config={"handler": "pick"},
            input='steps["copy-text"].output.texts',
            cache=Cache(),
        ),
        Node(id="send", type="function", config={"handler": "send", "input_selector": "pick_best"}),
    ),
    edges=(
        Edge(source="brief", target="copy-text"),
        Edge(source="copy-text", target="pick"),
        Edge(source="pick", target="send"),
    ),
)

GRAPH = """
name: g
nodes:
  - {id: a, type: function, config: {handler: f, size: 3}}
  - {id: p, type: parallel}
  - {id: b, type: http, config: {url: u}}
  - {id: c, type: transform, config: {expression: input.x}}
  - {id: j, type: aggregate}
  - {id: d, type: conditional, config: {rules: [{condition: output.ok, next: [e]}], default: t}}
  - {id: e, type: function, config: {handler: f}}
  - id: l
    type: loop
    config:
      loop_back_to: e
      condition: {type: cel, expression: output.n < 3}
      max_iterations: 5
      break_path: [z]
      timeout_path: [t]
  - {id: z, type: filter, config: {condition: item > 1}, wait_for_all: true}
  - {id: t, type: function, config: {handler: f}, wait_for_all: false}
edges:
  - {from: a, to: p}
  - {from: p, to: b}
  - {from: p, to: c}
  - {from: b, to: j}
  - {from: c, to: j, condition: output.many}
  - {from: j, to: d}
  - {from: e, to: l}
  - {from: l, to: e}
  - {from: l, to: t}
"""
GRAPH_WORKFLOW = Workflow(
    id="g",
    name="g",
    nodes=(
        Node(id="a", type="function", config={"handler": "f", "size": 3}),
        Node(id="p", type="noop"),
        Node(id="b", type="http", config={"url": "u"}),
        Node(id="c", type="transform", config={"expression": "input.x"}),
        Node(id="j", type="noop", join=Join(policy=JoinPolicy.ALL)),
        Node(
            id="d",
            type="conditional",
            routing=Routing(rules=(Rule(when="output.ok", next=("e",)),), default=("t",)),
        ),
        Node(id="e", type="function", config={"handler": "f"}),
        Node(
            id="l",
            type="noop",
            loop=Loop(condition="output.n < 3", back_to="e", max_iterations=5, on_exhausted=("t",)),
        ),
        Node(id="z", type="filter", config={"items": "input", "where": "item > 1"}, join=Join(policy=JoinPolicy.ALL)),
        Node(id="t", type="function", config={"handler": "f"}, join=Join(policy=JoinPolicy.ANY)),
    ),
    edges=(
        Edge(source="d", target="e"),
        Edge(source="d", target="t"),
        Edge(source="a", target="p"),
        Edge(source="p", target="b"),
        Edge(source="p", target="c"),
        Edge(source="b", target="j"),
        Edge(source="c", target="j", when="output.many"),
        Edge(source="j", target="d"),
        Edge(source="e", target="l"),
        Edge(source="l", target="z"),
        Edge(source="l", target="t", kind=EdgeKind.EXHAUSTED),
    ),
)

SEQUENCE = """
{"id": "feed-discovery", "name": "Feed discovery", "steps": [
  {"id": "ask", "name": "Ask", "type": "llm", "model": "gpt-4o-mini", "promptSystem": "You help with {{topic}}.",
   "promptUser": "Generate {{input.query}}, {{ query.text }}, {{size(topic)}}", "outputSchema": {"type": "object"},
   "temperature": 0.3, "maxTokens": 4096, "inputMapping": {"query": "input.query", "topic": "input.a + input.b"}},
  {"id": "web-search", "name": "Search", "type": "tool", "toolName": "web_search",
   "inputMapping": {"query": "steps.ask.output.query", "limit": "input.limit", "safe": true}},
  {"id": "shape", "type": "transform", "inputMapping": {"data": "steps.web-search.output.items.0"}}
]}
"""
SEQUENCE_WORKFLOW = Workflow(
    id="feed-discovery",
    name="Feed discovery",
    nodes=(
        Node(
            id="ask",
            type="llm",
            name="Ask",
            config={
                "model": "gpt-4o-mini",
                "system": "You help with {{ input.a + input.b }}.",
                "prompt": "Generate {{ input.query }}, {{ input.query.text }}, {{ size((input.a + input.b)) }}",
                "schema": {"type": "object"},
                "temperature": 0.3,
                "max_tokens": 4096,
            },
            input={"query": "input.query", "topic": "input.a + input.b"},
        ),
        Node(
            id="web-search",
            type="tool",
            name="Search",
            config={"tool": "web_search"},
            input={"query": "steps.ask.output.query", "limit": "input.limit", "safe": "true"},
        ),
        Node(id="shape", type="transform", input={"data": 'steps["web-search"].output.items[0]'}),
    ),
    edges=(Edge(source="ask", target="web-search"), Edge(source="web-search", target="shape")),
)

GOLDEN = {
    Dialect.RELAY: (RELAY, RELAY_WORKFLOW),
    Dialect.TYPED_STEPS: (TYPED, TYPED_WORKFLOW),
    Dialect.GRAPH: (GRAPH, GRAPH_WORKFLOW),
    Dialect.SEQUENCE: (SEQUENCE, SEQUENCE_WORKFLOW),
}


def _faults(text: str) -> list[tuple[str, str, int]]:
    """Code, severity and line of every finding."""
    source = load_source(text)
    found: list[Diagnostic] = source.locate(read_document(source.value).diagnostics)
    return [(each.code, each.severity.value, each.line) for each in found]


@pytest.mark.parametrize("dialect", GOLDEN)
def test_each_dialect_gives_its_golden_workflow(dialect: Dialect) -> None:
    """One document per dialect, read field by field; the document itself is not changed."""
    text, workflow = GOLDEN[dialect]
    value = load_source(text).value
    before = copy.deepcopy(value)
    read = read_document(value)
    assert read.diagnostics == []
    assert read.dialect is dialect
    assert read.workflow == workflow
    assert value == before


@pytest.mark.parametrize(
    ("value", "dialect"),
    [
        ({"courante": 1, "tasks": []}, Dialect.NATIVE),
        ({"tasks": []}, Dialect.RELAY),
        ({"nodes": [], "edges": []}, Dialect.GRAPH),
        ({"nodes": [{"type": "loop"}]}, Dialect.GRAPH),
        ({"nodes": [{"type": ["loop"]}]}, Dialect.NATIVE),
        ({"steps": [{"id": "a"}, {"skill": "x"}]}, Dialect.TYPED_STEPS),
        ({"steps": [{"id": "a"}], "dependencies": {}}, Dialect.TYPED_STEPS),
        ({"steps": [{"id": "a", "type": "llm"}]}, Dialect.SEQUENCE),
        ({"steps": None}, Dialect.SEQUENCE),
        ({"name": "x"}, None),
        ([], None),
        (None, None),
    ],
)
def test_the_dialect_is_told_by_the_fields(value: Json, dialect: Dialect | None) -> None:
    """``courante`` comes first, then what only one dialect has."""
    assert detect(value) is dialect


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
    assert [(edge.source, edge.target) for edge in read.workflow.edges] == [("b", "c"), ("a", "b"), ("c", "d"), ("c", "e")]  # fmt: skip


@pytest.mark.parametrize(
    ("node", "code", "severity"),
    [
        ("{id: a, type: loop, config: {max_iterations: 3}}", "missing_field", "error"),
        ("{id: a, type: loop, config: {loop_back_to: a}}", "missing_field", "error"),
        ("{id: a, type: loop, config: {loop_back_to: b, max_iterations: 3}}", "unknown_node", "error"),
        ("{id: a, type: loop, config: {loop_back_to: a, max_iterations: 3, brake_path: [a]}}", "unknown_field", "error"),
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


@pytest.mark.parametrize(
    ("source", "cel"),
    [
        ("input.query", "input.query"),
        ("steps.feed-discovery.output.items.0.name", 'steps["feed-discovery"].output.items[0].name'),
        ("steps.a.output - 1", "steps.a.output - 1"),
        ("a", "a"),
        (" outputs.x ", "outputs.x"),
    ],
)
def test_dotted_paths_become_cel(source: str, cel: str) -> None:
    """Only plain dotted paths are rewritten."""
    assert dotted_to_cel(source) == cel


@pytest.mark.parametrize(
    ("source", "cel"),
    [
        ("q", "input.q"),
        ("q.text", "input.q.text"),
        ("input.q", "input.q"),
        ("x.q", "x.q"),
        ("'q' + q", "'q' + input.q"),
        ("s * 2", "(a + b) * 2"),
        ("s", "a + b"),
        ("quest", "quest"),
        ("my-var", "input.x"),
    ],
)
def test_variables_are_put_in_place(source: str, cel: str) -> None:
    """Names in strings and after a dot are no variables."""
    assert with_variables(source, {"q": "input.q", "s": "a + b", "my-var": "input.x"}) == cel


def test_templates_are_rewritten_at_every_depth_of_a_value() -> None:
    """Strings in lists and objects are templates; braces in strings of an expression do not end it."""
    value = {"a": ["{{x}} {{ {'k': '}}'} }}", 1], "b": "open {{ x"}
    assert rewrite_templates(value, str.upper) == {"a": ["{{ X }} {{ {'K': '}}'} }}", 1], "b": "open {{ x"}
