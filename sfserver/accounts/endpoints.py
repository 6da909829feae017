"""`/api/users/me`, `/api/auth/*` and the page behind a one-time sign-in link."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import BaseModel

from sfserver.accounts import service
from sfserver.accounts.access import SESSION_COOKIE, SignedIn
from sfserver.deps import RuntimeDep, WriteSession
from sfserver.wire.accounts import SignInLink, UserRead

router = APIRouter(tags=["people"])


class SignInLinkRequest(BaseModel):
    """Where the browser goes once it is signed in."""

    next: str = "/"


@router.get("/api/users/me")
def read_me(principal: SignedIn) -> UserRead:
    """Return who is signed in."""
    return UserRead(id=principal.user_id, name=principal.name, is_admin=principal.is_admin)


@router.post("/api/auth/one-time", status_code=201)
def create_sign_in_link(
    body: SignInLinkRequest, principal: SignedIn, session: WriteSession, runtime: RuntimeDep
) -> SignInLink:
    """Make a URL that signs one browser in, once."""
    issued = service.issue_sign_in_link(session, principal.user_id, body.next, runtime.settings.access)
    assert issued.expires_at is not None
    return SignInLink(url=f"/sign-in/{issued.secret}", expires_at=issued.expires_at)


@router.post("/api/auth/logout", status_code=204)
def sign_out(principal: SignedIn, session: WriteSession, response: Response) -> None:
    """Revoke the token or session the caller came with; media URLs signed under it close."""
    service.sign_out(session, principal)
    response.delete_cookie(SESSION_COOKIE)


@router.get("/sign-in/{secret}", include_in_schema=False)
def redeem_sign_in_link(secret: str, request: Request, session: WriteSession, runtime: RuntimeDep) -> RedirectResponse:
    """Spend a sign-in link: set the session cookie and go where the link leads."""
    access = runtime.settings.access
    issued, next_path = service.redeem_sign_in_link(session, secret, access)
    answer = RedirectResponse(next_path, status_code=303, headers={"Cache-Control": "no-store"})
    answer.set_cookie(
        SESSION_COOKIE,
        issued.secret,
        max_age=int(access.session_days * 86400),
        httponly=True,
        secure=request.url.scheme == "https",
        samesite="strict",
    )
    return answer
