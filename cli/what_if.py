"""``courante replay --what-if``: how past runs would be routed by another version of their workflow."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from click import style

from ..api.reading.what_ifs import OtherVersion, ask_run, is_version
from ..api.wire.runs import RunPage
from ..replay.what_if import WhatIf
from ..sdk.stores.runs import list_runs
from .asking import look_up
from .call import Call
from .exits import CliError, ExitCode
from .output import Output
from .remote.paths import at
from .texts import count_text, cut, iso, list_text

if TYPE_CHECKING:
    from ..replay.what_if import Place
    from ..sdk.stores.connection import Connection as Database
    from .documents import Document
    from .remote.connection import Connection

FILES = frozenset({".yaml", ".yml", ".json", ".py"})
GLYPHS = {"same": "ok", "differs": "warning", "unknown": "idle"}


def read_other(call: Call, wanted: str) -> Document | None:
    """Return the document that is asked for, None where it is a version. Raises CliError for one that has errors."""
    if wanted == "-" or Path(wanted).suffix in FILES or Path(wanted).is_file():
        from .documents import compile_file

        document = compile_file(wanted)
        document.require(call.out)
        return document
    if not is_version(wanted):
        hint = "a number, the hash of its IR, 'latest', or the name of a workflow file"
        raise CliError(ExitCode.USAGE, "bad_version", f"--what-if {wanted!r:.100}: no version and no file", hint)
    return None


def ask_runs(
    call: Call,
    wanted: str,
    run_ids: Sequence[str],
    filters: Mapping[str, str | None],
    *,
    since: datetime | None,
    limit: int,
) -> list[WhatIf]:
    """Ask of the runs that are named, else of the newest that the filters let through. Raises CliError."""
    document = read_other(call, wanted)
    words: dict[str, Any] = {"workflow": filters.get("workflow"), "status": filters.get("status")}

    async def here(conn: Database, env: str) -> list[WhatIf]:
        other = OtherVersion(wanted if document is None or document.ir is None else document.ir)
        chosen = run_ids or [one.run_id for one in (await list_runs(conn, env, since=since, limit=limit, **words)).runs]
        return [await ask_run(conn, env, run_id, other) for run_id in dict.fromkeys(chosen)]

    async def over_api(api: Connection) -> list[WhatIf]:
        query = {**words, "since": iso(since), "limit": limit}
        chosen = run_ids or [one.run_id for one in (await api.get(at("runs"), RunPage, query)).runs]
        return [await _ask_api(api, run_id, wanted, document) for run_id in dict.fromkeys(chosen)]

    return look_up(call, here, over_api)


async def _ask_api(api: Connection, run_id: str, wanted: str, document: Document | None) -> WhatIf:
    from .remote.connection import LONG_ANSWER_S
    from .remote.documents import headers_of

    place = at("runs", run_id, "what-if")
    if document is None:
        return await api.get(place, WhatIf, {"version": wanted}, answer_s=LONG_ANSWER_S)
    headers = headers_of(document.content)
    return await api.post(place, document.content, WhatIf, headers=headers, may_repeat=True, answer_s=LONG_ANSWER_S)


def show(out: Output, answers: Sequence[WhatIf], wanted: str) -> None:
    """Tell everything, for people and as JSON."""
    counts = {verdict: sum(one.verdict == verdict for one in answers) for verdict in GLYPHS}
    out.json({"what_if": wanted, "runs": [_json(one) for one in answers], **counts})
    for one in answers:
        out.text(f"{out.glyph(GLYPHS[one.verdict])} {one.run_id} v{one.version}: {style(one.verdict, bold=True)}")
        if one.error:
            out.text(f"    {one.error}")
        for decision in one.decisions:
            place = f"{decision.step} {decision.scope}".strip()
            out.text(f"    {place}: {style(decision.before, fg='red')} -> {style(decision.after, fg='green')}")
        for each in one.lists:
            changes = [f"{each.new:,} new"] * bool(each.new) + [f"{each.gone:,} gone"] * bool(each.gone)
            place = f"{each.step} {each.scope}".strip()
            counts_told = f"{count_text(each.before, 'item')} -> {count_text(each.after, 'item')}"
            out.text(f"    {place}: {counts_told}, {', '.join(changes) or 'in another order'}")
        for wait in one.waits:
            before, after = _shown(wait.before), _shown(wait.after)
            out.text(f"    {wait.step} {wait.what}: {style(before, fg='red')} -> {style(after, fg='green')}")
        for word, places in (
            ("would be executed, and nothing is known of it", one.executed),
            ("would not be reached", one.not_reached),
            ("depends on what is not known", one.open),
            ("cannot be decided, as payloads are not stored any more", one.unchecked),
        ):
            if places:
                out.text(f"    {word}: {list_text([_text(place) for place in places])}")
    told = ", ".join(f"{count:,} {verdict}" for verdict, count in counts.items())
    out.text(f"{count_text(len(answers), 'run')}: {told}")


def _text(place: Place) -> str:
    return f"{place.step} {place.scope}".strip()


def _shown(value: Any) -> str:
    return "nothing" if value is None else cut(json.dumps(value, ensure_ascii=False), 80)


def _json(one: WhatIf) -> dict[str, Any]:
    return {name: msgspec.to_builtins(value) for name, value in msgspec.structs.asdict(one).items()}
