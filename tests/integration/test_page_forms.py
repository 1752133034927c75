"""Forms that the page makes of a JSON Schema: what is sent is what was typed, as it was typed, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.async_api import Browser, Request

from integration.browser import Looking, look, needs_chromium
from integration.cases import node
from integration.stage import Stage

pytestmark = [pytest.mark.anyio, needs_chromium]

SCHEMA = {
    "type": "object",
    "required": ["sure", "names", "pay"],
    "additionalProperties": False,
    "properties": {
        "sure": {"type": "boolean"},
        "names": {"type": "array", "items": {"type": "string"}},
        "pay": {
            "oneOf": [
                {
                    "title": "card",
                    "type": "object",
                    "required": ["number"],
                    "properties": {"number": {"type": "string"}},
                },
                {"title": "cash", "type": "object", "required": ["sum"], "properties": {"sum": {"type": "integer"}}},
            ]
        },
        "address": {
            "type": "object",
            "required": ["street"],
            "properties": {"street": {"type": "string"}, "land": {"type": "string", "default": "NZ"}},
        },
        "size": {"oneOf": [{"const": 1, "title": "small"}, {"const": [2, 3], "title": "large"}]},
        "exact": {"type": "integer"},
        "count": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        "id": {"enum": [2**60 + 1, 2**60 + 2]},
        "any": {},
        "short": {"type": "string", "maxLength": 3, "pattern": "[a-c-]"},
        "both": {"allOf": [{"type": "object", "properties": {"one": {"type": "string"}}}, {"required": ["one"]}]},
    },
}


def sent(looking: Looking) -> list[dict[str, Any]]:
    """The bodies of what the page asks the server to do, as they come."""
    bodies: list[dict[str, Any]] = []

    def hear(request: Request) -> None:
        if request.method == "POST" and request.post_data:
            bodies.append(json.loads(request.post_data))

    looking.page.on("request", hear)
    return bodies


def without(looking: Looking, status: str) -> None:
    """What the console says of answers with this status was expected."""
    looking.said[:] = [text for text in looking.said if status not in text]


async def test_what_is_typed_is_what_is_sent(stage: Stage, browser: Browser) -> None:
    """Optional objects that nobody has filled in are left out, choices are made, whole numbers keep their digits."""
    await stage.register(node("a"), input=SCHEMA)
    async with look(stage, browser) as looking:
        page, bodies = looking.page, sent(looking)
        await looking.open("/start/w")
        await page.get_by_label("kind of pay").select_option(label="card")
        await page.get_by_label("number").fill("0042")
        await page.get_by_label("street").fill("x")
        await page.get_by_label("street").fill("")
        await page.get_by_label("exact").fill("12345678901234567890")
        await page.get_by_label("any").fill('{"big": [9007199254740993]}')
        await page.get_by_label("size").select_option(label="large")
        await page.get_by_label("count").fill("7")
        await page.get_by_label("id", exact=True).select_option(label=str(2**60 + 2))
        await looking.is_accessible()
        await looking.shot("form")
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/#/runs/*")
        exact = {"exact": 12345678901234567890, "any": {"big": [9007199254740993]}, "id": 2**60 + 2}
        rest = {"sure": False, "names": [], "pay": {"number": "0042"}, "size": [2, 3], "count": 7}
        assert bodies[-1]["input"] == exact | rest


async def test_what_cannot_be_read_is_not_sent(stage: Stage, browser: Browser) -> None:
    """A text that is no JSON stays where it is, and nothing is sent for it; what the server refuses is all said."""
    await stage.register(node("a"), input=SCHEMA)
    async with look(stage, browser) as looking:
        page, bodies = looking.page, sent(looking)
        await looking.open("/start/w")
        await page.get_by_label("any").fill('{"a": 1')
        start = page.get_by_role("button", name="Start", exact=True)
        await start.click()
        await page.get_by_text("what stands in 'any' cannot be read").wait_for()
        assert not bodies
        await page.get_by_label("any").fill("1")
        await page.get_by_label("one (required)").fill("1")
        await page.get_by_label("short").fill("longer")
        await start.click()
        said = page.locator(".doing [role=alert]")
        await said.get_by_text('"pay" is a required property').last.wait_for()
        await said.get_by_text("longer than 3 characters").last.wait_for()
        assert len(bodies) == 1
        without(looking, "422")


async def test_items_keep_what_was_typed_into_them(stage: Stage, browser: Browser) -> None:
    """Of several items whose text is JSON, taking one away leaves the texts of the others with their values."""
    item: dict[str, Any] = {"type": "object", "required": ["n"], "properties": {"n": {}}}
    await stage.register(node("a"), input={"type": "object", "properties": {"list": {"type": "array", "items": item}}})
    async with look(stage, browser) as looking:
        page, bodies = looking.page, sent(looking)
        await looking.open("/start/w")
        for number in range(3):
            await page.get_by_role("button", name="add to list").click()
            await page.get_by_label("n (required)").nth(number).fill(str(number))
        await page.get_by_role("button", name="take list 1 away").click()
        assert await page.get_by_label("n (required)").first.input_value() == "1"
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/#/runs/*")
        assert bodies[-1]["input"] == {"list": [{"n": 1}, {"n": 2}]}


async def test_each_of_several_forms_has_labels_of_its_own(stage: Stage, browser: Browser) -> None:
    """Where several decisions wait for the same form, a label leads to the field beside it."""
    stage.worker()
    stage.supervisor()
    form = {"type": "object", "properties": {"grade": {"type": "string"}}}
    await stage.register({"id": "ask", "type": "approval", "config": {"form": form}})
    for _ in range(2):
        await stage.client.submit("w")
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open("/actions")
        fields = page.get_by_label("grade")
        await fields.nth(1).wait_for()
        await page.get_by_text("grade").nth(1).click()
        await page.keyboard.type("good")
        assert [await fields.nth(number).input_value() for number in range(2)] == ["", "good"]
        ids: list[str] = await page.evaluate("[...document.querySelectorAll('[id]')].map(({ id }) => id)")
        assert len(ids) == len(set(ids))
        await looking.is_accessible()
