"""What a test of a law takes is not what it is about: a slow machine fails none of them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("courante", deadline=None)
settings.load_profile("courante")
