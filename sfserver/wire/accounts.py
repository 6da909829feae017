"""People and their ways in."""

from datetime import datetime

from pydantic import BaseModel


class UserRead(BaseModel):
    """Who is signed in."""

    id: str
    name: str
    is_admin: bool


class SignInLink(BaseModel):
    """A URL that signs one browser in, once."""

    url: str
    expires_at: datetime
