"""Sessions: a browser logs in with a key, and has a cookie from then on."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

from ...sdk.access.secret_text import csrf_token
from ...sdk.client.access import Session
from ...sdk.moments import iso_text
from ..bodies import NoBody, NoQuery
from ..problems import Refused
from ..route import Answer, Asked, Routes
from ..security.authentication import CHALLENGE, Authentication, Credential
from ..wire.sessions import LoggedOut, Login, SessionShown, session_shown

routes = Routes("sessions")


@routes.post("/v1/login", scope=None, errors=("unauthenticated", "not_found"))
async def log_in(asked: Asked[NoQuery, Login]) -> Answer[SessionShown]:
    """Log in with a key.

    The answer sets a cookie that scripts cannot read. Unsafe requests that bear it need 'csrf' in the header
    X-CSRF-Token.
    """
    scope = asked.request.scope
    authentication = _authentication(asked)
    address = scope["client"][0] if scope.get("client") else ""
    opened = await authentication.log_in(asked.body.key, address)
    before = _credential(asked)
    if before is not None:
        await authentication.log_out(before.text)
    scope["state"]["principal"] = opened.principal
    lasts_s = int((opened.expires_at - datetime.now(UTC)).total_seconds())
    cookie = _cookie(asked, opened.token, max(0, lasts_s))
    return Answer(_shown(opened), headers={"Set-Cookie": cookie})


@routes.post("/v1/logout", scope=None)
async def log_out(asked: Asked[NoQuery, NoBody]) -> Answer[LoggedOut]:
    """Log out: the session of the cookie is over. Without one nothing changes."""
    credential = _credential(asked)
    if credential is not None:
        await _authentication(asked).log_out(credential.text)
    return Answer(LoggedOut(), headers={"Set-Cookie": _cookie(asked, "", 0)})


@routes.get("/v1/session", scope=None, errors=("unauthenticated",))
async def show(asked: Asked[NoQuery, NoBody]) -> SessionShown:
    """Say who asks, and what he may."""
    if asked.principal is None:
        raise Refused("unauthenticated", "nobody is known to ask", hint="log in: POST /v1/login", headers=CHALLENGE)
    credential = _credential(asked)
    if credential is None:
        return session_shown(asked.principal)
    found = await asked.backend.client.access.find_by_session(credential.text)
    if found is None:
        raise Refused("unauthenticated", "the session is over", hint="log in: POST /v1/login", headers=CHALLENGE)
    return session_shown(asked.principal, csrf_token(credential.text), iso_text(found[1]))


def _shown(opened: Session) -> SessionShown:
    return session_shown(opened.principal, opened.csrf, iso_text(opened.expires_at))


def _authentication(asked: Asked[NoQuery, Login] | Asked[NoQuery, NoBody]) -> Authentication:
    found = asked.request.scope["state"].get("authentication")
    if found is None:
        raise Refused("not_found", "this server knows no keys")
    return cast("Authentication", found)


def _credential(asked: Asked[NoQuery, Login] | Asked[NoQuery, NoBody]) -> Credential | None:
    """The session that the request bears."""
    return cast("Credential | None", asked.request.scope["state"].get("credential"))


def _cookie(asked: Asked[NoQuery, Login] | Asked[NoQuery, NoBody], token: str, lasts_s: int) -> str:
    scope = asked.request.scope
    authentication = scope["state"].get("authentication")
    name = authentication.cookie_name(scope) if authentication else "courante_session"
    secure = "; Secure" if scope.get("scheme") == "https" else ""
    return f"{name}={token}; Path=/; Max-Age={lasts_s}; HttpOnly; SameSite=Lax{secure}"
