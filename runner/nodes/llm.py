"""``llm``: asks a language model. Output: its text, or the JSON in it where ``schema`` is set (docs/reference/llm.md).

A call is an attempt: what is wrong with an answer is told to the model in the next one (``models/repair.py``).
"""

from __future__ import annotations

import msgspec

from ...sdk.authoring.step_log import StepLog
from ...sdk.outcomes.outcomes import AsksBudget, Outcome, Succeeded
from ...sdk.outcomes.step_context import StepError, encode_json
from ...sdk.schema_checks import SchemaChecks
from ..budgets import ask_budget, lost_calls
from ..models.answer import ModelAnswer, StopReason
from ..models.calling import call_model, most_spent
from ..models.extraction import extract_json
from ..models.repair import Told, read_told, with_repair, write_told
from ..models.request import ModelRequest
from ..toolbox import Toolbox
from ..work import Work
from .failures import told_failures
from .llm_request import make_request

SHOWN_CHARS = 200
LOGGED_CHARS = 4_000
"""Of an answer that JSON is taken out of: the output has only that."""
_checks = SchemaChecks()


async def run_llm(work: Work, tools: Toolbox) -> Outcome:
    assert work.held is not None
    log = tools.step_log(work)
    log.line("started", attempt=work.attempt)
    told = read_told(work.held.last_report)
    try:
        with told_failures(log):
            asked = _reserve(work, tools, told)
            return Succeeded(await _answered(work, tools, told, log)) if asked is None else asked
    except BaseException:
        # Where the attempt is given back its token comes again, and knows of the lost deliveries still.
        if work.deliveries and work.held.is_given_back:
            work.held.report(write_told(msgspec.structs.replace(told, attempt=work.attempt, lost=work.deliveries)))
        raise


async def _answered(work: Work, tools: Toolbox, told: Told, log: StepLog) -> bytes:
    log.line("resolving inputs")
    for name, _ in work.node.sources:
        log.line("upstream output found", step=name)
    log.line("rendering prompt")
    request = make_request(work, tools.models)
    _count_lost(work, tools, request, told)
    if told.problems:
        log.line("asking for a repair", problems=list(told.problems))
    log.line("calling provider", provider=request.provider, model=request.model, streamed=request.stream)
    answer = await call_model(with_repair(request, told), work, tools, log.partial)
    usage = answer.usage
    log.line(
        "response received",
        model=answer.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        stop_reason=answer.stop_reason.value,
    )
    if not request.wants_json:
        log.line("completed")
        return encode_json(answer.text)
    output = _extracted(work, request, answer, log)
    log.line("completed")
    return output


def _reserve(work: Work, tools: Toolbox, told: Told) -> AsksBudget | None:
    """Where the run has a budget, ask for what the call can take at most, and tell what was lost; None: it may call."""
    if not work.plan.has_purse:
        return None
    request = make_request(work, tools.models)
    _count_lost(work, tools, request, told)
    return ask_budget(work, most_spent(with_repair(request, told), tools, work.now_ms))


def _count_lost(work: Work, tools: Toolbox, request: ModelRequest, told: Told) -> None:
    """Add the calls of workers that fell silent in this attempt: nobody knows what they took."""
    known = told.lost if told.attempt == work.attempt else 0
    most = most_spent(with_repair(request, told), tools, work.now_ms)
    for _ in range(lost_calls(work, known)):
        work.spent = work.spent.plus(most)


def _extracted(work: Work, request: ModelRequest, answer: ModelAnswer, log: StepLog) -> bytes:
    """Return the JSON of an answer. Raises StepError (OUTPUT_INVALID), and leaves to the next attempt why."""
    log.line("extracting JSON", text=answer.text[:LOGGED_CHARS])
    found = extract_json(answer.text, lambda value: not _problems(work, request, value))
    if found.is_valid:
        log.line("validation passed")
        return encode_json(found.json)
    assert work.held is not None
    if found.is_found:
        problems = _problems(work, request, found.json)
    elif answer.stop_reason is StopReason.REFUSAL:
        problems = ["the model refuses"]
    else:
        problems = ["it holds no JSON"]
    if answer.stop_reason is StopReason.LENGTH:
        problems.insert(0, f"it was cut off: max_tokens is {request.max_tokens}, and all of them were used")
    log.line("validation failed", problems=problems)
    work.held.report(write_told(Told(answer=answer.text, problems=tuple(problems))))
    said = answer.text if len(answer.text) <= SHOWN_CHARS else f"{answer.text[:SHOWN_CHARS]}..."
    raise StepError("OUTPUT_INVALID", f"the answer of {answer.model} cannot be used: {'; '.join(problems)}: {said!r}")


def _problems(work: Work, request: ModelRequest, value: object) -> list[str]:
    if request.schema is None:
        return []
    return _checks.problems((work.plan.hash, work.number), request.schema, value, "answer")
