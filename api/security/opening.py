"""Opening: whether the API may be served where it is to listen, and whether it asks for keys there."""

from __future__ import annotations

from ...sdk.client.access import Access
from ...sdk.errors import CouranteError


class KeysMissing(CouranteError):
    """Anybody could do anything, or nobody anything."""

    code = "api_keys_missing"


async def is_open_to_all(access: Access, *, is_loopback: bool, is_embedded: bool, is_required: bool) -> bool:
    """Return whether no key is needed. Raises KeysMissing.

    is_embedded: both servers are of this home. is_required: somebody wants keys in any case. Other machines always need
    a key. On this one it is left out with the embedded servers, and with others for as long as there is no key.
    """
    if is_loopback and is_embedded and not is_required:
        return True
    if await access.list_keys():
        return False
    if is_loopback and not is_required:
        return True
    reason = "a key is asked for" if is_loopback else "other machines could ask"
    raise KeysMissing(
        f"{reason}, and no key of this environment is in force",
        hint="make one: courante keys create NAME --scope admin",
    )
