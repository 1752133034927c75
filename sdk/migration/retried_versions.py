"""Retries with another version of the workflow: a run goes on from before its bad end, and the rest is done by that.

As a live run moves (``migrating``): where it is proved that all that lives there has its place in the other version,
which is fitted to the one that the run had. Pure.
"""

from __future__ import annotations

from ...compiler.fitting import fit
from ...compiler.ir import decode_ir, encode_ir, ir_hash
from ..errors import NotRestartable
from ..fold.cuts import Cut
from ..fold.migrated import move_marking
from ..marking.plan import Plan
from .migrating import prove


def fitted(old: Plan, new: Plan) -> Plan:
    """Return another version with the numbers of what a run had."""
    if old.hash == new.hash:
        return old
    content = encode_ir(fit(old.ir, new.ir))
    return Plan(ir_hash(content), decode_ir(content))


def moved(run_id: str, old: Plan, new: Plan, cut: Cut) -> Cut:
    """Return the cut of a run as one of ``new``, by ``fitted``. For one use of the cut. Raises NotRestartable."""
    blockers = prove(run_id, old, new, cut)
    if blockers:
        count = len(blockers)
        more = f" (and {count - 1} more)" if count > 1 else ""
        told = f"{run_id} cannot go on with that version after event {cut.seq}: {blockers[0].message}{more}"
        raise NotRestartable(told, reason="other_version", hint=blockers[0].hint)
    move_marking(cut.marking, old.ir, new.ir)
    return cut
