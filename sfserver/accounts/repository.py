"""All SQL about users and credentials."""

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from sfserver.infra.clock import db_now
from sfserver.models import Credential, User


def find_user_by_name(session: Session, name: str) -> User | None:
    """Return the user or None."""
    return session.scalars(select(User).where(User.name == name)).one_or_none()


def find_credential(session: Session, kind: str, secret_sha256: str) -> tuple[Credential, User] | None:
    """Return a live credential of `kind` and its user, or None."""
    now = db_now(session)
    query = (
        select(Credential, User)
        .join(User, User.id == Credential.user_id)
        .where(Credential.kind == kind, Credential.secret_sha256 == secret_sha256, Credential.revoked_at.is_(None))
    )
    row = session.execute(query).one_or_none()
    if row is None or (row[0].expires_at is not None and row[0].expires_at <= now):
        return None
    return row[0], row[1]


def find_live_grant(session: Session, credential_id: str) -> Credential | None:
    """Return the token or session that a signed media URL was made under, unless it is revoked or over."""
    credential = session.get(Credential, credential_id)
    if credential is None or credential.revoked_at is not None:
        return None
    if credential.expires_at is not None and credential.expires_at <= db_now(session):
        return None
    return credential


def spend(session: Session, credential: Credential) -> bool:
    """Revoke a credential that works once; False if somebody was faster."""
    statement = update(Credential).where(Credential.id == credential.id, Credential.revoked_at.is_(None))
    changed: int = session.execute(statement.values(revoked_at=db_now(session))).rowcount  # type: ignore[attr-defined]
    return changed == 1
