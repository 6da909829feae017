"""Tokens inside media URLs, for players that send no header: who allowed it, until when, and an HMAC over both.

`{grant}.{expires}.{signature}`: a grant is `c-` and the id of a session or API token, or `p-` and the public epoch of
the video. Revoking the one, or ending the other by a change of visibility, closes every URL made under it.
"""

import hmac
import math
import re
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256

from sfserver.errors import NotFoundError, NotSignedInError

_TOKEN = re.compile(r"([cp]-[0-9a-f-]{1,40})\.([0-9]{1,12})\.([A-Za-z0-9_-]{43})")
# Equal URLs for as long as that make players and caches recognise what they have.
_EXPIRY_STEP_S = 600


@dataclass(frozen=True)
class Grant:
    """What a media URL rests on; `name` is `c-{credential id}` or `p-{public epoch}`."""

    name: str

    @classmethod
    def of_credential(cls, credential_id: str) -> "Grant":
        """Return the grant of a signed-in owner."""
        return cls(f"c-{credential_id}")

    @classmethod
    def of_epoch(cls, public_epoch: int) -> "Grant":
        """Return the grant that everybody has while a video is public or unlisted."""
        return cls(f"p-{public_epoch}")

    @property
    def credential_id(self) -> str | None:
        """The session or API token, or None for everybody."""
        return self.name[2:] if self.name.startswith("c-") else None


def expiry(now: float, duration_s: float, at_least_s: float) -> int:
    """Return when a URL made now shall end, as Unix time: twice the duration, and `at_least_s`."""
    earliest = now + max(at_least_s, 2 * duration_s)
    return math.ceil(earliest / _EXPIRY_STEP_S) * _EXPIRY_STEP_S


def sign(key: bytes, grant: Grant, expires: int, video_id: str, generation: int) -> str:
    """Return the token for everything below one generation of a video."""
    signature = hmac.digest(key, f"{grant.name}.{expires}/{video_id}/{generation}".encode(), sha256)
    return f"{grant.name}.{expires}.{urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def verify(key: bytes, token: str, video_id: str, generation: int, now: float) -> Grant:
    """Return the grant of a token; `NotSignedInError` if it is not ours, for something else, or over.

    `NotFoundError` for what can't be one.
    """
    found = _TOKEN.fullmatch(token)
    if found is None:
        raise NotFoundError
    grant, expires = Grant(found[1]), int(found[2])
    if not hmac.compare_digest(sign(key, grant, expires, video_id, generation), token):
        raise NotSignedInError("this media URL is not one this server made")
    if expires <= now:
        raise NotSignedInError("this media URL is too old", hint="ask for a new one: GET /api/videos/ID/links")
    return grant
