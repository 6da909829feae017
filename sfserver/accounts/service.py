"""Who a caller is, and the ways to prove it: API tokens, browser sessions, one-time sign-in links."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy.orm import Session

from sfserver.accounts import repository
from sfserver.errors import BadRequestError, NotSignedInError
from sfserver.infra.clock import db_now
from sfserver.infra.db import after_commit
from sfserver.infra.effects import Publish
from sfserver.models import Credential, User
from sfserver.settings import AccessSettings

LOCAL_USER = "local"
ACCESS_TOPIC = "access"
_LOCAL_PATH = re.compile(r"/(?![/\\])[A-Za-z0-9._~/-]*")


class CredentialKind(StrEnum):
    """How a caller proves who they are."""

    API_TOKEN = "api_token"  # noqa: S105 - a kind, not a secret
    SESSION = "session"
    SIGN_IN_LINK = "sign_in_link"


@dataclass(frozen=True)
class Principal:
    """A signed-in caller; `credential_id` names the grant in the media URLs made for them."""

    user_id: str
    name: str
    is_admin: bool
    credential_id: str
    by_cookie: bool = False


@dataclass(frozen=True)
class IssuedSecret:
    """A new credential's secret, shown once and never stored."""

    secret: str
    expires_at: datetime | None


def user_id_of(principal: Principal | None) -> str | None:
    """Return whose things a caller may see, None for an anonymous one."""
    return None if principal is None else principal.user_id


def ensure_local_user(session: Session) -> str | None:
    """Make the embedded server's one user on the first start; return the new API token, or None later."""
    if repository.find_user_by_name(session, LOCAL_USER) is not None:
        return None
    user = User(name=LOCAL_USER, is_admin=True, created_at=db_now(session))
    session.add(user)
    session.flush()
    return issue(session, user.id, CredentialKind.API_TOKEN, label="local").secret


def issue(
    session: Session,
    user_id: str,
    kind: CredentialKind,
    *,
    label: str = "",
    lifetime: timedelta | None = None,
    next_path: str = "/",
) -> IssuedSecret:
    """Make a credential; only the SHA-256 of its secret is kept (256 random bits need no slow hash)."""
    secret = "sf_" + secrets.token_urlsafe(32)
    now = db_now(session)
    expires_at = None if lifetime is None else now + lifetime
    credential = Credential(
        user_id=user_id,
        kind=kind,
        secret_sha256=_digest(secret),
        label=label,
        next_path=next_path,
        created_at=now,
        expires_at=expires_at,
    )
    session.add(credential)
    return IssuedSecret(secret, expires_at)


def authenticate(session: Session, kind: CredentialKind, secret: str) -> Principal:
    """Return who holds `secret`; `NotSignedInError` if nobody does (any more)."""
    found = repository.find_credential(session, kind, _digest(secret))
    if found is None:
        raise NotSignedInError("this token is not valid, or not any more")
    credential, user = found
    return Principal(user.id, user.name, user.is_admin, credential.id, kind is CredentialKind.SESSION)


def issue_sign_in_link(session: Session, user_id: str, next_path: str, settings: AccessSettings) -> IssuedSecret:
    """Make a secret that signs one browser in, once, and leads to `next_path` on this server."""
    if not _LOCAL_PATH.fullmatch(next_path):
        raise BadRequestError("'next' must be a path on this server, such as /watch/ID")
    lifetime = timedelta(seconds=settings.sign_in_link_s)
    return issue(session, user_id, CredentialKind.SIGN_IN_LINK, lifetime=lifetime, next_path=next_path)


def redeem_sign_in_link(session: Session, secret: str, settings: AccessSettings) -> tuple[IssuedSecret, str]:
    """Spend a sign-in link; return a new browser session and where to go."""
    found = repository.find_credential(session, CredentialKind.SIGN_IN_LINK, _digest(secret))
    if found is None or not repository.spend(session, found[0]):
        raise NotSignedInError("this sign-in link was used or is too old", hint="`sfctl open` makes a new one")
    link, user = found
    lifetime = timedelta(days=settings.session_days)
    return issue(session, user.id, CredentialKind.SESSION, label="browser", lifetime=lifetime), link.next_path


def sign_out(session: Session, principal: Principal) -> None:
    """Revoke the credential that the caller came with; signed media URLs made under it close."""
    credential = repository.find_live_grant(session, principal.credential_id)
    if credential is not None:
        credential.revoked_at = db_now(session)
    announce_access_change(session)


def announce_access_change(session: Session) -> None:
    """Tell after the commit that who may do what has changed, so that answers held in memory are dropped at once."""
    after_commit(session, Publish(ACCESS_TOPIC, {}))


def find_grant_holder(session: Session, credential_id: str) -> str | None:
    """Return the id of the user under whose live token or session a media URL was signed, or None."""
    credential = repository.find_live_grant(session, credential_id)
    return None if credential is None else credential.user_id


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
