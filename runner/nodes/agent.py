"""``agent``: a model that calls tools until it has an answer, in one node.

Each answer of the model is a turn. The tools that it asks for are called at the same time; what they give, and what
goes wrong with them, it is told in the next turn. What was said is kept (``agents/transcript_store.py``), so that a
worker that dies, stops or fails an attempt costs one turn at most. The unrolled form, in which each call is a step of
its own, is a workflow: test_data/agent.yaml.
"""

from __future__ import annotations

import time
from itertools import count
from typing import Any

import anyio
import msgspec

from ...compiler.agent_config import EXHAUSTED, TURNS_DEFAULT
from ...sdk.authoring.tools import handler_of
from ...sdk.outcomes.outcomes import AsksBudget, GivenBack, Outcome, Succeeded
from ...sdk.outcomes.step_context import StepError, decode_json, encode_json
from ...sdk.schema_checks import SchemaChecks
from ...sdk.spending.spent import NOTHING
from ..agents.offered import OfferedTools, arguments_of, shown_arguments, told_error
from ..agents.transcript import Called, Transcript
from ..agents.transcript_store import TranscriptStore
from ..budgets import ask_budget, lost_calls
from ..models.calling import CallCancelled, call_model, most_spent
from ..models.extraction import extract_json
from ..models.repair import Told, with_repair
from ..models.request import Message, ModelRequest, ToolCall, ToolOffer
from ..toolbox import Toolbox
from ..work import Work
from .failures import told_failures
from .function import step_context
from .llm_request import make_request

RESULT_CHARS_MAX = 65_536
"""Of what a model is told of one result; the output has all of it."""
CALLS_AT_ONCE = 16
"""Of the tools that a model asks for in one answer, ..."""
CALLS_MAX = 1_000
"""... which are at most so many."""
_checks = SchemaChecks()


async def run_agent(work: Work, tools: Toolbox) -> Outcome:
    names = work.node.config.get("tools", ())
    found = [tools.shelf.find(name) for name in names]
    known = [tool for tool in found if tool is not None]
    if len(known) < len(names):
        missing = (handler_of(name) for name, tool in zip(names, found, strict=True) if tool is None)
        return tools.elsewhere.give_back(work, *missing)
    with told_failures(tools.step_log(work)):
        agent = _Agent(work, tools, OfferedTools(known), make_request(work, tools.models))
        try:
            return Succeeded(encode_json(await agent.run()))
        except _ComesBack as back:
            return back.outcome


class _ComesBack(Exception):
    """The token comes back: the next turn needs its part of the run's budget, or what was spent is to be told first."""

    def __init__(self, outcome: AsksBudget | GivenBack) -> None:
        super().__init__(outcome)
        self.outcome = outcome


class _Agent:
    """One attempt."""

    def __init__(self, work: Work, tools: Toolbox, offered: OfferedTools, request: ModelRequest) -> None:
        self._work = work
        self._tools = tools
        self._offered = offered
        self._request = request
        self._log = tools.step_log(work)
        self._transcript = Transcript()
        self._store = TranscriptStore(work, tools)
        self._slots = anyio.CapacityLimiter(CALLS_AT_ONCE)

    async def run(self) -> dict[str, Any]:
        """Return the output. Raises StepError, _ComesBack, and what the call of a model raises."""
        lost = await self._take_up()
        try:
            return await self._talk(await self._offers(lost))
        except _ComesBack:
            await self._hand_on()
            raise
        except BaseException:
            await self._leave()
            raise

    async def _take_up(self) -> int:
        """Go on where the worker or the attempt before was, with what it has taken that no event tells.

        Return how many calls of the model were lost.
        """
        work, before = self._work, await self._store.load()
        is_same = before.attempt == work.attempt
        lost = lost_calls(work, before.lost if is_same else 0)
        if is_same:
            work.spent = before.spent
        if work.spent.cost and work.spent.currency != self._tools.prices.currency:
            self._transcript = before  # one event has one currency: what was spent in another is told by itself
            await self._hand_on()
            raise _ComesBack(GivenBack(0))
        self._transcript = msgspec.structs.replace(before, lost=work.deliveries)
        if before.turns:
            self._log.line("going on", turns=before.turns)
        return lost if not before.open_calls() else 0

    async def _offers(self, lost: int) -> tuple[ToolOffer, ...]:
        """Return what the model is told of its tools, and count calls that were lost, which had it too."""
        work, offers = self._work, tuple[ToolOffer, ...]()
        try:
            offers = await self._offered.offers()
        finally:
            for _ in range(lost):
                work.spent = work.spent.plus(most_spent(self._asked(offers), self._tools, work.now_ms))
        return offers

    async def _talk(self, offers: tuple[ToolOffer, ...]) -> dict[str, Any]:
        most = self._work.node.config.get("max_turns", TURNS_DEFAULT)
        while True:
            if self._transcript.open_calls():
                await self._call_tools()
            elif self._transcript.is_answered and not self._needs_repair():
                return self._output(is_exhausted=False)
            self._heed()
            if self._transcript.turns >= most:
                return self._exhausted(most)
            await self._ask(offers)

    async def _ask(self, offers: tuple[ToolOffer, ...]) -> None:
        turn = self._transcript.turns + 1
        request = self._asked(offers)
        asked = ask_budget(self._work, most_spent(request, self._tools, self._work.now_ms))
        if asked is not None:
            raise _ComesBack(asked)
        self._log.line("calling provider", turn=turn, provider=request.provider, model=request.model)
        answer = await call_model(request, self._work, self._tools, self._log.partial)
        if len(answer.tool_calls) > CALLS_MAX:
            text = f"the model asks for {len(answer.tool_calls):,} tools at once, at most {CALLS_MAX:,}"
            raise StepError("OUTPUT_INVALID", text)
        calls = _told_apart(answer.tool_calls, turn, self._transcript)
        usage = answer.usage
        self._log.line(
            "response received",
            turn=turn,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            tool_calls=[call.name for call in calls],
        )
        kept = answer.kept if calls == answer.tool_calls else {}
        message = Message(role="assistant", content=answer.text, tool_calls=calls, kept=kept)
        await self._keep(self._transcript.with_answer(message))

    def _asked(self, offers: tuple[ToolOffer, ...]) -> ModelRequest:
        """The request of the next turn: the prompt, all that was said since, and the tools."""
        messages = (*self._request.messages, *self._transcript.messages)
        return msgspec.structs.replace(self._request, messages=messages, tools=offers)

    async def _call_tools(self) -> None:
        """Call all that the model waits for. Cancelled, it leaves what has come until then."""
        turn = self._transcript.turns
        try:
            async with anyio.create_task_group() as group:
                for at, call in self._transcript.open_calls():
                    group.start_soon(self._call_tool, call, f"{turn}.{at}")
        except ExceptionGroup as failures:  # of keeping the transcript: what a tool raises is told to the model
            raise failures.exceptions[0] from failures

    async def _call_tool(self, call: ToolCall, place: str) -> None:
        """Call one tool, and keep what it gives; what goes wrong is told to the model. place: of the call."""
        context = step_context(self._work, self._tools)
        context = msgspec.structs.replace(context, idempotency_key=f"{context.idempotency_key}/{place}")
        tool, begun = self._offered.asked(call), time.monotonic()
        name = call.name if tool is None else tool.name
        self._log.line("calling tool", tool=name)
        result, error = b"null", ""
        try:
            if tool is None:
                raise StepError("INPUT_INVALID", f"there is no tool {name[:200]!r}")
            async with self._slots:
                result = await tool.call(encode_json(arguments_of(call)), context)
        except (Exception, SystemExit) as failure:  # noqa: BLE001 - whatever a tool does, the model is told
            error = told_error(failure)
        ms = int((time.monotonic() - begun) * 1000)
        if error:
            self._log.line("tool has failed", tool=name, ms=ms, error=error)
        else:
            self._log.line("tool has answered", tool=name, ms=ms)
        called = Called(
            tool=name, arguments=shown_arguments(call), result=decode_json(result), error=error, duration_ms=ms
        )
        await self._keep(self._transcript.with_result(call, called, error or _shown(result)))

    async def _keep(self, transcript: Transcript) -> None:
        self._transcript = transcript
        await self._store.add(transcript)

    def _needs_repair(self) -> bool:
        """Whether the last answer is not of the shape that is wanted; the model is told then."""
        problems = self._problems()
        if problems:
            asked = with_repair(ModelRequest(provider="", model=""), Told(problems=tuple(problems)))
            self._log.line("asking for a repair", problems=problems)
            self._transcript = self._transcript.with_message(asked.messages[-1])
        return bool(problems)

    def _problems(self) -> list[str]:
        if not self._request.wants_json:
            return []
        found = extract_json(self._transcript.text, lambda value: not self._misfits(value))
        if found.is_valid:
            return []
        return self._misfits(found.json) if found.is_found else ["it holds no JSON"]

    def _misfits(self, value: object) -> list[str]:
        schema = self._request.schema
        key = (self._work.plan.hash, self._work.number)
        return [] if schema is None else _checks.problems(key, schema, value, "answer")

    def _exhausted(self, most: int) -> dict[str, Any]:
        if self._work.node.config.get("on_exhausted", EXHAUSTED[0]) == EXHAUSTED[0]:
            turns = "one turn" if most == 1 else f"{most} turns"
            problems = [] if self._transcript.asked else self._problems()
            if problems:
                text = f"the model has given no answer of the wanted shape within {turns}: {'; '.join(problems)}"
                raise StepError("AGENT_EXHAUSTED", text)
            called = dict.fromkeys(each.tool for each in self._transcript.called.values())
            did = f"it has called {', '.join(called)}" if called else "it has called no tool"
            raise StepError("AGENT_EXHAUSTED", f"the model has come to no end within {turns}: {did}")
        return self._output(is_exhausted=True)

    def _output(self, *, is_exhausted: bool) -> dict[str, Any]:
        transcript = self._transcript
        answer: Any = transcript.text
        if self._request.wants_json:
            found = extract_json(transcript.text, lambda value: not self._misfits(value))
            answer = found.json if found.is_valid else None
        self._log.line("completed", turns=transcript.turns)
        return {
            "answer": answer,
            "turns": transcript.turns,
            "exhausted": is_exhausted,
            "calls": [each.told() for each in transcript.called.values()],
        }

    def _heed(self) -> None:
        """Between two calls: end where the worker stops or the run is over. Raises CallCancelled."""
        assert self._work.held is not None
        if self._work.held.cancellation.reason is not None:
            raise CallCancelled("the agent was told to stop")

    async def _leave(self) -> None:
        """Where the token is given back, the log tells what was spent: the next worker does not count it again."""
        assert self._work.held is not None
        if self._work.held.is_given_back:
            await self._hand_on()

    async def _hand_on(self) -> None:
        """Keep what was said for who goes on; what was spent until now is told by the transition."""
        with anyio.CancelScope(shield=True), anyio.move_on_after(2):
            spent, self._work.spent = self._work.spent, NOTHING
            try:
                await self._store.keep(self._transcript)
            finally:
                self._work.spent = spent


def _told_apart(calls: tuple[ToolCall, ...], turn: int, before: Transcript) -> tuple[ToolCall, ...]:
    """Give ids to calls that have none, or that of another one."""
    seen = set(before.called)
    made: list[ToolCall] = []
    for call in calls:
        numbers = count(len(made))
        id = call.id
        while not id or id in seen:
            id = f"call_{turn}_{next(numbers)}"
        made.append(call if id == call.id else msgspec.structs.replace(call, id=id))
        seen.add(id)
    return tuple(made)


def _shown(result: bytes) -> str:
    """A result as the model is told it: a text as it is, all else as JSON."""
    value = decode_json(result)
    text = value if isinstance(value, str) else result.decode()
    return text if len(text) <= RESULT_CHARS_MAX else f"{text[:RESULT_CHARS_MAX]} [...]"
