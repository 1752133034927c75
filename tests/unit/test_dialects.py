"""The four dialects: a golden document each, and what is special about them."""

from __future__ import annotations

import copy

import pytest

from courante.compiler.analysis import compile_document
from courante.compiler.dialects import Dialect, detect
from courante.compiler.dialects.paths import dotted_to_cel, rewrite_templates, with_variables
from courante.compiler.normalize import read_document
from courante.compiler.source import load_source
from courante.compiler.workflow import (
    Approval,
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
            approval=Approval(),
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
        Node(id="review", type="approval", approval=Approval(expires_ms=172_800_000)),
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
  - {id: b, type: http, config: {url: "https://u"}}
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
        Node(id="b", type="http", config={"url": "https://u"}),
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
        Node(id="z", type="filter", config={"where": "item > 1"}, join=Join(policy=JoinPolicy.ALL)),
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


@pytest.mark.parametrize("prompt", ["hello {{ 'x", "{{ 1 }} and {{ (] }}", "{{ 'x }}"])
def test_a_template_that_is_none_is_told(prompt: str) -> None:
    """At its place, as in the native form; the parts before it are rewritten all the same."""
    task = {"id": "a", "name": "A", "prompt": prompt, "model": "m", "provider": "openai"}
    ir, found = compile_document(read_document({"name": "n", "tasks": [task]}))
    assert ir is None
    assert {each.path for each in found if each.code == "expression_syntax"} == {("tasks", 0, "prompt")}
