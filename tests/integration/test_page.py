"""The web page in a real browser, over real servers: what a person does there happens, and what happens is seen."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from playwright.async_api import Browser

from courante import Context
from courante.sdk.stores.runs import list_runs, list_steps
from integration.browser import look, needs_chromium
from integration.stage import Stage, until

pytestmark = [pytest.mark.anyio, needs_chromium]


EVIL = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string"},
        "count": {"type": "integer", "default": 2},
        "fast": {"type": "boolean"},
        "notes": {"type": "array", "items": {"type": ["string", "null"]}},
    },
}


def step(id: str, handler: str, *after: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "type": "function", "config": {"handler": handler}, "depends_on": list(after), **fields}


async def newest(stage: Stage, count: int) -> str:
    """The newest run, when there are so many."""

    async def ids() -> list[str]:
        async with stage.client.pool.acquire() as conn:
            return [run.run_id for run in (await list_runs(conn, stage.place.env, limit=100)).runs]

    return (await until(ids, lambda found: len(found) == count))[0]


async def test_a_run_from_its_form_to_its_end(stage: Stage, browser: Browser) -> None:
    """Started by a form that the schema makes, it turns green without a reload, waits for a person, and goes on."""
    gate = anyio.Event()

    async def slow(context: Context) -> str:
        context.log("thinking")
        context.step_log.partial(f"so far {EVIL} ")
        await gate.wait()
        return EVIL

    stage.worker({"slow": slow})
    stage.supervisor()
    await stage.register(
        {"id": "a", "type": "noop"},
        step("slow", "slow", "a"),
        {"id": "ask", "type": "approval", "depends_on": ["slow"], "config": {"form": SCHEMA}},
        {"id": "z", "type": "noop", "depends_on": ["ask"]},
        input=SCHEMA,
    )
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open("/start/w")
        await page.get_by_label("name").fill("tea")
        assert await page.get_by_label("count").input_value() == "2"
        await page.get_by_role("button", name="add to notes").click()
        await page.get_by_label("notes 1", exact=True).fill("hot")
        await looking.is_accessible()
        await page.get_by_role("button", name="Start", exact=True).click()
        await looking.node_is("a", "SUCCEEDED")
        await looking.node_is("slow", "RUNNING")
        await page.locator('.node[data-node="slow"]').click()
        said = page.get_by_role("log")
        await said.get_by_text("thinking").wait_for()
        await said.get_by_text(f"so far {EVIL}").wait_for()
        await looking.is_accessible()
        await looking.shot("running")
        gate.set()
        await looking.node_is("slow", "SUCCEEDED")
        await looking.node_is("ask", "WAITING")
        await page.get_by_label("decisions").get_by_text(EVIL, exact=True).wait_for()  # what is decided about
        await looking.is_accessible()
        await looking.shot("waiting")
        await page.get_by_label("name").fill("yes")
        await page.get_by_role("button", name="Approve").click()
        await looking.node_is("z", "SUCCEEDED")
        await page.wait_for_selector(".head .s-COMPLETED")
        result = await stage.result(await newest(stage, 1))
        assert result.output["z"]["data"] == {"name": "yes", "count": 2}
        await page.get_by_role("complementary").get_by_role("heading", name="Output").wait_for()
        await page.get_by_role("complementary").get_by_text(EVIL, exact=True).wait_for()
        assert "Courante" in await page.title()
        await looking.shot("completed")
        await page.get_by_role("tab", name="Input and output").click()
        panel = page.get_by_role("tabpanel")
        await panel.get_by_text("tea").wait_for()
        await panel.get_by_text("hot").wait_for()


async def test_a_failure_is_seen_and_done_again(stage: Stage, browser: Browser) -> None:
    """The traceback of the step that failed; retried, the new run is shown, and ends well."""
    broken = [True]

    def work() -> str:
        if broken[0]:
            raise ValueError(EVIL)
        return "good"

    stage.worker({"work": work})
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"}, step("b", "work", "a", retry={"max_attempts": 1}))
    run_id = await stage.client.submit("w", 1)
    await stage.result(run_id)
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open(f"/runs/{run_id}")
        await looking.node_is("b", "FAILED")
        await page.locator('.node[data-node="b"]').press("Enter")
        side = page.get_by_role("complementary")
        await side.get_by_text("raise ValueError(EVIL)").wait_for()
        await looking.is_accessible()
        await looking.shot("failed")
        broken[0] = False
        await page.get_by_role("button", name="Retry…").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_text("b (failed)").wait_for()
        await dialog.get_by_role("button", name="Retry").click()
        await page.wait_for_function("run => !location.hash.includes(run)", arg=run_id)
        await page.wait_for_selector(".head .s-COMPLETED")
        await looking.node_is("a", "SKIPPED")
        await looking.node_is("b", "SUCCEEDED")
        assert "Courante" in await page.title()
        again = await newest(stage, 2)
        await page.locator('.node[data-node="b"]').press("Enter")
        await side.get_by_role("button", name="Rerun from here").click()
        await dialog.get_by_text("Executed: b").wait_for()
        await looking.is_accessible()
        await looking.shot("rerun")
        await page.keyboard.press("Escape")
        await dialog.wait_for(state="detached")
        await side.wait_for()
        await side.get_by_role("button", name="Rerun from here").click()
        await dialog.get_by_role("button", name="Rerun from b").click()
        await page.wait_for_function("run => !location.hash.includes(run)", arg=again)
        await looking.node_is("b", "SUCCEEDED")
        await page.get_by_text("rerun of").wait_for()
        await page.locator('.node[data-node="b"]').press("Enter")
        await side.wait_for()
        await page.keyboard.press("Escape")
        await side.wait_for(state="detached")
        await looking.open("/dead-letters")
        await page.get_by_text("None: no step").wait_for()


async def test_the_slider_takes_the_page_back(stage: Stage, browser: Browser) -> None:
    """To any event, and to now again; the keyboard does it too."""
    stage.worker()
    stage.supervisor()
    await stage.register({"id": "a", "type": "noop"}, {"id": "b", "type": "noop", "depends_on": ["a"]})
    run_id = await stage.client.submit("w", 1)
    await stage.result(run_id)
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open(f"/runs/{run_id}")
        await looking.node_is("b", "SUCCEEDED")
        await page.get_by_text("4 of 4").wait_for()
        await page.locator("#slider").focus()
        for node, status in (("b", "SUCCEEDED"), ("b", "PENDING"), ("a", "PENDING")):
            await page.keyboard.press("ArrowLeft")
            await looking.node_is(node, status)
        await page.get_by_text("as it was after event 1").wait_for()
        await looking.shot("back")
        await page.reload()
        await looking.node_is("a", "PENDING")
        await page.get_by_role("tab", name="Input and output").click()
        await page.get_by_text("none yet").wait_for()
        await page.get_by_label("one event on").click()
        await page.locator("td details summary").click()
        await page.locator("td details").get_by_text("1", exact=True).wait_for()
        assert await page.get_by_text("not yet").count() == 1
        await page.get_by_role("tab", name="Graph").click()
        await page.get_by_role("button", name="now").click()
        await looking.node_is("a", "SUCCEEDED")
        await page.get_by_role("tab", name="Events").click()
        async with page.expect_download() as downloading:
            await page.get_by_role("link", name="Audit bundle").click()
        assert (await downloading.value).suggested_filename == f"{run_id}.jsonl"
        await page.get_by_role("tab", name="Graph").click()
        for name in ("Timeline", "Steps", "Events", "Input and output"):
            await page.keyboard.press("ArrowRight")
            await page.wait_for_selector(f'[role="tab"][aria-selected="true"]:has-text("{name}")')
            await looking.is_accessible()
            await looking.shot(name.lower())


READING = """async path => {
    const { stateAt } = await import('/web/history.js');
    const run = await (await fetch(path)).json();
    const { events } = await (await fetch(path + '/events?limit=1000')).json();
    const told = (steps) => steps.map((one) => `${one.id} ${one.scope} ${one.status}`).sort();
    const state = stateAt(events, events.length, run.nodes);
    return [told(state.steps), told(run.steps), state.status, run.status];
}"""


async def test_the_page_reads_the_log_as_the_engine_does(stage: Stage, browser: Browser) -> None:
    """What the slider shows at the last event is what the API says of the run."""

    def work(item: int) -> int:
        if item == 3:
            raise ValueError(item)
        return item

    stage.worker({"work": work})
    stage.supervisor()
    once = {"max_attempts": 2, "base": "1ms"}
    await stage.register(
        {"id": "m", "type": "map"},
        step("each", "work", "m", retry=once),
        {"id": "all", "type": "aggregate", "depends_on": "each", "config": {"policy": "collect"}},
        {"id": "odd", "type": "noop", "depends_on": ["all"], "when": "size(input) > 9"},
        {"id": "wait", "type": "wait", "depends_on": ["all"], "config": {"for": "1ms"}},
        {"id": "ask", "type": "approval", "depends_on": ["wait"]},
    )
    run_id = await stage.client.submit("w", [1, 2, 3])
    asking = ("ask", "WAITING")
    await until(lambda: statuses(stage, run_id), lambda found: asking in found)
    async with look(stage, browser) as looking:
        await looking.open("/health")
        own, told, status, known = await looking.page.evaluate(READING, f"/v1/runs/{run_id}")
        assert (own, status) == (told, known)
        assert status == "WAITING"
        await stage.client.reject(run_id)
        await stage.result(run_id)
        own, told, status, known = await looking.page.evaluate(READING, f"/v1/runs/{run_id}")
        assert (own, status) == (told, known)
        assert {line.split()[-1] for line in told} == {"SUCCEEDED", "FAILED", "SKIPPED"}


async def statuses(stage: Stage, run_id: str) -> list[tuple[str, str]]:
    async with stage.client.pool.acquire() as conn:
        return [(row.node, str(row.status)) for row in await list_steps(conn, run_id)]


async def test_the_editor_says_what_is_wrong(stage: Stage, browser: Browser) -> None:
    """A moment after the last key, with the place; what is sound can be saved and is the next version."""
    await stage.register({"id": "a", "type": "noop"})
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open("/workflows/w")
        await page.get_by_role("tab", name="Document").click()
        editor = page.locator("#document")
        await editor.fill("courante: 1\nid: w\nnodes:\n  - {id: a, type: nop}\n")
        await page.locator(".diagnostics .error").first.wait_for()
        assert await page.get_by_role("button", name="Save as a new version").is_disabled()
        await looking.is_accessible()
        await looking.shot("editor")
        await editor.fill(
            "courante: 1\nid: w\nnodes:\n  - {id: a, type: noop}\n  - {id: b, type: noop, depends_on: [a]}\n"
        )
        await page.get_by_text("2 steps, 1 edge").wait_for()
        await page.get_by_role("button", name="Save as a new version").click()
        await page.get_by_text("2 (latest)").wait_for(state="attached")
        await page.get_by_role("tab", name="Versions").click()
        await page.get_by_text("New steps: b").wait_for()
        await page.locator(".diff .added").get_by_text("depends_on: [a]").wait_for()
        await looking.is_accessible()
        await looking.shot("versions")
        await page.get_by_role("tab", name="Statistics").click()
        await page.get_by_text("It has not run").wait_for()
        await looking.is_accessible()


async def test_a_graph_of_two_thousand_steps(stage: Stage, browser: Browser) -> None:
    """Only what is seen is drawn; a step is found by its name, by the arrow keys, and by a click from afar."""
    nodes = [{"id": f"n{n}", "type": "noop", "depends_on": [f"n{n // 3}"] if n else []} for n in range(2_000)]
    await stage.register(*nodes)
    async with look(stage, browser) as looking:
        page = looking.page
        await looking.open("/workflows/w")
        await page.locator('.node[data-node="n0"]').press("ArrowRight")
        await page.locator('.node[data-node="n1"]:focus, .node[data-node="n2"]:focus').press("Enter")
        await page.wait_for_selector(".node.is-selected", state="attached")
        assert 0 < await page.locator(".node").count() < 300
        assert await page.locator('.node[tabindex="0"]').count() == 1
        await looking.shot("large")
        await page.get_by_label("find a step").fill("n1999")
        await page.get_by_label("find a step").press("Enter")
        await page.wait_for_selector('.node[data-node="n1999"].is-selected')
        await page.get_by_role("button", name="all").click()
        await page.wait_for_selector(".far.s-NONE", state="attached")
        assert await page.locator(".node").count() == 0
        await page.locator(".graph svg").click(position={"x": 2, "y": 200})
        await page.get_by_role("status").get_by_text("n0", exact=True).wait_for()
        await looking.is_accessible()
        await looking.shot("large-whole")
