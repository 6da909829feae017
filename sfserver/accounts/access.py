"""Who is asking, as a dependency of requests."""

from contextlib import suppress
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request

from sfserver.accounts import service
from sfserver.accounts.service import CredentialKind, Principal
from sfserver.deps import RuntimeDep
from sfserver.errors import NotSignedInError

SESSION_COOKIE = "sf_session"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def find_principal(request: Request, runtime: RuntimeDep) -> Principal | None:
    """Return who is asking: by `Authorization: Bearer`, else by the browser's cookie, else None.

    A token that is wrong, expired or revoked raises `NotSignedInError`; a stale cookie, which browsers send unasked,
    is nobody.
    """
    header = request.headers.get("authorization")
    cookie = request.cookies.get(SESSION_COOKIE)
    if header is None and (cookie is None or not _is_same_origin(request)):
        return None
    with runtime.database.read() as session:
        if header is not None:
            scheme, _, secret = header.partition(" ")
            if scheme.lower() != "bearer":
                raise NotSignedInError("the Authorization header must be 'Bearer TOKEN'")
            return service.authenticate(session, CredentialKind.API_TOKEN, secret.strip())
        with suppress(NotSignedInError):
            return service.authenticate(session, CredentialKind.SESSION, cookie or "")
    return None


def require_principal(principal: Annotated[Principal | None, Depends(find_principal)]) -> Principal:
    """Return who is asking; 401 for nobody."""
    if principal is None:
        raise NotSignedInError
    return principal


Caller = Annotated[Principal | None, Depends(find_principal)]
SignedIn = Annotated[Principal, Depends(require_principal)]


def _is_same_origin(request: Request) -> bool:
    """Let a cookie speak for unsafe methods only when the page that sent them is ours (CSRF)."""
    if request.method in _SAFE_METHODS:
        return True
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == request.headers.get("host")
