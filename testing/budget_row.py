"""The row of those that wait for a part of the budget of one run in memory: the twin of lua/includes/purse.lua."""

from __future__ import annotations

from ..sdk.fold.fold_waits import code_of
from ..sdk.marking import waiting
from ..sdk.marking.marking import PARKS, Marking
from ..sdk.marking.purse import Amount, Purse, paid, wanted
from ..sdk.marking.scopes import Scope
from .memory_run import MemoryRun

GRANTS_MAX = 200
"""Of one transition."""


def answer_row(run: MemoryRun) -> list[str]:
    """At the end of a transition: answer those that wait, in order, and return the codes."""
    marking, codes = run.marking, list[str]()
    purse = marking.purse
    while purse is not None and purse.waiting and marking.phase in PARKS and len(codes) < GRANTS_MAX:
        at = next(iter(purse.waiting))
        is_granted = answer(marking, at)
        if is_granted is None:
            break
        waiting.answer_budget(marking, at, is_granted=is_granted)
        run.again(at)
        codes.append(code_of("b" if is_granted else "e", at))
    return codes


def missing(marking: Marking) -> str:
    """Return by how much a budget is to be raised for whoever waits first, as the script takes it, or nothing."""
    asked = None
    if marking.purse is not None and marking.purse.waiting:
        asked = wanted(marking.tokens[next(iter(marking.purse.waiting))].extra)
    return "" if asked is None else f"{asked.tokens}.{asked.cost}"


def answer(marking: Marking, at: tuple[int, Scope]) -> bool | None:
    """Whether a token gets what it asks for; None where that is not known yet."""
    purse, asked = marking.purse, wanted(marking.tokens[at].extra)
    assert purse is not None
    assert asked is not None
    own, nothing = reserved(marking), Amount(0, 0)
    fund = purse.fund and Purse(*purse.fund[1:], purse.spent_tokens, purse.spent_cost)  # it is alone in memory
    if purse.fits(asked, own) and (fund is None or fund.fits(asked, own)):
        return True
    both = [each for each in (purse, fund) if each is not None]
    return False if any(each.refuses and not each.fits(asked, nothing) for each in both) else None


def reserved(marking: Marking) -> Amount:
    """Return what is reserved for calls."""
    held = [each for each in (paid(token.extra) for token in marking.tokens.values()) if each is not None]
    return Amount(sum(each.tokens for each in held), sum(each.cost for each in held))
