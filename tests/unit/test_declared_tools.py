"""The file in which an operator declares tools."""

from __future__ import annotations

from pathlib import Path

import pytest

from courante.cli.crew import read_tools
from courante.cli.exits import CliError
from courante.sdk.authoring.declared_tools import NOTHING_DECLARED, DeclaredServer, ToolsFileError, load_tools
from courante.sdk.authoring.steps import Steps
from courante.sdk.authoring.tools import lacking, shown_handler
from courante.sdk.floor.presence import LiveWorker, can_serve, handlers_of
from courante.sdk.settings import Settings
from integration.floor import compile_document

WHOLE = """
http:
  web_search:
    description: Search the web.
    url: "https://search.example/v1"
    headers: {Authorization: "Bearer {{ secret('SEARCH_KEY') }}"}
    schema: {type: object, properties: {q: {type: string}}, required: [q]}
mcp:
  shop:
    command: [shop-server, --stdio]
    env: {SHOP_KEY: "{{ secret('SHOP_KEY') }}"}
  bank: {url: "https://bank.example/mcp"}
"""


def load(text: str, folder: Path) -> str:
    """What is wrong with a file."""
    path = folder / "tools.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ToolsFileError) as caught:
        load_tools(path)
    return str(caught.value).replace(f"{path}:", "")


def test_services_and_servers_are_declared(tmp_path: Path) -> None:
    """And announced: of a server that it has all of its tools."""
    path = tmp_path / "tools.yaml"
    path.write_text(WHOLE, encoding="utf-8")
    tools = load_tools(path)
    search = tools.http["web_search"]
    assert (search.description, search.schema["required"]) == ("Search the web.", ["q"])
    assert search.config["url"] == "https://search.example/v1"
    assert tools.servers["bank"] == DeclaredServer(name="bank", url="https://bank.example/mcp")
    assert tools.servers["shop"].command == ("shop-server", "--stdio")
    assert tools.handlers() == ["tool:web_search", "tool:shop.*", "tool:bank.*"]
    assert load_tools(None) is NOTHING_DECLARED


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http: {a: {method: GET}}", "1:11: the field 'url' is missing in a"),
        ("http: {a: {url: ftp://x}}", "1:17: url can not be 'ftp://x' (a URL begins with https:// or http://)"),
        ("http: {a b: {url: https://x}}", "'a b' is no name of a tool"),
        ("http: {a: {url: 'https://x/{{ input.q }}'}}", "input"),
        ("http: {a: {url: https://x, shema: {}}}", "did you mean 'schema'?"),
        ("http: {a: {url: https://x, schema: {type: objekt}}}", "no JSON Schema"),
        ("mcp: {a: {command: [x], url: https://x}}", "a server has a 'command' that starts it, or the 'url'"),
        ("mcp: {a: {}}", "a server has a 'command' that starts it, or the 'url'"),
        ("mcp: {a: {command: []}}", "the command is empty"),
        ("mcp: {a: {command: shop-server}}", "command must be a list, not a string"),
        ("mcp: {a: {command: [x], env: {K: '{{ arguments.q }}'}}}", "arguments"),
        ("mcp: {a: {url: https://x, env: {K: v}}}", "'env' belongs to a 'command'"),
        ("mcp: {a.b: {command: [x]}}", "'a.b' is no name of an MCP server"),
        ("{http: {shop.x: {url: https://x}}, mcp: {shop: {command: [x]}}}", "'shop.x' is a tool of the MCP server"),
        ("tools: {}", "unknown field 'tools'"),
        ("mcp: [", "expected"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, said: str, tmp_path: Path) -> None:
    """Line and column, as for workflows."""
    assert said in load(text, tmp_path)


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """The operator has named it."""
    with pytest.raises(ToolsFileError, match="the file cannot be read: No such file"):
        load_tools(tmp_path / "nothing.yaml")


def test_a_server_stands_for_all_of_its_tools() -> None:
    """Which ones it has is known when it is first asked."""
    assert lacking(["tool:shop.stock", "tool:x", "shop.pack"], ["tool:shop.*", "tool:x"]) == {"shop.pack"}
    assert lacking(["tool:shop.stock"], ["shop.*", "tool:shop"]) == {"tool:shop.stock"}


def test_a_workflow_wants_the_tools_that_it_names() -> None:
    """Of nodes and of agents, but for a name that a template gives; a worker serves it that has all of them."""
    agent = {"provider": "echo", "prompt": "p", "tools": ["shop.stock", "look"]}
    nodes = [
        {"id": "a", "type": "tool", "config": {"tool": "look"}},
        {"id": "b", "type": "tool", "config": {"tool": "{{ input.tool }}"}},
        {"id": "c", "type": "agent", "config": agent},
    ]
    _, ir = compile_document({"courante": 1, "id": "w", "nodes": nodes})
    assert handlers_of(ir) == {"tool:look": "a", "tool:shop.stock": "c"}
    assert list(map(shown_handler, handlers_of(ir))) == ["tool 'look'", "tool 'shop.stock'"]

    def serves(*handlers: str) -> bool:
        queues = frozenset({"default", "system"})
        return can_serve([LiveWorker(name="w", pid=1, handlers=frozenset(handlers), queues=queues)], ir)

    assert serves("tool:look", "tool:shop.*")
    assert not serves("look", "tool:shop.*")


def looked(q: str) -> str:
    return q


@pytest.mark.parametrize("name", ["look", "shop.stock"])
def test_a_tool_in_python_of_the_same_name_is_told_before_anything_begins(tmp_path: Path, name: str) -> None:
    """By commands, as what is wrong with the file itself is."""
    path = tmp_path / "tools.yaml"
    path.write_text("http: {look: {url: 'http://a.example/'}}\nmcp: {shop: {command: [shop]}}\n")
    steps = Steps()
    assert read_tools(Settings(home=tmp_path, tools=str(path)), steps).handlers()
    steps.tools.add(looked, name)
    with pytest.raises(CliError, match=f"tools cannot be used: two tools are named '{name}'") as raised:
        read_tools(Settings(home=tmp_path, tools=str(path)), steps)
    assert raised.value.code == "tools_unusable"
