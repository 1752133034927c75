"""How long an example of a law takes is no finding: bounds of work are asserted where they are promised, by counts."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("courante", deadline=None)
settings.load_profile("courante")
