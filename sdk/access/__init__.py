"""Access: who may ask what of an environment over HTTP, and who did."""

from .scopes import Principal, Scope

__all__ = ["Principal", "Scope"]
