"""The functions that the samples call."""

from __future__ import annotations

from typing import Any

from courante.sdk.authoring.steps import step, tool


@step("campaign.brief")
def brief(given: dict[str, str]) -> dict[str, object]:
    return {"product": given["product"], "price": 14}


@step("campaign.headline")
def headline(given: dict[str, Any]) -> str:
    return f"{given['product'].upper()}!"


@step("campaign.price_tag")
async def price_tag(price: int) -> str:
    return f"{price} EUR"


@step("campaign.parts")
def parts(seen: dict[str, Any]) -> list[str]:
    """Selects the input of the step that assembles."""
    return [seen["outputs"]["headline"], seen["outputs"]["price-tag"]]


@step("campaign.assemble")
def assemble(words: list[str]) -> str:
    return " for ".join(words)


@step("lead.validate")
def validate(lead: dict[str, str]) -> dict[str, object]:
    return {"email": lead["email"], "score": 0}


@step("cas://sha256:lead.enrich")
def enrich(lead: dict[str, Any]) -> dict[str, Any]:
    return {**lead, "score": lead["score"] + 15}


@step("campaign.build")
def build(given: dict[str, Any]) -> str:
    places = " and ".join(given["audience"]["places"])
    return f"{given['slogan']}: {given['price']}, in {places}, from {given['audience']['age']}"


@tool("web_search")
def web_search(query: str, limit: int = 3) -> dict[str, list[str]]:
    """Find feeds. A real one would ask a search engine."""
    return {"items": [f"https://feeds.example/{number}" for number in range(limit)] if query else []}


@tool("stock.find")
def find(kind: str) -> list[str]:
    """Name the teas of a kind."""
    return {"green": ["sencha", "gyokuro"], "black": ["assam"]}[kind]


@tool("stock.price")
def price(name: str) -> float:
    """Say what a tea costs, in EUR."""
    return {"sencha": 4.5, "assam": 3.5}[name]
