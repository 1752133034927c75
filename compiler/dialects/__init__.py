"""Dialects: one file each; every one rewrites its documents in the native form."""

from .detection import TRANSLATORS, Dialect, detect
from .translation import Translation

__all__ = ["TRANSLATORS", "Dialect", "Translation", "detect"]
