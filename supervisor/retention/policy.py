"""The policy of retention: how long what is kept, as the settings say."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import msgspec

from ...compiler.durations import parse_duration
from ...sdk.settings import Settings, read_ages


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How long what is kept; None: for ever. ``archive``: the directory that months of the log are written to.

    ``payloads_of``: of single workflows, in the place of ``payloads``.
    """

    log: timedelta | None = None
    payloads: timedelta | None = None
    payloads_of: Mapping[str, timedelta] = {}
    artifacts: timedelta | None = None
    runs: timedelta | None = None
    cache: timedelta | None = None
    archive: Path | None = None

    @property
    def is_set(self) -> bool:
        ages = (self.log, self.payloads, self.artifacts, self.runs, self.cache)
        return bool(self.payloads_of) or any(age is not None for age in ages)


def policy_of(settings: Settings, archive: str | None = None) -> Policy:
    """Return the policy that settings describe. archive: a directory that goes before theirs."""
    folder, ages = archive or settings.retain_archive, read_ages(settings.retain_payloads_of or "")
    return Policy(
        log=_span(settings.retain_log),
        payloads=_span(settings.retain_payloads),
        payloads_of={name: timedelta(milliseconds=ms) for name, ms in ages.items()},
        artifacts=_span(settings.retain_artifacts),
        runs=_span(settings.retain_runs),
        cache=_span(settings.retain_cache),
        archive=None if folder is None else Path(folder),
    )


def _span(text: str | None) -> timedelta | None:
    found = None if text is None else parse_duration(text)
    return None if found is None else timedelta(milliseconds=found)
