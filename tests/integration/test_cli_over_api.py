"""Commands over an API do and say what they do and say beside the servers."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from command_line import Said
from courante.api.app import build_app
from courante.api.backend import open_backend
from courante.sdk.access.scopes import Scope
from integration.cases import node, waits
from integration.cli_process import CliProcess, open_cli, steady
from integration.flaky import Flaky
from integration.gated import gate_of, make_key, served
from integration.http_calls import settings_of
from integration.journal import step
from integration.stage import Stage, until

pytestmark = pytest.mark.anyio
NAMES = ("alpha", "omega")


class Sides(NamedTuple):
    """``here``: beside the servers. ``there``: over an API. ``found``: what they did not say alike."""

    here: CliProcess
    there: CliProcess
    found: list[str]

    async def same(self, *argv: str, code: int = 0) -> None:
        """Both say the same, for people and for programs. ``SIDE``, ``$0``: what each has of its own."""
        for form in ([], ["--json"]):
            await self._compare([*argv, *form], code)

    async def once(self, *argv: str, code: int = 0) -> None:
        """As ``same``, of what can be asked for but once."""
        await self._compare([*argv, "--json"], code)

    async def _compare(self, argv: list[str], code: int) -> None:
        told = [await side.ask(*argv) for side in (self.here, self.there)]
        one, other = map(_steady, told)
        if argv[-1] == "--json" and told[1].out and told[1].json.get("by") == "ann":
            self.found.append(f"{' '.join(argv)}: by ann, and the log names the key too")
        if one != other or one.code != code:
            self.found.append(f"{' '.join(argv)}: wanted {code}\n  here  {one}\n  there {other}")


def _steady(said: Said) -> Said:
    """Without the names of the sides, and without that of the key, which comes before that of the actor."""
    out, err = said.out, said.err
    for name, word in ((NAMES[0], "SIDE"), (NAMES[1], "SIDE"), ("ci: ", "")):
        out, err = out.replace(name, word), err.replace(name, word)
    return Said(said.code, steady(out), steady(err))


@asynccontextmanager
async def both(stage: Stage, folder: Path, *scopes: str) -> AsyncGenerator[Sides]:
    place, key = stage.place, await make_key(stage, *scopes)
    beside = {
        "COURANTE_REDIS_URL": place.redis_url,
        "COURANTE_DATABASE_URL": place.database_url,
        "COURANTE_ENV": place.env,
    }
    async with (
        open_backend(stage.client, settings_of(place), place.redis_url) as backend,
        served(gate_of(stage.client, build_app(backend))) as port,
    ):
        over = {"COURANTE_API_URL": f"http://127.0.0.1:{port}", "COURANTE_API_KEY": key}
        with open_cli(NAMES[0], folder, beside) as here, open_cli(NAMES[1], folder, over) as there:
            sides = Sides(here, there, [])
            yield sides
            assert not sides.found, "\n".join(sides.found)


async def parked(stage: Stage, workflow: str) -> str:
    run_id = await stage.client.submit(workflow)
    await until(lambda: stage.types(run_id), lambda types: "step.waiting" in types)
    return run_id


async def test_what_is_asked_of_runs(stage: Stage, tmp_path: Path) -> None:
    """Commands, moves to another version, and runs that go on anew, one or many, with what is refused."""
    stage.worker(Flaky(0).steps())
    stage.supervisor()
    await stage.register(step("a", "bad", max_retries=0), node("b", "a"), id="bad")
    await stage.register(node("a"), node("b", "a"), id="good", changes={"news": ["b"]})
    for side in NAMES:
        await stage.register(waits("s", name="go"), node("t", "s"), id=f"w-{side}")
        await stage.register(waits("s", name="go"), node("t", "s"), waits("u", "t", name="on"), id=f"m-{side}")
    runs = {
        side: [await parked(stage, f"{kind}-{side}") for kind in "wwwm"]
        + [(await stage.run("bad")).run_id, (await stage.run("good")).run_id, (await stage.run("bad", 2)).run_id]
        for side in NAMES
    }
    for side in NAMES:
        await stage.register(waits("s", name="go"), node("t", "s"), id=f"m-{side}")
    async with both(stage, tmp_path) as sides:
        for process in (sides.here, sides.there):
            process.runs = runs[process.name]
        same, once = sides.same, sides.once
        await once("pause", "$0", "--reason", "why", "--by", "ann")
        await once("resume", "$0")
        again = await sides.there.ask("resume", "$0", "--by", "ann", "--json")
        assert again.json["by"] == "ci: ann", "as the log has it"
        await same("signal", "$0", "payd", code=1)
        await once("signal", "$0", "go", "--data", '{"n": 1}')
        await once("force", "$1", "s", "succeed", "--data", "1", "--by", "ann")
        await once("force", "$1", "x", "skip", code=3)
        await once("cancel", "$2", "--step", "s", "--reason", "no")
        await once("cancel", "$2")
        await once("cancel", "run_none", code=3)
        await once("budget", "$3", "--add-tokens", "5", code=1)
        await once("complete", "no-token", code=1)
        await once("fail", "no-token", "--reason", "x", code=1)
        await same("migrate-run", "$3", "--to", "latest", "--dry-run")
        await once("migrate-run", "$3", "--to", "1", "--by", "ann")
        await once("migrate-run", "$3", "--to", "2")
        await once("migrate-run", "$3", "--to", "9", code=3)
        await once("pause", "--workflow", "w-SIDE", "--by", "ann", "--reason", "x")
        await once("pause", "--queue", "q-SIDE", "--by", "ann")
        await same("pause", "--list")
        await once("resume", "--workflow", "w-SIDE", "--by", "ann")
        await once("resume", "--queue", "q-SIDE", "--by", "ann")
        await once("pause", "--queue", "system", code=1)
        await once("pause", "--queue", "q/SIDE")
        await once("resume", "--queue", "q/SIDE")
        await once("cancel", "$3", "--step", "a/b", code=3)
        await same("retry", "$4", "--dry-run")
        await once("retry", "$4", "--by", "ann")
        await same("retry", "$5", code=1)
        await once("retry", "$4", "--version", "x", code=1)
        await once("rerun", "$5", "--from", "b", "--input", "n=1", "--by", "ann")
        await once("rerun", "$5", "--from", "c", code=3)
        await same("rebuild", "$5", "--change", "news", "--dry-run")
        await once("rebuild", "$5", "--change", "new", code=1)
        await once("fork", "$5", "--at", "2", "--override", "a=1", "--by", "ann")
        await once("fork", "$5", "--at", "99", code=1)
        await once("retry", "--workflow", "bad", "--dry-run")
        await once("rerun", "--workflow", "good", "--status", "COMPLETED", "--from", "x", "--limit", "1", code=1)
        await once("rebuild", "--workflow", "good", "--change", "news", "--input", "n=2", "--tag", "none")
        await once("rebuild", "--workflow", "good", "--change", "new", "--limit", "1", code=1)
        await once("rebuild", "--workflow", "good", "--status", "FAILED", "--change", "news", code=1)
        await once("fork", "--workflow", "good", "--at", "2", "--override", "a=7", "--limit", "1", "--dry-run")
        await once("fork", "--status", "FAILED", "--at", "99", "--limit", "1", code=1)
        await what_failed_and_what_is_forgotten(sides)


async def what_failed_and_what_is_forgotten(sides: Sides) -> None:
    """``$3`` goes on, ``$5`` is completed, ``$6`` has failed."""
    same, once = sides.same, sides.once
    await same("dlq", "list", "--workflow", "bad", "--all")
    await same("dlq", "show", "$6")
    await same("dlq", "show", "$5", code=3)
    await once("dlq", "requeue", "$6", "$5", "--dry-run", code=1)
    await once("dlq", "drop", "$6/a", "--reason", "known", "--by", "ann")
    await once("dlq", "drop", "--workflow", "bad", "--dry-run")
    await same("forget", "$5", "$6", "--dry-run", "--by", "ann")
    await once("forget", "$5", "--before", "1h", code=64)
    await once("forget", "$5", code=64)
    await once("forget", "$5", "$3", "--yes", code=1)
    await once("forget", "run_none", "--yes", code=3)
    await once("forget", "$5", "$6", "--yes", "--reason", "x", "--by", "ann")
    await once("forget", "$5", "--yes")
    await once("forget", "--workflow", "w-SIDE", "--before", "0s", "--yes")
    await once("forget", "--tag", "none", "--before", "0s")


async def test_what_the_log_says_of_runs(stage: Stage, tmp_path: Path) -> None:
    """Figures, states after any event, and bundles, signed by whoever asks for them."""
    stage.worker()
    stage.supervisor()
    await stage.register(node("a"), node("b", "a"), id="good")
    run_id = (await stage.run("good")).run_id
    (tmp_path / "other.yaml").write_text(
        "courante: 1\nid: good\nnodes: [{id: a, type: noop}, {id: b, type: noop, depends_on: a, when: 'false'}]\n"
    )
    async with both(stage, tmp_path) as sides:
        sides.here.runs = sides.there.runs = [run_id]
        same, once = sides.same, sides.once
        await once("statistics", "--workflow", "good")
        await once("statistics", "--run", "$0", "--since", "1h")
        await once("statistics", "--run", "run_none", code=3)
        await same("replay", "$0", "--at", "2")
        await once("replay", "$0")
        await once("replay", "$0", "--diff", "1", "3")
        await once("replay", "$0", "--at", "99", code=3)
        await once("replay", "run_none", code=3)
        await same("replay", "$0", "--verify")
        await once("replay", "$0", "run_none", "--verify", code=3)
        await same("replay", "$0", "--what-if", "latest")
        await once("replay", "--workflow", "good", "--since", "1h", "--what-if", "1")
        await same("replay", "$0", "--what-if", "other.yaml")
        await once("replay", "$0", "--what-if", "9", code=3)
        await once("replay", "$0", "--what-if", "nine", code=64)
        await once("replay", "--status", "tired", "--what-if", "1", code=64)
        await once("audit", "keygen", "--output", "SIDE.pem")
        export = ("audit", "export", "--output", "SIDE.jsonl", "--sign", "SIDE.pem")
        await once(*export, "--workflow", "good")
        await once("audit", "verify", "SIDE.jsonl", "--key", "SIDE.pem.pub")
        await once(*export, "$0", "--without-payloads", "--by", "ann")
        await once("audit", "verify", "SIDE.jsonl", "--key", "SIDE.pem.pub")
        await once(*export, "run_none", code=3)
        await once(*export, *(f"run_{number:026}" for number in range(1_000)), code=3)
        await once(*export, "--status", "tired", code=64)
        await sides.here.ask("audit", "anchor")  # so that in those of both there is the same: nothing
        await once("audit", "check-anchors", "none.jsonl", code=3)
        for number, sign in enumerate(([], ["--sign", "SIDE.pem"])):
            await once("audit", "anchor", "--output", f"SIDE.{number}", *sign)
            await same("audit", "check-anchors", f"SIDE.{number}")
        await once("audit", "anchor")
        await once("audit", "check-anchors", "SIDE.1", "--chains", "--key", "SIDE.pem.pub")
        await once("audit", "check-anchors", "SIDE.0", "--key", "SIDE.pem.pub", code=1)
        await once("audit", "check-anchors", "SIDE.pem.pub", code=1)
        await once("audit", "verify", "SIDE.jsonl", "--anchors", "SIDE.1", code=1)
        assert (await sides.here.ask("audit", "anchors")) == (await sides.there.ask("audit", "anchors"))


async def test_what_is_kept_beside_runs(stage: Stage, tmp_path: Path) -> None:
    """Schedules, keys, webhooks and cached outputs; and what an API cannot do is refused."""
    await stage.register(node("a"), id="w")
    async with both(stage, tmp_path) as sides:
        same, once = sides.same, sides.once
        create = (
            "schedules",
            "create",
            "s-SIDE",
            "w",
            "--every",
            "1h",
            "--anchor",
            "2020-01-01T00:00:00Z",
            "--tag",
            "x",
        )
        await same(*create, "--input", "n=1", "--note", "why", "--by", "ann")
        await once(*create, code=1)
        await once(*create, "--replace")
        await same("schedules", "list", "--limit", "1")
        await same("schedules", "show", "s-SIDE")
        await once("schedules", "show", "none", code=3)
        await once("schedules", "next", "s-SIDE", "--count", "2")
        await once("schedules", "pause", "s-SIDE", "--note", "x", "--by", "ann")
        await once("schedules", "resume", "s-SIDE")
        await once("schedules", "backfill", "s-SIDE", "--since", "150m")
        await once("schedules", "backfill", "s-SIDE", "--since", "2h", "--until", "2100-01-01T00:00:00Z", code=1)
        await once("schedules", "trigger", "s-SIDE")
        await once("schedules", "delete", "s-SIDE")
        await once(
            "keys", "create", "k-SIDE", "--scope", "read", "--scope", "submit", "--expires", "90d", "--by", "ann"
        )
        await same("keys", "create", "k-SIDE", "--scope", "read", code=1)
        await same("keys", "list")
        await once("keys", "revoke", "k-SIDE", "--by", "ann")
        await once("keys", "revoke", "no/body", code=3)
        url = "http://127.0.0.1:9/SIDE"
        await once("webhooks", "add", "h-SIDE", url, "--on", "run.failed", "--on", "alert", "--by", "ann")
        await same("webhooks", "add", "h-SIDE", url, "--on", "alert", code=1)
        await once("webhooks", "add", "x", "ftp://x", "--on", "alert", code=64)
        await once("webhooks", "dlq")
        await once("webhooks", "dlq", "h-SIDE", "--retry")
        await once("webhooks", "dlq", "none", "--drop", code=3)
        await once("webhooks", "remove", "h-SIDE", "--by", "ann")
        await same("cache", "stats")
        await once("cache", "invalidate", "--workflow", "w", "--yes")
        await once("audit", "operators", "--by", "nobody", "--since", "1h")
        for argv in (("migrate",), ("recover",), ("worker",), ("supervisor",)):
            refused = await sides.there.ask(*argv, "--json")
            assert (refused.code, refused.json["error"]["code"]) == (64, "not_over_api"), argv


async def test_a_key_without_the_scope_is_told_so(stage: Stage, tmp_path: Path) -> None:
    """And nothing has changed."""
    await stage.register(node("a"), id="w")
    async with both(stage, tmp_path, Scope.READ) as sides:
        refused = (await sides.there.ask("pause", "--workflow", "w", "--json")).json["error"]
        assert (refused["code"], "operate" in refused["message"]) == ("forbidden", True)
        assert (await sides.there.ask("pause", "--list", "--json")).json == {"pauses": []}
